// The table "Outgoing call, as the daemon sees it" in PROTOCOL.md, section 6, cell by cell: open,
// half-closed, ending.
#include <gtest/gtest.h>

#include "tests/unit/outgoing_call_fixture.h"

namespace legated {
namespace {

using legate::ipc::ErrorCode;
using namespace legate::ipc::flag;

// ---- open --------------------------------------------------------------------------------------

TEST_F(OutgoingCallTest, OpenQueuesDataToGrpcOneBatchAtATime) {
  open();
  EXPECT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  EXPECT_EQ(call_->on_part(whole_message, 6, 6), std::nullopt);
  EXPECT_TRUE(call_->take_work(true).send_message);
  EXPECT_FALSE(call_->take_work(true).sends()) << "a batch is under way";
  call_->on_sent(true);
  EXPECT_EQ(call_->on_part(end_stream, 0, 0), std::nullopt);
  const OutgoingWork last = call_->take_work(true);
  EXPECT_TRUE(last.send_message && last.half_close) << "together";
  call_->on_sent(true);
  EXPECT_FALSE(call_->take_work(true).sends());
}

TEST_F(OutgoingCallTest, AWholeRequestOfAUnaryCallIsOneBatch) {
  call_.emplace(Shape::unary, kWindow, kWindow);
  ASSERT_EQ(call_->on_part(whole_message | end_stream, 5, 5), std::nullopt);
  const OutgoingWork work = call_->take_work(true);
  EXPECT_TRUE(work.unary);
  EXPECT_FALSE(work.sends() || work.receive_message || work.cancel);
  call_->on_unary(false, 7);
  call_->on_status(kRemoteOk);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::headers);
  call_->on_headers_written();
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::data);
  EXPECT_EQ(call_->next_part(kPlenty, kPlenty)->length, 7u);
  expect_end(StatusCode::ok, Origin::remote);
  EXPECT_TRUE(call_->finished());
}

TEST_F(OutgoingCallTest, AUnaryCallThatComesInPartsIsStartedAtOnce) {
  call_.emplace(Shape::unary, kWindow, kWindow);
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  const OutgoingWork work = call_->take_work(true);
  EXPECT_TRUE(work.start && work.send_message);
  EXPECT_FALSE(work.unary || work.half_close);
}

TEST_F(OutgoingCallTest, OpenWindowLetsMoreDataGo) {
  open_with_headers();
  receive(150);
  write_data();
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  EXPECT_TRUE(call_->on_window(20));
  EXPECT_EQ(call_->next_frame(0), Frame::none) << "nor without the connection's credit";
  EXPECT_EQ(call_->next_frame(1), Frame::data);
  EXPECT_FALSE(call_->on_window(0));
  EXPECT_FALSE(call_->on_window(legate::ipc::kMaxWindow));
}

TEST_F(OutgoingCallTest, OpenHeadersPrecedeData) {
  open();
  EXPECT_FALSE(call_->take_work(true).receive_message) << "headers first";
  call_->on_headers(true);
  EXPECT_EQ(call_->next_frame(0), Frame::headers) << "even empty ones, and without credit";
  receive(5);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::headers);
  call_->on_headers_written();
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::data);
}

TEST_F(OutgoingCallTest, UnaryThatBeginsWholeWaitsForItsRequest) {
  using namespace legate::ipc::flag;
  call_.emplace(Shape::unary, kWindow, kWindow);
  call_->begin_whole();
  EXPECT_FALSE(call_->take_work(true).start);
  EXPECT_FALSE(call_->on_part(msg_begin, 10, 4));
  EXPECT_FALSE(call_->take_work(true).start);
  EXPECT_FALSE(call_->started());
  EXPECT_FALSE(call_->on_part(msg_end | end_stream, 0, 6));
  EXPECT_TRUE(call_->take_work(true).unary);
  EXPECT_TRUE(call_->started());
}

TEST_F(OutgoingCallTest, OpenHoldsOneMessageForThePeer) {
  open_with_headers();
  receive(5);
  EXPECT_FALSE(call_->take_work(true).receive_message);
  EXPECT_EQ(call_->messages_waiting(), 1u);
  write_data();
  EXPECT_FALSE(call_->take_work(false).receive_message) << "no memory";
  EXPECT_TRUE(call_->take_work(true).receive_message);
  EXPECT_FALSE(call_->take_work(true).receive_message) << "under way";
  call_->on_message(std::nullopt);
  EXPECT_FALSE(call_->take_work(true).receive_message) << "there are no more";
}

TEST_F(OutgoingCallTest, OpenReadsNothingWhileThePeerGivesNoCredit) {
  open_with_headers();
  receive(kWindow);
  write_data();
  EXPECT_FALSE(call_->take_work(true).receive_message);
  EXPECT_TRUE(call_->on_window(1));
  EXPECT_TRUE(call_->take_work(true).receive_message);
}

TEST_F(OutgoingCallTest, OpenStatusComesAfterHeadersAndData) {
  open_with_headers();
  receive(5);
  call_->on_status(kRemoteFailed);
  write_data();
  expect_end(StatusCode::not_found, Origin::remote);
  EXPECT_TRUE(call_->finished());
}

