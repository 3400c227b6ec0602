#pragma once
// An outgoing call brought into each state of the table in PROTOCOL.md, section 6.

#include "daemon/core/outgoing_call.h"

#include <gtest/gtest.h>

namespace legated {

inline constexpr uint32_t kWindow = 100;
inline constexpr uint32_t kPlenty = 1'000'000;

inline const Status kRemoteOk{StatusCode::ok, "", Origin::remote, {}};
inline const Status kRemoteFailed{StatusCode::not_found, "gone", Origin::remote, {}};
inline const Status kCancelledByGrpc{StatusCode::cancelled, "CANCELLED", Origin::remote, {}};
inline const Status kDeadline{
    StatusCode::deadline_exceeded, "Deadline Exceeded", Origin::remote, {}};
inline const Status kRefusal{StatusCode::resource_exhausted, "too much", Origin::daemon, {}};

class OutgoingCallTest : public testing::Test {
 protected:
  using Frame = OutgoingCall::Frame;

  // open: START with nothing, and gRPC's first batches begun.
  void open(Shape shape = Shape::bidi) {
    call_.emplace(shape, kWindow, kWindow);
    const OutgoingWork work = call_->take_work(true);
    EXPECT_TRUE(work.start);
    call_->on_sent(true);
  }
  void open_with_headers(Shape shape = Shape::bidi) {
    open(shape);
    call_->on_headers(false);
    EXPECT_EQ(call_->next_frame(kPlenty), Frame::headers);
    call_->on_headers_written();
  }
  // A message from gRPC that is written to the peer as far as the window goes.
  void receive(uint32_t length) {
    EXPECT_TRUE(call_->take_work(true).receive_message);
    call_->on_message(length);
  }
  void write_data() {
    EXPECT_EQ(call_->next_frame(kPlenty), Frame::data);
    EXPECT_NE(call_->next_part(kPlenty, kPlenty), std::nullopt);
  }
  // ending: status known, data left that the peer gives no credit for.
  void reach_ending(const Status& status = kRemoteFailed) {
    open_with_headers();
    receive(150);
    write_data();
    call_->on_status(status);
    EXPECT_EQ(call_->next_frame(kPlenty), Frame::none) << "50 bytes wait for credit";
  }
  void reach_cancelled() {
    open();
    call_->on_cancel();
    EXPECT_TRUE(call_->take_work(true).cancel);
  }
  void expect_end(StatusCode code, Origin origin) {
    EXPECT_EQ(call_->next_frame(0), Frame::status) << "STATUS never waits for credit";
    EXPECT_EQ(call_->status().code, code) << call_->status().message;
    EXPECT_EQ(call_->status().origin, origin);
    call_->on_status_written();
    EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
    const OutgoingWork work = call_->take_work(true);
    EXPECT_FALSE(work.sends() || work.receive_message || work.unary);
  }

  std::optional<OutgoingCall> call_;
};

}  // namespace legated
