#pragma once
// Where a channel's token comes from, and how gRPC gets it: as call credentials, asked for each
// attempt of each call, on any thread. So what gRPC asks lives apart from its source, under a mutex;
// it outlives it when gRPC still knows of a call.
//
// A call that needs a token that is not there waits within gRPC, where its deadline and its
// cancellation hold, until the source has got one. The source gets it on the loop's thread: it reads
// the file, or runs the command, one at a time.

#include <grpc/grpc_security.h>

#include <memory>
#include <optional>
#include <string>

#include "daemon/config/channel_settings.h"
#include "daemon/core/token.h"
#include "daemon/system/child.h"
#include "daemon/system/loop.h"
#include "daemon/system/wakeup.h"

namespace legated {

/// The loop's thread.
class TokenSource {
 public:
  /// Of settings that have a token. Throws std::system_error when the kernel refuses a descriptor.
  TokenSource(Loop& loop, const std::string& channel, const ChannelSettings& settings);
  /// Calls that still wait end.
  ~TokenSource();
  TokenSource(const TokenSource&) = delete;
  TokenSource& operator=(const TokenSource&) = delete;

  /// What calls authenticate with; the caller releases it.
  grpc_call_credentials* credentials() const;

  /// "value", "file" or "command".
  const char* kind() const;
  TokenCache::Report report() const;

 private:
  class Shared;

  void fetch();
  void read_file();
  void run_command();
  void on_output(Child::Result result);
  void on_text(std::string_view text, bool json);
  void on_failure(std::string problem);

  Loop& loop_;
  const std::string channel_;  // for the log; empty: of a process
  const ChannelSettings settings_;
  const std::shared_ptr<Shared> shared_;
  std::optional<Wakeup> wakeup_;  // unless the token is a value
  std::unique_ptr<Child> child_;
};

/// What gRPC says of a call that got no token begins with this.
bool is_token_failure(std::string_view message);
/// The rest of it: why there is none.
std::string token_failure(std::string_view message);

/// What is wrong with the settings' token; empty: nothing.
std::string problem_with_tokens(const ChannelSettings& settings);
/// Whether the settings have a token at all.
bool has_token(const ChannelSettings& settings);

}  // namespace legated