TEST_F(OutgoingCallTest, OpenStatusWaitsForHeadersAndAMessageThatGrpcStillOwes) {
  open_with_headers();
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->on_status(kRemoteOk);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  call_->on_message(5);
  write_data();
  expect_end(StatusCode::ok, Origin::remote);

  open();
  call_->on_status(kRemoteFailed);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  call_->on_headers(false);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::headers);
  call_->on_headers_written();
  expect_end(StatusCode::not_found, Origin::remote);
}

TEST_F(OutgoingCallTest, ATrailersOnlyAnswerIsAStatusWithoutHeaders) {
  open();
  call_->on_headers(true);
  call_->on_status(kRemoteFailed);
  expect_end(StatusCode::not_found, Origin::remote);
}

TEST_F(OutgoingCallTest, OpenRefusedByTheDaemonEndsWithItsOwnStatus) {
  open_with_headers();
  receive(150);
  write_data();
  call_->refuse(kRefusal);
  call_->refuse(kRemoteFailed);
  EXPECT_TRUE(call_->take_work(true).cancel);
  EXPECT_FALSE(call_->take_work(true).cancel) << "once";
  expect_end(StatusCode::resource_exhausted, Origin::daemon);
  EXPECT_FALSE(call_->finished()) << "gRPC is not done";
  call_->on_status(kCancelledByGrpc);
  EXPECT_TRUE(call_->finished());
}

TEST_F(OutgoingCallTest, AfterARefusalNothingThatGrpcStillDeliversIsPassedOn) {
  open_with_headers();
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->refuse(kRefusal);
  call_->on_status(kRemoteOk);
  call_->on_message(150);
  expect_end(StatusCode::resource_exhausted, Origin::daemon);
  EXPECT_TRUE(call_->finished());
}

TEST_F(OutgoingCallTest, RefusedBeforeItStartedNeverReachesGrpc) {
  call_.emplace(Shape::unary, kWindow, kWindow);
  call_->refuse(kRefusal);
  expect_end(StatusCode::resource_exhausted, Origin::daemon);
  EXPECT_FALSE(call_->started());
  EXPECT_TRUE(call_->finished());
}

TEST_F(OutgoingCallTest, AFailedSendIsNotTriedAgain) {
  open();
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  EXPECT_TRUE(call_->take_work(true).send_message);
  call_->on_sent(false);
  EXPECT_FALSE(call_->take_work(true).sends()) << "gRPC's status follows and says why";
  call_->on_headers(true);
  call_->on_status(kRemoteFailed);
  expect_end(StatusCode::not_found, Origin::remote);
}

// ---- half-closed -------------------------------------------------------------------------------

TEST_F(OutgoingCallTest, HalfClosedDataIsAFramingError) {
  open();
  ASSERT_EQ(call_->on_part(end_stream, 0, 0), std::nullopt);
  EXPECT_TRUE(call_->take_work(true).half_close);
  const auto violation = call_->on_part(whole_message, 5, 5);
  ASSERT_TRUE(violation);
  EXPECT_EQ(violation->code, ErrorCode::message_framing);
}

TEST_F(OutgoingCallTest, HalfClosedGoesOnInTheOtherDirection) {
  open_with_headers();
  ASSERT_EQ(call_->on_part(end_stream, 0, 0), std::nullopt);
  EXPECT_TRUE(call_->take_work(true).half_close);
  call_->on_message(150);
  write_data();
  EXPECT_TRUE(call_->on_window(50));
  write_data();
  call_->on_cancel();
  EXPECT_TRUE(call_->take_work(true).cancel);
}

// ---- ending ------------------------------------------------------------------------------------

TEST_F(OutgoingCallTest, EndingWindowLetsTheRestOfTheDataGo) {
  reach_ending();
  EXPECT_TRUE(call_->on_window(50));
  write_data();
  expect_end(StatusCode::not_found, Origin::remote);
}

TEST_F(OutgoingCallTest, EndingCancelDropsTheDataAndKeepsTheStatus) {
  reach_ending();
  call_->on_cancel();
  EXPECT_FALSE(call_->take_work(true).cancel) << "gRPC is done";
  expect_end(StatusCode::not_found, Origin::remote);
}

TEST_F(OutgoingCallTest, EndingCancelDropsAlsoAMessageThatComesLater) {
  open_with_headers();
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->on_status(kRemoteFailed);
  call_->on_cancel();
  call_->on_message(150);
  expect_end(StatusCode::not_found, Origin::remote);
}

TEST_F(OutgoingCallTest, EndingARefusalChangesNothing) {
  reach_ending();
  call_->refuse(kRefusal);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  EXPECT_TRUE(call_->on_window(50));
  write_data();
  expect_end(StatusCode::not_found, Origin::remote);
}

TEST_F(OutgoingCallTest, ThePassedDeadlineDropsDataNotYetSent) {
  open_with_headers();
  receive(150);
  write_data();
  call_->on_status(kDeadline);
  expect_end(StatusCode::deadline_exceeded, Origin::remote);

  open_with_headers();
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->on_status(kDeadline);
  call_->on_message(150);
  expect_end(StatusCode::deadline_exceeded, Origin::remote);
}

}  // namespace
}  // namespace legated
