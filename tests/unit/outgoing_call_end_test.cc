// The table "Outgoing call, as the daemon sees it" in PROTOCOL.md, section 6, cell by cell:
// cancelled, ended; and the number of messages each shape of call has.
#include <gtest/gtest.h>

#include "tests/unit/outgoing_call_fixture.h"

namespace legated {
namespace {

using namespace legate::ipc::flag;

using OutgoingCallEndTest = OutgoingCallTest;

// ---- cancelled ---------------------------------------------------------------------------------

TEST_F(OutgoingCallEndTest, CancelIsAnsweredByCancelledOfTheApplication) {
  reach_cancelled();
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none) << "gRPC has to say so";
  call_->on_headers(true);
  call_->on_status(kCancelledByGrpc);
  expect_end(StatusCode::cancelled, Origin::app);
  EXPECT_TRUE(call_->finished());
}

TEST_F(OutgoingCallEndTest, CancelledDropsHeadersAndMessages) {
  open_with_headers();
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->on_cancel();
  call_->on_message(5);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  call_->on_status(kCancelledByGrpc);
  expect_end(StatusCode::cancelled, Origin::app);

  reach_cancelled();
  call_->on_headers(false);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  call_->on_status(kCancelledByGrpc);
  expect_end(StatusCode::cancelled, Origin::app);
}

TEST_F(OutgoingCallEndTest, CancelledAgainOrRefusedChangesNothing) {
  reach_cancelled();
  call_->on_cancel();
  call_->refuse(kRefusal);
  EXPECT_TRUE(call_->on_window(5));
  const OutgoingWork work = call_->take_work(true);
  EXPECT_FALSE(work.cancel || work.sends() || work.receive_message);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  call_->on_headers(true);
  call_->on_status(kCancelledByGrpc);
  expect_end(StatusCode::cancelled, Origin::app);
}

TEST_F(OutgoingCallEndTest, CancelledAfterTheCallHadFailedKeepsThatStatus) {
  reach_cancelled();
  call_->on_headers(true);
  call_->on_status(kRemoteFailed);
  expect_end(StatusCode::not_found, Origin::remote);
}

TEST_F(OutgoingCallEndTest, CancelledIsNeverOkSinceTheAnswerWasDropped) {
  call_.emplace(Shape::unary, kWindow, kWindow);
  ASSERT_EQ(call_->on_part(whole_message | end_stream, 5, 5), std::nullopt);
  EXPECT_TRUE(call_->take_work(true).unary);
  call_->on_cancel();
  EXPECT_TRUE(call_->take_work(true).cancel);
  call_->on_unary(false, 7);
  call_->on_status(kRemoteOk);
  expect_end(StatusCode::cancelled, Origin::app);
}

TEST_F(OutgoingCallEndTest, RefusedAnswerGoesBeforeAnOkThatWasFaster) {
  for (const bool status_first : {true, false}) {
    call_.emplace(Shape::unary, kWindow, kWindow);
    ASSERT_EQ(call_->on_part(whole_message | end_stream, 5, 5), std::nullopt);
    EXPECT_TRUE(call_->take_work(true).unary);
    if (status_first) call_->on_status(kRemoteOk);
    call_->on_unary(false, 7);
    call_->refuse_answer(kRefusal);
    if (!status_first) call_->on_status(kRemoteOk);
    expect_end(kRefusal.code, Origin::daemon);
  }
}

TEST_F(OutgoingCallEndTest, RefusedAnswerLeavesAnotherStatusAlone) {
  open_with_headers();
  call_->on_status(kRemoteFailed);
  call_->refuse_answer(kRefusal);
  expect_end(StatusCode::not_found, Origin::remote);

  call_.emplace(Shape::unary, kWindow, kWindow);
  ASSERT_EQ(call_->on_part(whole_message | end_stream, 5, 5), std::nullopt);
  EXPECT_TRUE(call_->take_work(true).unary);
  call_->on_cancel();
  call_->on_status(kRemoteOk);
  call_->on_unary(false, 7);
  call_->refuse_answer(kRefusal);
  expect_end(StatusCode::cancelled, Origin::app);
}

TEST_F(OutgoingCallEndTest, CancelledBeforeItStartedNeverReachesGrpc) {
  call_.emplace(Shape::bidi, kWindow, kWindow);
  call_->on_cancel();
  const OutgoingWork work = call_->take_work(true);
  EXPECT_FALSE(work.sends() || work.cancel || work.unary);
  expect_end(StatusCode::cancelled, Origin::app);
  EXPECT_TRUE(call_->finished());
}

// ---- ended, and the peer's loss ----------------------------------------------------------------

TEST_F(OutgoingCallEndTest, ThePeersLossCancelsAndWritesNothing) {
  open_with_headers();
  receive(150);
  call_->on_peer_lost();
  EXPECT_TRUE(call_->take_work(true).cancel);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  EXPECT_FALSE(call_->finished());
  call_->on_status(kCancelledByGrpc);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  EXPECT_TRUE(call_->finished());
}

TEST_F(OutgoingCallEndTest, ThePeersLossBeforeTheStartEndsAtOnce) {
  call_.emplace(Shape::bidi, kWindow, kWindow);
  call_->on_peer_lost();
  EXPECT_FALSE(call_->take_work(true).sends());
  EXPECT_TRUE(call_->finished());
}

// ---- shapes ------------------------------------------------------------------------------------

TEST_F(OutgoingCallEndTest, OneRequestMeansOne) {
  for (const Shape shape : {Shape::unary, Shape::server_streaming}) {
    open(shape);
    ASSERT_EQ(call_->on_part(end_stream, 0, 0), std::nullopt);
    expect_end(StatusCode::invalid_argument, Origin::app);
    open(shape);
    ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
    EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
    ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
    expect_end(StatusCode::invalid_argument, Origin::app);
  }
  for (const Shape shape : {Shape::client_streaming, Shape::bidi}) {
    open(shape);
    ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
    ASSERT_EQ(call_->on_part(whole_message | end_stream, 5, 5), std::nullopt);
    EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  }
}

TEST_F(OutgoingCallEndTest, AnOkAnswerWithoutItsMessageIsInternal) {
  for (const Shape shape : {Shape::unary, Shape::client_streaming}) {
    open(shape);
    call_->on_headers(true);
    call_->on_status(kRemoteOk);
    expect_end(StatusCode::internal, Origin::remote);
    open(shape);
    call_->on_headers(true);
    call_->on_status(kRemoteFailed);
    expect_end(StatusCode::not_found, Origin::remote);
  }
  open(Shape::server_streaming);
  call_->on_headers(true);
  call_->on_status(kRemoteOk);
  expect_end(StatusCode::ok, Origin::remote);
}

TEST_F(OutgoingCallEndTest, TheAnswersNumberIsJudgedWhenGrpcOwesNoMessage) {
  open_with_headers(Shape::unary);
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->on_status(kRemoteOk);
  call_->on_message(5);
  write_data();
  expect_end(StatusCode::ok, Origin::remote);

  open_with_headers(Shape::unary);
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->on_status(kRemoteOk);
  call_->on_message(std::nullopt);
  expect_end(StatusCode::internal, Origin::remote);
}

TEST_F(OutgoingCallEndTest, ASecondAnswerIsInternal) {
  open_with_headers(Shape::client_streaming);
  receive(5);
  write_data();
  receive(5);
  EXPECT_TRUE(call_->take_work(true).cancel);
  expect_end(StatusCode::internal, Origin::remote);

  open_with_headers(Shape::client_streaming);
  receive(5);
  write_data();
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->on_status(kRemoteOk);
  call_->on_message(5);
  expect_end(StatusCode::internal, Origin::remote);
}

}  // namespace
}  // namespace legated
