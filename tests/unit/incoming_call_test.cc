// The table "Dispatch, as the daemon sees it" in PROTOCOL.md, section 6, cell by cell, and the
// rules in the text around it.
#include "daemon/core/incoming_call.h"

#include <gtest/gtest.h>

namespace legated {
namespace {

using Frame = IncomingCall::Frame;
using Phase = IncomingCall::Phase;
using legate::ipc::ErrorCode;
using namespace legate::ipc::flag;

constexpr uint32_t kWindow = 100;
constexpr uint32_t kPlenty = 1'000'000;

const Status kDone{StatusCode::ok, "", Origin::app, {}};
const Status kLost{StatusCode::unavailable, "lost", Origin::daemon, {}};
const Status kRefusal{StatusCode::resource_exhausted, "too much", Origin::daemon, {}};

class IncomingCallTest : public testing::Test {
 protected:
  // Another call, that waits for a worker with its first message there and the client's half open.
  void reach_queued(uint32_t length = kReadAheadLimit + 1) {
    call_.emplace();
    EXPECT_TRUE(call_->take_work(true).receive_message);
    call_->on_message(length);
    EXPECT_EQ(call_->phase(), Phase::queued);
    lengths_ = {length};
  }
  void offer() { call_->offer(kWindow, kWindow, lengths_); }
  void reach_offered(uint32_t length = kReadAheadLimit + 1) {
    reach_queued(length);
    offer();
    EXPECT_EQ(call_->next_frame(0), Frame::start) << "START needs no credit";
    call_->on_start_written();
  }
  void reach_accepted(uint32_t length = kReadAheadLimit + 1) {
    reach_offered(length);
    call_->on_accept();
    EXPECT_EQ(call_->phase(), Phase::accepted);
  }
  void reach_cancelled() {
    reach_accepted();
    call_->on_closed(true, false);
    EXPECT_EQ(call_->phase(), Phase::cancelled);
    EXPECT_EQ(call_->next_frame(0), Frame::cancel);
    EXPECT_EQ(call_->take_cancel(), StatusCode::cancelled);
  }
  // The one status to the client, and the end.
  void expect_answer(StatusCode code) {
    const IncomingWork work = call_->take_work(true);
    ASSERT_TRUE(work.send_status);
    EXPECT_EQ(call_->status().code, code);
    call_->on_sent(true);
    EXPECT_FALSE(call_->take_work(true).sends()) << "once";
  }

  static constexpr uint32_t kReadAheadLimit = 65'536;
  std::optional<IncomingCall> call_;
  std::vector<uint32_t> lengths_;
};

// ---- queued ------------------------------------------------------------------------------------

TEST_F(IncomingCallTest, QueuedReadsAheadOnlyBehindASmallFirstMessage) {
  reach_queued(kReadAheadLimit + 1);
  EXPECT_FALSE(call_->take_work(true).receive_message);
  reach_queued(kReadAheadLimit);
  EXPECT_FALSE(call_->take_work(false).receive_message) << "no memory";
  EXPECT_TRUE(call_->take_work(true).receive_message);
  EXPECT_FALSE(call_->take_work(true).receive_message) << "under way";
  call_->on_message(5);
  EXPECT_FALSE(call_->take_work(true).receive_message);
}

TEST_F(IncomingCallTest, QueuedCancelledByTheClientEndsUndispatched) {
  reach_queued();
  call_->on_closed(true, false);
  EXPECT_EQ(call_->phase(), Phase::ended);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  EXPECT_FALSE(call_->take_work(true).sends()) << "there is nobody to answer";
  EXPECT_TRUE(call_->finished());
}

TEST_F(IncomingCallTest, QueuedPastItsDeadlineEndsUndispatched) {
  reach_queued();
  call_->on_closed(true, true);
  EXPECT_EQ(call_->phase(), Phase::ended);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
}

TEST_F(IncomingCallTest, QueuedRefusedIsAnsweredAtOnce) {
  reach_queued();
  call_->refuse(kRefusal);
  EXPECT_EQ(call_->phase(), Phase::ended);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  expect_answer(StatusCode::resource_exhausted);
  EXPECT_FALSE(call_->finished());
  call_->on_closed(false, false);
  EXPECT_TRUE(call_->finished());
}

// ---- offered -----------------------------------------------------------------------------------

TEST_F(IncomingCallTest, OfferedSendsStartAndWhatIsThere) {
  reach_queued(5);
  ASSERT_TRUE(call_->take_work(true).receive_message);
  call_->on_message(std::nullopt);
  offer();
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::start);
  call_->on_start_written();
  EXPECT_EQ(call_->next_frame(0), Frame::none);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::data);
  EXPECT_EQ(call_->next_part(kPlenty, kPlenty)->flags, whole_message | end_stream);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
}

