#include "daemon/telemetry/log.h"

#include <fcntl.h>
#include <poll.h>
#include <grpc/support/log.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

#include "daemon/config/load.h"

namespace legated::log {
namespace {

constexpr uint32_t kGrpcEventsPerSecond = 20;
constexpr std::array<std::string_view, 6> kLevelNames = {"trace", "debug", "info",
                                                         "warn",  "error", "off"};

// Never waits for a reader, should it be a pipe.
int open_file(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640);
}

// Writes each line of PIPE_BUF bytes or less with one write(2), so lines of several processes do not mix. The mutex is held
// over that write: a formatter keeps state. A line that can't be written is lost, and so is one for
// which a pipe has no room: the daemon does not wait for whoever reads its log. How many is said when
// there is room again.
class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  LineSink(int fd, LogFormat format) : fd_(fd), format_(format) {}
  ~LineSink() override { close_fd(); }
  LineSink(const LineSink&) = delete;
  LineSink& operator=(const LineSink&) = delete;

  void replace(int fd) {
    const std::lock_guard lock(mutex_);
    close_fd();
    fd_ = fd;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (!has_room()) {
      ++lost_;
      return;
    }
    if (const uint64_t lost = std::exchange(lost_, 0); lost > 0) {
      const std::string text =
          format_event(format_, LogLevel::warn, "log_lines_lost", {{"count", lost}});
      write({message.time, message.source, message.logger_name, message.level, text});
    }
    write(message);
  }
  void flush_() override {}

 private:
  // A pipe that says so takes PIPE_BUF bytes without waiting.
  bool has_room() const {
    pollfd ready{.fd = fd_, .events = POLLOUT, .revents = 0};
    return ::poll(&ready, 1, 0) > 0;
  }

  void write(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const char* rest = line.data();
    size_t left = line.size();
    while (left > 0) {
      const ssize_t written = ::write(fd_, rest, std::min<size_t>(left, PIPE_BUF));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return;
      rest += written;
      left -= static_cast<size_t>(written);
      if (left > 0 && !has_room()) return;
    }
  }

  void close_fd() const {
    if (fd_ != STDERR_FILENO) ::close(fd_);
  }

  int fd_;
  const LogFormat format_;
  uint64_t lost_ = 0;
};

// The process's log. Replaced only by setup(), before there are threads.
struct Log {
  LogFormat format = LogFormat::text;
  LogLevel level = LogLevel::info;
  std::string file;
  std::shared_ptr<LineSink> sink;
  std::unique_ptr<spdlog::logger> logger;

  Log(LogFormat line_format, LogLevel lowest, std::string path, int fd)
      : format(line_format),
        level(lowest),
        file(std::move(path)),
        sink(std::make_shared<LineSink>(fd, line_format)) {
    const char* pattern = format == LogFormat::json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%fZ",%v})"
                                                    : "%Y-%m-%dT%H:%M:%S.%fZ %v";
    sink->set_formatter(
        std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc));
    logger = std::make_unique<spdlog::logger>("legated", sink);
    logger->set_level(spdlog::level::trace);  // events are filtered before they get here
  }
};

std::unique_ptr<Log>& the_log() {
  // Never destroyed: threads of gRPC may still log while the process ends.
  static auto& log =
      *new std::unique_ptr<Log>(new Log(LogFormat::text, LogLevel::info, "", STDERR_FILENO));
  return log;
}

// The length of the UTF-8 character at the front of `text`; 0 when there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  const size_t length = lead < 0x80   ? 1
                        : lead < 0xc2 ? 0
                        : lead < 0xe0 ? 2
                        : lead < 0xf0 ? 3
                        : lead < 0xf5 ? 4
                                      : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return 0;
  }
  // Overlong forms, surrogates and what is beyond the last character.
  const unsigned second = length > 1 ? byte(1) : 0x80;
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 0;
  if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 0;
  return length;
}

void append_quoted(std::string& line, std::string_view text) {
  line += '"';
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const char first = text[0];
    if (length == 0) {
      line += "\\ufffd";
    } else if (first == '"' || first == '\\') {
      line += '\\';
      line += first;
    } else if (static_cast<unsigned char>(first) < 0x20 || first == 0x7f) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(first));
      line += escape.data();
    } else {
      line += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  line += '"';
}

// Whether `text` can stand in a text line without quotes.
bool is_plain(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
  });
}

