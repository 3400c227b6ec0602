#pragma once
// gRPC batches as members of the object that starts them.

#include <grpc/grpc.h>

#include <array>
#include <cstdlib>

#include "daemon/system/loop.h"
#include "daemon/telemetry/log.h"

namespace legated {

/// A batch whose end calls a member of its owner. At most one is under way per object.
template <class Owner, void (Owner::*done)(bool ok)>
class Operation final : public Completion {
 public:
  explicit Operation(Owner& owner) : owner_(owner) {}
  void on_complete(bool ok) override { (owner_.*done)(ok); }

 private:
  Owner& owner_;
};

/// The operations of one batch, put together on the stack.
class Batch {
 public:
  grpc_op& add(grpc_op_type type) {
    grpc_op& op = ops_[count_++];
    op = {};
    op.op = type;
    return op;
  }

  /// gRPC refuses a batch only when the caller broke its rules, which is a defect of the daemon and
  /// no input can cause.
  void start(grpc_call* call, Completion& completion) {
    const grpc_call_error error =
        grpc_call_start_batch(call, ops_.data(), count_, &completion, nullptr);
    if (error == GRPC_CALL_OK) return;
    log::error("grpc_batch_refused", {{"error", grpc_call_error_to_string(error)}});
    std::abort();
  }

 private:
  std::array<grpc_op, 8> ops_;
  size_t count_ = 0;
};

}  // namespace legated