TEST_F(IncomingCallTest, OfferedIsAcceptedByWhateverTheWorkerSends) {
  reach_offered();
  call_->on_accept();
  EXPECT_EQ(call_->phase(), Phase::accepted);
  reach_offered();
  EXPECT_EQ(call_->on_headers(), std::nullopt);
  EXPECT_EQ(call_->phase(), Phase::accepted);
  reach_offered();
  EXPECT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  EXPECT_EQ(call_->phase(), Phase::accepted);
  reach_offered();
  EXPECT_TRUE(call_->on_window(5));
  EXPECT_EQ(call_->phase(), Phase::accepted);
}

TEST_F(IncomingCallTest, OfferedGivenBackIsQueuedAndSentAgainFromTheFirstByte) {
  reach_offered(5);
  EXPECT_EQ(call_->next_part(3, kPlenty)->flags, msg_begin);
  call_->withdraw();
  EXPECT_EQ(call_->phase(), Phase::queued);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  ASSERT_TRUE(call_->take_work(true).receive_message);
  call_->on_message(6);
  lengths_.push_back(6);
  offer();
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::start);
  call_->on_start_written();
  EXPECT_EQ(call_->next_part(kPlenty, kPlenty)->aux, 5u);
  EXPECT_EQ(call_->next_part(kPlenty, kPlenty)->aux, 6u);
}

TEST_F(IncomingCallTest, OfferedStatusEnds) {
  reach_offered();
  call_->on_accept();
  call_->on_status(kDone);
  EXPECT_EQ(call_->phase(), Phase::ended);
  expect_answer(StatusCode::ok);
}

TEST_F(IncomingCallTest, OfferedCancelledByTheClientTellsTheWorker) {
  reach_offered();
  call_->on_closed(true, false);
  EXPECT_EQ(call_->phase(), Phase::cancelled);
  EXPECT_EQ(call_->next_frame(0), Frame::cancel);
  EXPECT_EQ(call_->take_cancel(), StatusCode::cancelled);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  EXPECT_FALSE(call_->finished()) << "the worker's STATUS frees the slot";
}

TEST_F(IncomingCallTest, OfferedPastItsDeadlineTellsTheWorkerSo) {
  reach_offered();
  call_->on_closed(true, true);
  EXPECT_EQ(call_->take_cancel(), StatusCode::deadline_exceeded);
}

TEST_F(IncomingCallTest, OfferedButUnwrittenIsNeverShownToTheWorker) {
  reach_queued();
  offer();
  call_->on_closed(true, false);
  EXPECT_EQ(call_->phase(), Phase::ended);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  reach_queued();
  offer();
  call_->refuse(kRefusal);
  EXPECT_EQ(call_->phase(), Phase::ended);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  expect_answer(StatusCode::resource_exhausted);
}

// ---- accepted ----------------------------------------------------------------------------------

TEST_F(IncomingCallTest, AcceptedAgainIsNothing) {
  reach_accepted();
  call_->on_accept();
  EXPECT_EQ(call_->phase(), Phase::accepted);
}

TEST_F(IncomingCallTest, AcceptedHeadersAreSentOnce) {
  reach_accepted();
  EXPECT_EQ(call_->on_headers(), std::nullopt);
  const auto again = call_->on_headers();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->code, ErrorCode::unexpected_frame);
  const IncomingWork work = call_->take_work(true);
  EXPECT_TRUE(work.send_headers);
  EXPECT_FALSE(work.send_message || work.send_status);
  call_->on_sent(true);
  EXPECT_FALSE(call_->take_work(true).sends());
  EXPECT_TRUE(call_->on_headers());
}