void append_field(std::string& line, LogFormat format, std::string_view key, const Value& value) {
  if (format == LogFormat::json) {
    line += ',';
    append_quoted(line, key);
    line += ':';
  } else {
    line += ' ';
    line += key;
    line += '=';
  }
  value.append_to(line, format);
}

void write_event(LogLevel level, std::string_view name, Fields fields, uint64_t suppressed) {
  const Log& log = *the_log();
  std::string line = format_event(log.format, level, name, fields);
  if (suppressed > 0) append_field(line, log.format, "suppressed", suppressed);
  log.logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

void log_for_grpc(gpr_log_func_args* args) {
  static Limited limited(kGrpcEventsPerSecond);
  const LogLevel level =
      args->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::warn : LogLevel::debug;
  const char* slash = std::strrchr(args->file, '/');
  event(limited, level, "grpc",
        {{"file", slash == nullptr ? args->file : slash + 1},
         {"line", args->line},
         {"message", args->message}});
}

}  // namespace

void Value::append_to(std::string& line, LogFormat format) const {
  if (const auto* flag = std::get_if<bool>(&value_)) {
    line += *flag ? "true" : "false";
  } else if (const auto* number = std::get_if<int64_t>(&value_)) {
    line += std::to_string(*number);
  } else if (const auto* positive = std::get_if<uint64_t>(&value_)) {
    line += std::to_string(*positive);
  } else {
    const std::string_view text = std::get<std::string_view>(value_);
    if (format == LogFormat::text && is_plain(text)) {
      line += text;
    } else {
      append_quoted(line, text);
    }
  }
}

std::optional<uint64_t> Limited::admit(std::chrono::steady_clock::time_point now) {
  // One more than the clock's second, so that the initial window is in the past.
  const auto second = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count() + 1);
  uint64_t window = window_.load(std::memory_order_relaxed);
  uint64_t next = 0;
  do {
    const uint64_t count = (window >> 32) == (second & 0xffff'ffff) ? window & 0xffff'ffff : 0;
    if (count >= per_second_) {
      suppressed_.fetch_add(1, std::memory_order_relaxed);
      return std::nullopt;
    }
    next = second << 32 | (count + 1);
  } while (!window_.compare_exchange_weak(window, next, std::memory_order_relaxed));
  return suppressed_.exchange(0, std::memory_order_relaxed);
}

std::string format_event(LogFormat format, LogLevel level, std::string_view name, Fields fields) {
  const std::string_view level_name = kLevelNames[static_cast<size_t>(level)];
  std::string line;
  if (format == LogFormat::json) {
    line.append(R"("level":")").append(level_name).append(R"(","event":)");
    append_quoted(line, name);
  } else {
    line.append(level_name).append(level_name.size() < 5 ? "  " : " ").append(name);
  }
  for (const auto& [key, value] : fields) append_field(line, format, key, value);
  return line;
}

bool enabled(LogLevel level) { return level >= the_log()->level && level != LogLevel::off; }

void event(LogLevel level, std::string_view name, Fields fields) {
  if (enabled(level)) write_event(level, name, fields, 0);
}

void event(Limited& limited, LogLevel level, std::string_view name, Fields fields) {
  if (!enabled(level)) return;
  if (const auto suppressed = limited.admit(std::chrono::steady_clock::now())) {
    write_event(level, name, fields, *suppressed);
  }
}

void setup(const Config::Log& config) {
  int fd = STDERR_FILENO;
  if (!config.file.empty() && (fd = open_file(config.file)) < 0) {
    throw ConfigError("log.file = \"" + config.file +
                      "\" can't be opened: " + std::generic_category().message(errno) +
                      "; name a file in a directory the daemon may write to");
  }
  the_log() = std::make_unique<Log>(config.format, config.level, config.file, fd);
}

bool reopen() {
  const Log& log = *the_log();
  if (log.file.empty()) return true;
  const int fd = open_file(log.file);
  if (fd < 0) {
    const std::string reason = std::generic_category().message(errno);
    error("log_reopen_failed", {{"file", log.file}, {"reason", reason}});
    return false;
  }
  log.sink->replace(fd);
  info("log_reopened", {{"file", log.file}});
  return true;
}

void install_grpc_log() {
  gpr_set_log_function(log_for_grpc);
  gpr_set_log_verbosity(enabled(LogLevel::debug) ? GPR_LOG_SEVERITY_DEBUG : GPR_LOG_SEVERITY_ERROR);
}

}  // namespace legated::log
