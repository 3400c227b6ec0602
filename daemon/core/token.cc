#include "daemon/core/token.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace legated {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxToken = 8192;
constexpr std::chrono::seconds kLongest = 24h * 365;
constexpr std::chrono::milliseconds kFirstBackoff = 1s;
constexpr std::chrono::milliseconds kMaxBackoff = 60s;
constexpr std::chrono::milliseconds kAhead = 60s;

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// Seconds as a number, or as a number in a string, which some issue.
std::optional<double> number(const nlohmann::json& value) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  double parsed;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return parsed;
}

std::variant<Token, std::string> parse_object(std::string_view text) {
  const auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) return "is no valid JSON";
  const auto found = object.contains("token") ? object.find("token") : object.find("access_token");
  if (found == object.end() || !found->is_string())
    return "is JSON without a string \"token\" or \"access_token\"";
  Token token{.text = found->get<std::string>()};
  if (std::string problem = problem_with_token(token.text); !problem.empty()) return problem;
  const auto expires = object.find("expires_in");
  if (expires != object.end() && !expires->is_null()) {
    const auto seconds = number(*expires);
    if (!seconds || !(*seconds >= 1)) return "has an \"expires_in\" that is not a number above 0";
    token.lifetime = std::chrono::seconds(static_cast<int64_t>(
        std::min(*seconds, static_cast<double>(kLongest.count()))));
  }
  return token;
}

}  // namespace

std::string problem_with_token(std::string_view text) {
  if (text.empty()) return "is empty";
  if (text.size() > kMaxToken) return "is longer than " + std::to_string(kMaxToken) + " bytes";
  const bool fine = std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
  return fine ? "" : "has other characters than printable ASCII without spaces";
}

std::variant<Token, std::string> parse_token(std::string_view text, bool json) {
  text = trim(text);
  if (json && text.starts_with('{')) return parse_object(text);
  if (std::string problem = problem_with_token(text); !problem.empty()) return problem;
  return Token{.text = std::string(text)};
}

TokenCache::Answer TokenCache::ask(Time now) {
  const bool usable = valid(now);
  const bool backing_off = now < retry_;
  const bool due = !usable || now >= due_;
  const bool fetch = due && !backing_off && !fetching_;
  fetching_ |= fetch;
  Answer answer{.fetch = fetch};
  if (usable && (!due || backing_off || times_.look == 0ms)) {
    answer.token = &token_;
  } else if (!usable && backing_off && !fetching_) {
    answer.problem = &problem_;
  }
  return answer;
}

void TokenCache::on_token(Token token, Time now) {
  fetching_ = false;
  token_ = std::move(token.text);
  const std::chrono::milliseconds lifetime = token.lifetime ? *token.lifetime : times_.lifetime;
  expires_ = now + lifetime;
  due_ = times_.look > 0ms ? now + times_.look : expires_ - std::min(kAhead, lifetime / 5);
  problem_.clear();
  retry_ = Time::min();
  backoff_ = 0ms;
  ++fetched_;
}

void TokenCache::on_failure(std::string problem, Time now) {
  fetching_ = false;
  problem_ = std::move(problem);
  backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kMaxBackoff);
  retry_ = now + backoff_;
  ++failed_;
}

TokenCache::Report TokenCache::report(Time now) const {
  Report report{.state = "none", .fetched = fetched_, .failed = failed_, .last_error = problem_};
  if (valid(now)) {
    report.state = problem_.empty() ? "fresh" : "stale";
    if (expires_ != Time::max())
      report.expires_in = std::chrono::duration_cast<std::chrono::milliseconds>(expires_ - now);
  } else if (!problem_.empty()) {
    report.state = "failed";
  } else if (!token_.empty()) {
    report.state = "expired";
  }
  return report;
}

}  // namespace legated