TEST_F(IncomingCallTest, AcceptedHeadersAfterDataAreUnexpected) {
  reach_accepted();
  ASSERT_EQ(call_->on_part(msg_begin, 5, 2), std::nullopt);
  const auto late = call_->on_headers();
  ASSERT_TRUE(late);
  EXPECT_EQ(late->code, ErrorCode::unexpected_frame);
}

TEST_F(IncomingCallTest, AcceptedDataGoesToTheClientWithHeadersOneBatchAtATime) {
  reach_accepted();
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  ASSERT_EQ(call_->on_part(whole_message, 6, 6), std::nullopt);
  IncomingWork work = call_->take_work(true);
  EXPECT_TRUE(work.send_headers && work.send_message) << "empty headers with the first message";
  EXPECT_FALSE(call_->take_work(true).sends());
  call_->on_sent(true);
  work = call_->take_work(true);
  EXPECT_TRUE(work.send_message);
  EXPECT_FALSE(work.send_headers || work.send_status);
}

TEST_F(IncomingCallTest, AcceptedDataMustBeFramedAndWithinItsCredit) {
  reach_accepted();
  EXPECT_EQ(call_->on_part(0, 0, 5)->code, ErrorCode::message_framing);
  reach_accepted();
  EXPECT_EQ(call_->on_part(whole_message, 101, 101)->code, ErrorCode::flow_control);
  reach_accepted();
  EXPECT_NE(call_->on_part(whole_message | end_stream, 5, 5), std::nullopt)
      << "STATUS ends, no flag";
  reach_accepted();
  EXPECT_FALSE(call_->on_window(0));
}

TEST_F(IncomingCallTest, AcceptedStatusFollowsAllMessagesInTheLastOnesBatch) {
  reach_accepted();
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  ASSERT_EQ(call_->on_part(whole_message, 6, 6), std::nullopt);
  ASSERT_EQ(call_->on_part(msg_begin, 9, 2), std::nullopt);  // never completed: discarded
  call_->on_status(kDone);
  EXPECT_EQ(call_->phase(), Phase::ended) << "the slot is free at once";
  IncomingWork work = call_->take_work(true);
  EXPECT_TRUE(work.send_headers && work.send_message);
  EXPECT_FALSE(work.send_status);
  call_->on_sent(true);
  work = call_->take_work(true);
  EXPECT_TRUE(work.send_message && work.send_status);
  call_->on_sent(true);
  EXPECT_FALSE(call_->take_work(true).sends());
  EXPECT_FALSE(call_->finished());
  call_->on_closed(false, false);
  EXPECT_TRUE(call_->finished());
}

TEST_F(IncomingCallTest, AcceptedAndTheWorkerLostAnswersUnavailableAndIsNotOfferedAgain) {
  reach_accepted();
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  call_->on_worker_lost(kLost);
  EXPECT_EQ(call_->phase(), Phase::ended);
  const IncomingWork work = call_->take_work(true);
  EXPECT_TRUE(work.send_message && work.send_status) << "what had come is the client's";
  EXPECT_EQ(call_->status().code, StatusCode::unavailable);
}

TEST_F(IncomingCallTest, AcceptedCancelledByTheClientTellsTheWorker) {
  reach_cancelled();
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  EXPECT_FALSE(call_->take_work(true).sends());
}

TEST_F(IncomingCallTest, AcceptedRefusedAnswersAtOnceAndTellsTheWorkerWhy) {
  reach_accepted();
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  call_->refuse(kRefusal);
  EXPECT_EQ(call_->next_frame(0), Frame::cancel);
  EXPECT_EQ(call_->take_cancel(), StatusCode::resource_exhausted);
  const IncomingWork work = call_->take_work(true);
  EXPECT_TRUE(work.send_headers && work.send_status);
  EXPECT_FALSE(work.send_message) << "what was not sent is dropped";
  call_->on_sent(true);
  call_->on_status(kDone);
  EXPECT_EQ(call_->status().code, StatusCode::resource_exhausted)
      << "that of the worker reaches nobody";
  EXPECT_FALSE(call_->take_work(true).sends());
}

