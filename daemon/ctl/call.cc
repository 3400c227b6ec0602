#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "cpp-client/connection.h"
#include "daemon/ctl/commands.h"
#include "daemon/ctl/table.h"
#include "daemon/ctl/text.h"

namespace legated::ctl {
namespace {

using legate::client::Call;
using legate::client::CallOptions;
using legate::client::ChannelOptions;
using legate::client::Code;
using legate::client::Connection;
using legate::client::Metadata;
using legate::client::Role;
using legate::client::Shape;
using legate::client::Status;

constexpr int kStatusBase = 64;

// What the user asked for makes no sense.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

std::string slurp(const std::string& name) {
  if (name == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream file(name, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw UsageError("can't read " + name + "; check the path after the @");
  return bytes;
}

std::string read(const Input& input) {
  std::string text = input.text.starts_with('@') ? slurp(input.text.substr(1)) : input.text;
  if (!input.hex) return text;
  auto bytes = parse_hex(text);
  if (!bytes) throw UsageError("--hex takes pairs of hexadecimal digits");
  return std::move(*bytes);
}

std::vector<std::string> read_messages(const CallRequest& request, Shape shape) {
  std::vector<std::string> messages;
  for (const Input& input : request.messages) messages.push_back(read(input));
  if (shape == Shape::unary || shape == Shape::server_streaming) {
    if (messages.size() > 1) throw UsageError("this shape takes one message; see --shape");
    if (messages.empty()) messages.emplace_back();  // the empty message is one
  }
  return messages;
}

CallOptions options_of(const CallRequest& request) {
  CallOptions options;
  options.wait_for_ready = request.wait_for_ready;
  options.idempotent = request.idempotent;
  const bool streams = request.messages.size() > 1;
  options.shape = request.shape.value_or(streams ? Shape::client_streaming : Shape::unary);
  for (const std::string& header : request.headers) {
    auto entry = parse_metadata(header);
    if (!entry) {
      throw UsageError("-H " + header +
                       ": want key:value, with the value in base64 when the key ends in -bin");
    }
    options.metadata.push_back(std::move(*entry));
  }
  if (!request.timeout.empty()) {
    options.timeout = parse_duration(request.timeout);
    if (!options.timeout) {
      throw UsageError("--timeout " + request.timeout + ": want a time such as 2s or 500ms");
    }
  }
  return options;
}

std::string read_file(const char* option, const std::string& path) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file || text.empty()) throw UsageError(std::string(option) + ' ' + path + ": can't be read");
  return text;
}

std::string read_token(const std::string& path) {
  std::string token = read_file("--token-file", path);
  token.erase(token.find_last_not_of(" \t\r\n") + 1);
  return token;
}

ChannelOptions channel_options_of(const CallRequest& request) {
  ChannelOptions options;
  options.authority = request.authority;
  options.token = read_token(request.token_file);
  if (request.tls || !request.ca.empty() || !request.certificate.empty() || !request.key.empty() ||
      !request.server_name.empty()) {
    options.tls = {.roots = read_file("--ca", request.ca),
                   .certificate = read_file("--cert", request.certificate),
                   .key = read_file("--key", request.key),
                   .server_name = request.server_name};
  }
  return options;
}

Json to_json(const Metadata& metadata) {
  Json list = Json::array();
  for (const auto& [key, value] : metadata) {
    list.push_back({{"key", key}, {"value", is_binary_key(key) ? to_base64(value) : value}});
  }
  return list;
}

// Writes replies as they come, or keeps them for the JSON at the end.
class Replies {
 public:
  Replies(const CallRequest& request, bool json) : hex_(request.out == "hex"), json_(json) {
    if (request.out.starts_with('@')) {
      file_.open(request.out.substr(1), std::ios::binary);
      if (!file_) throw UsageError("can't write " + request.out.substr(1) + "; check the path");
    } else if (!hex_ && request.out != "raw") {
      throw UsageError("--out " + request.out + ": want raw, hex or @file");
    }
  }

