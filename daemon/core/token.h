#pragma once
// A channel's bearer token: what a command prints, and when a token is used, renewed and given up.
// Pure; time is passed in. Tokens are secrets: no function here puts one into a message.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace legated {

struct Token {
  std::string text;
  std::optional<std::chrono::seconds> lifetime{};  // nullopt: the source does not say
};

/// What is wrong with the text as a token; empty: nothing.
std::string problem_with_token(std::string_view text);

/// The token that a file holds or a command has printed: the text without white space around it, or
/// (`json`) an object with "token" or "access_token", and perhaps "expires_in" in seconds. Or what is
/// wrong, without a word of the text.
std::variant<Token, std::string> parse_token(std::string_view text, bool json);

/// The token in use. Not thread-safe.
class TokenCache {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Times {
    std::chrono::milliseconds lifetime{0};  // of a token whose source does not say
    // A token is looked for again this long after the last, and calls wait for what is found. 0: it
    // is renewed ahead of its end, and calls go on with the old one meanwhile.
    std::chrono::milliseconds look{0};
  };

  explicit TokenCache(Times times) : times_(times) {}
  /// For ever.
  explicit TokenCache(std::string token)
      : token_(std::move(token)), expires_(Time::max()), due_(Time::max()) {}

  /// What a call gets: the token (null while it has to wait), or why there is none.
  struct Answer {
    const std::string* token = nullptr;
    const std::string* problem = nullptr;
    bool fetch = false;  // get a new one now; on_token() or on_failure() follows
  };
  Answer ask(Time now);

  void on_token(Token token, Time now);
  void on_failure(std::string problem, Time now);

  struct Report {
    std::string state;  // "none", "fresh", "stale" (renewal fails), "expired", "failed"
    std::optional<std::chrono::milliseconds> expires_in{};  // nullopt: never, or there is none
    uint64_t fetched = 0;
    uint64_t failed = 0;
    std::string last_error{};  // of the last attempt; empty when it was good
  };
  Report report(Time now) const;

 private:
  bool valid(Time now) const { return !token_.empty() && now < expires_; }

  Times times_;
  std::string token_;  // empty: none yet
  Time expires_ = Time::min();
  Time due_ = Time::min();
  bool fetching_ = false;
  std::string problem_;       // of the last attempt
  Time retry_ = Time::min();  // not before
  std::chrono::milliseconds backoff_{0};
  uint64_t fetched_ = 0;
  uint64_t failed_ = 0;
};

}  // namespace legated