TEST_F(IncomingCallTest, AcceptedReadsTheNextMessageWhenTheLastIsWrittenAndThereIsCredit) {
  reach_accepted(60);
  EXPECT_FALSE(call_->take_work(true).receive_message);
  ASSERT_TRUE(call_->next_part(kPlenty, kPlenty));
  ASSERT_TRUE(call_->take_work(true).receive_message);
  call_->on_message(40);
  EXPECT_FALSE(call_->take_work(true).receive_message);
  ASSERT_TRUE(call_->next_part(kPlenty, kPlenty));
  EXPECT_FALSE(call_->take_work(true).receive_message) << "the window is used up";
  EXPECT_TRUE(call_->on_window(1));
  EXPECT_TRUE(call_->take_work(true).receive_message);
  call_->on_message(std::nullopt);
  EXPECT_EQ(call_->next_frame(0), Frame::data);
  EXPECT_EQ(call_->next_part(kPlenty, 0)->flags, end_stream);
  EXPECT_FALSE(call_->take_work(true).receive_message);
}

TEST_F(IncomingCallTest, AFailedSendIsNotTriedAgain) {
  reach_accepted();
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  ASSERT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  ASSERT_TRUE(call_->take_work(true).send_message);
  call_->on_sent(false);
  EXPECT_FALSE(call_->take_work(true).sends());
  call_->on_closed(true, false);
  EXPECT_EQ(call_->phase(), Phase::cancelled);
}

// ---- cancelled ---------------------------------------------------------------------------------

TEST_F(IncomingCallTest, CancelledDropsWhatTheWorkerSends) {
  reach_cancelled();
  call_->on_accept();
  EXPECT_EQ(call_->on_headers(), std::nullopt);
  EXPECT_EQ(call_->on_headers(), std::nullopt);
  EXPECT_EQ(call_->on_part(whole_message, 5, 5), std::nullopt);
  EXPECT_EQ(call_->on_part(0, 0, 1000), std::nullopt);
  EXPECT_TRUE(call_->on_window(0));
  EXPECT_EQ(call_->phase(), Phase::cancelled);
  EXPECT_FALSE(call_->take_work(true).sends());
}

TEST_F(IncomingCallTest, CancelledStatusFreesTheSlot) {
  reach_cancelled();
  EXPECT_FALSE(call_->finished());
  call_->on_status(kDone);
  EXPECT_EQ(call_->phase(), Phase::ended);
  EXPECT_FALSE(call_->take_work(true).sends());
  EXPECT_TRUE(call_->finished());
}

TEST_F(IncomingCallTest, CancelledAndTheWorkerLostEnds) {
  reach_cancelled();
  call_->on_worker_lost(kLost);
  EXPECT_EQ(call_->phase(), Phase::ended);
  EXPECT_TRUE(call_->finished());
}

TEST_F(IncomingCallTest, CancelledWaitsForAMessageThatGrpcStillOwes) {
  reach_accepted(5);
  ASSERT_TRUE(call_->next_part(kPlenty, kPlenty));
  ASSERT_TRUE(call_->take_work(true).receive_message);
  call_->on_closed(true, false);
  call_->on_status(kDone);
  EXPECT_FALSE(call_->finished());
  call_->on_message(std::nullopt);
  EXPECT_TRUE(call_->finished());
}

TEST_F(IncomingCallTest, CancelledAgainOrRefusedTellsTheWorkerOnce) {
  reach_accepted();
  call_->refuse(kRefusal);
  EXPECT_EQ(call_->take_cancel(), StatusCode::resource_exhausted);
  call_->refuse(kLost);
  call_->on_closed(true, true);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  EXPECT_EQ(call_->phase(), Phase::cancelled);
}

TEST_F(IncomingCallTest, ACancelThatIsNotWrittenYetIsNotWrittenAfterTheEnd) {
  reach_accepted();
  call_->on_closed(true, false);
  call_->on_status(kDone);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
}

// ---- ended -------------------------------------------------------------------------------------

TEST_F(IncomingCallTest, EndedKeepsItsStatusWhateverFollows) {
  reach_accepted();
  call_->on_status(kDone);
  call_->refuse(kRefusal);
  EXPECT_EQ(call_->next_frame(kPlenty), Frame::none);
  expect_answer(StatusCode::ok);
  call_->on_closed(true, false);
  EXPECT_EQ(call_->phase(), Phase::ended);
  EXPECT_TRUE(call_->finished());
}

}  // namespace
}  // namespace legated