  void add(const std::string& message) {
    if (json_) list_.push_back(to_base64(message));
    if (json_ && !file_.is_open()) return;
    std::ostream& out = file_.is_open() ? file_ : std::cout;
    if (hex_) {
      out << to_hex(message) << '\n';
    } else {
      out.write(message.data(), static_cast<std::streamsize>(message.size()));
    }
    out.flush();
  }

  const Json& list() const { return list_; }

 private:
  const bool hex_;
  const bool json_;
  std::ofstream file_;
  Json list_ = Json::array();
};

void print_metadata(const char* title, const Metadata& metadata) {
  for (const auto& [key, value] : metadata) {
    std::cerr << title << ' ' << key << ": " << (is_binary_key(key) ? to_base64(value) : printable(value))
              << '\n';
  }
}

void print_json(const Status& status, const Metadata& headers, const Json& messages) {
  Json json = {{"status",
                {{"code", static_cast<int>(status.code)},
                 {"name", name(status.code)},
                 {"message", status.message},
                 {"origin", EnumNameOrigin(status.origin)},
                 {"elapsed_us", status.elapsed.count()},
                 {"attempts", status.attempts}}},
               {"headers", to_json(headers)},
               {"messages_base64", messages},
               {"trailers", to_json(status.trailers)}};
  if (status.details) json["status"]["details_base64"] = to_base64(*status.details);
  std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
}

void print_verbose(const Status& status, const Metadata& headers) {
  print_metadata("header", headers);
  print_metadata("trailer", status.trailers);
  if (status.details) std::cerr << "details (base64): " << to_base64(*status.details) << '\n';
  std::cerr << "status: " << printable(describe(status)) << ", after " << to_text(status.elapsed) << ", "
            << status.attempts << (status.attempts == 1 ? " attempt\n" : " attempts\n");
}

// What the user may do about it; empty when that is the server's business.
std::string remedy(const Status& status) {
  switch (status.code) {
    case Code::unavailable: return "; check the target, or wait for it with --wait-for-ready";
    case Code::deadline_exceeded: return "; allow more time with --timeout";
    case Code::unimplemented: return "; check the method's name";
    default: return "";
  }
}

int exchange(const Target& target, const CallRequest& request) {
  const CallOptions options = options_of(request);
  const std::vector<std::string> messages = read_messages(request, options.shape);
  Replies replies(request, target.json);

  const auto connection =
      Connection::dial(target.socket, {.name = "legatectl", .roles = Role::client});
  const auto channel = connection->open_channel(request.target, channel_options_of(request));
  if (const auto opened = connection->wait(channel); !opened.status.ok()) {
    complain("can't open a channel to " + request.target + ": " + describe(opened.status));
    return connection->closed() ? kFailed : kStatusBase + static_cast<int>(opened.status.code);
  }

  std::shared_ptr<Call> call;
  std::thread sender;
  if (messages.size() == 1) {
    call = connection->start_call(channel, request.method, options, messages.front(), true);
  } else {
    call = connection->start_call(channel, request.method, options);
    sender = std::thread([&] {
      for (const std::string& message : messages) {
        if (!call->write(message)) return;
      }
      call->writes_done();
    });
  }
  while (const auto reply = call->read()) replies.add(*reply);
  if (sender.joinable()) sender.join();
  const Status status = call->finish();
  const Metadata headers = call->headers();

  if (target.json) print_json(status, headers, replies.list());
  if (request.verbose) {
    print_verbose(status, headers);
  } else if (!status.ok() && !target.json) {
    complain(request.method + " ended " + describe(status) + remedy(status));
  }
  if (status.ok()) return 0;
  return connection->closed() ? kFailed : kStatusBase + static_cast<int>(status.code);
}

}  // namespace

int run_call(const Target& target, const CallRequest& request) {
  try {
    return exchange(target, request);
  } catch (const UsageError& error) {
    complain(error.what());
    return kFailed;
  }
}

}  // namespace legated::ctl
