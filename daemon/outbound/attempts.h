#pragma once
// How often gRPC sends one call off. gRPC keeps its retries to itself, but asks a call's own
// credentials for metadata at each try, once it has a connection for it: these have none, and count.
// Made and read on the loop's thread; gRPC asks on any.

#include <grpc/grpc.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace legated {

class Attempts {
 public:
  /// `call` must not have begun.
  explicit Attempts(grpc_call* call);

  /// Tries so far that reached a connection.
  uint32_t count() const { return count_->load(std::memory_order_relaxed); }

 private:
  // gRPC may ask a little after the call has ended.
  std::shared_ptr<std::atomic<uint32_t>> count_ = std::make_shared<std::atomic<uint32_t>>(0);
};

}  // namespace legated
