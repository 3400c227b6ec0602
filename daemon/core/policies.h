#pragma once
// What a channel does to every call out, and a server to every call in, before it starts, and learns
// from its end (docs/policies.md). Pure; time and randomness are passed in. Owned by its channel or
// server, used on the loop's thread.

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "daemon/core/policy.h"

namespace legated {

class Policies {
 public:
  using Time = Policy::Time;
  using RandomSource = Policy::RandomSource;
  using Kinds = std::vector<PolicyKind>;

  /// One policy a line, in the order they run; or the first mistake and its remedy. A line may begin
  /// with "for METHOD: ".
  static std::variant<Policies, std::string> parse(const std::vector<std::string>& lines,
                                                   const Kinds& kinds = outgoing());

  /// The kinds that a channel can have.
  static const Kinds& outgoing();

  /// Nothing to do: admit() and on_end() need not be called.
  bool empty() const { return policies_.empty(); }

  /// The status (Origin::daemon) when the call is refused; it leaves nothing behind and on_end() is
  /// not for it. Otherwise `admission` is set.
  [[nodiscard]] std::optional<Status> admit(PolicyCall call, Time now, const RandomSource& random,
                                            AdmissionId& admission);

  /// Exactly once for every admitted call, whatever ended it. Only an end that the remote side or
  /// gRPC decided (Origin::remote), and not CANCELLED, tells something about the server.
  void on_end(AdmissionId admission, const Status& status, Time now);

  /// For the operator, one of each line, in order.
  using Report = Policy::Report;
  std::vector<Report> report(Time now) const;

 private:
  std::vector<std::unique_ptr<Policy>> policies_;
  uint64_t last_admission_ = 0;
};

}  // namespace legated
