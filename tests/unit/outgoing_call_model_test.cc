// OutgoingCall under random orders of events: a gRPC that keeps its contract, a peer that keeps the
// protocol and sometimes vanishes, a daemon that sometimes refuses.
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "daemon/core/outgoing_call.h"
#include "tests/unit/random.h"

namespace legated {
namespace {

using Frame = OutgoingCall::Frame;
using namespace legate::ipc::flag;

constexpr auto kRefusal = "refused by the daemon";
constexpr auto kByGrpc = "by gRPC";

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed),
        receive_window_(random_.between(1, 60)),
        send_window_(random_.between(1, 60)),
        shape_(static_cast<Shape>(random_.below(4))),
        call_(shape_, receive_window_, send_window_),
        peer_credit_(receive_window_),
        may_send_(send_window_) {
    const bool one = shape_ == Shape::unary || shape_ == Shape::server_streaming;
    for (uint32_t n = one && !random_.one_in(8) ? 1 : random_.below(4); n > 0; --n) {
      requests_.push_back(random_.one_in(4) ? 0 : random_.between(1, 150));
    }
    const bool one_answer = shape_ == Shape::unary || shape_ == Shape::client_streaming;
    for (uint32_t n = one_answer && !random_.one_in(8) ? 1 : random_.below(4); n > 0; --n) {
      answers_.push_back(random_.one_in(4) ? 0 : random_.between(1, 150));
    }
    remote_code_ =
        random_.pick(std::vector<StatusCode>{StatusCode::ok, StatusCode::ok, StatusCode::not_found,
                                             StatusCode::cancelled, StatusCode::deadline_exceeded});
    patient_remote_ = random_.one_in(2);
    disturbed_ = !random_.one_in(3);
  }

  void run() {
    for (int step = 0; step < 6000 && !call_.finished(); ++step) {
      settling_ = step > 200;
      act();
      if (testing::Test::HasFatalFailure()) return;
      if (settling_ || !random_.one_in(3)) pump();
      if (testing::Test::HasFatalFailure()) return;
      ASSERT_LE(call_.messages_waiting(), 1u);
      ASSERT_LE(call_.from_peer().held(), uint64_t{receive_window_} + 150);
    }
    ASSERT_TRUE(call_.finished()) << "never ends";
    ASSERT_TRUE(statuses_ == 1 || peer_lost_);
    ASSERT_FALSE(sending_ || receiving_ || headers_due_ || status_due_ || unary_);
  }

  std::string end() const { return peer_lost_ ? "peer lost" : decided_; }

 private:
  void act() {
    switch (random_.below(10)) {
      case 0:
      case 1: return peer_sends();
      case 2: return peer_grants();
      case 3: return disturb();
      case 4:
      case 5: return write();
      case 6: return complete_send();
      case 7: return complete_headers();
      case 8: return complete_receive();
      default: return random_.one_in(2) && unary_ ? complete_unary() : complete_status();
    }
  }

  // ---- The peer ----

  void peer_sends() {
    if (half_closed_ || statuses_ > 0 || peer_lost_) return;
    uint8_t flags = 0;
    uint32_t aux = 0, length = 0;
    bool another = false;  // message but the first begins
    if (next_request_ < requests_.size()) {
      const uint32_t total = requests_[next_request_];
      if (sent_ == 0) {
        flags |= msg_begin;
        aux = total;
      }
      if (total > 0) {
        length = std::min(peer_credit_, random_.between(1, total - sent_));
        if (length == 0) return;
      }
      another = sent_ == 0 && next_request_ > 0;
      sent_ += length;
      if (sent_ == total) {
        flags |= msg_end;
        sent_ = 0;
        ++next_request_;
      }
    }
    if (next_request_ == requests_.size() && (flags == 0 || random_.one_in(2))) {
      flags |= end_stream;
      half_closed_ = true;
    }
    peer_credit_ -= length;
    if (call_.status_known()) return;  // the daemon drops it
    const auto violation = call_.on_part(flags, aux, length);
    ASSERT_FALSE(violation) << violation->message;
    if ((flags & msg_end) != 0) to_grpc_.push_back(requests_[next_request_ - 1]);
    const bool one = shape_ == Shape::unary || shape_ == Shape::server_streaming;
    if (one && (another || (half_closed_ && next_request_ == 0))) decide("one request");
    peer_credit_ += call_.from_peer().take_grant();
    ASSERT_LE(peer_credit_, receive_window_);
  }

  void peer_grants() {
    if (unreturned_ == 0 || peer_lost_ || statuses_ > 0) return;
    const uint32_t bytes = settling_ ? unreturned_ : random_.between(1, unreturned_);
    unreturned_ -= bytes;
    may_send_ += bytes;
    ASSERT_TRUE(call_.on_window(bytes));
  }

  void disturb() {
    if (!disturbed_ || peer_lost_ || statuses_ > 0 || settling_ || !random_.one_in(12)) return;
    switch (random_.below(4)) {
      case 0:
        call_.on_peer_lost();
        peer_lost_ = true;
        break;
      case 1:
        call_.refuse({StatusCode::resource_exhausted, kRefusal, Origin::daemon, {}});
        decide(kRefusal);
        break;
      default:
        call_.on_cancel();
        data_dropped_ = true;
        decide(call_.started() ? "cancel" : "cancelled by the client");
        break;
    }
  }

  void decide(const char* what) {
    if (decided_.empty()) decided_ = what;
  }

  void write() {
    const uint32_t connection = settling_ ? 1000 : random_.below(40);
    switch (call_.next_frame(connection)) {
      case Frame::none: return;
      case Frame::headers:
        ASSERT_FALSE(peer_lost_ || headers_written_ || statuses_ > 0);
        ASSERT_TRUE(headers_came_);
        ASSERT_FALSE(decided_ == "cancel" || decided_ == kRefusal) << "dropped";
        headers_written_ = true;
        return call_.on_headers_written();
      case Frame::data: return write_data(connection);
      case Frame::status: return write_status();
    }
  }

  void write_data(uint32_t connection) {
    ASSERT_TRUE(headers_written_);
    ASSERT_FALSE(peer_lost_ || statuses_ > 0 || data_dropped_);
    const uint32_t frame = random_.between(1, 50);
    const auto part = call_.next_part(frame, connection);
    ASSERT_TRUE(part);
    ASSERT_LE(part->length, std::min({frame, connection, may_send_})) << "more than was granted";
    ASSERT_FALSE(from_grpc_.empty());
    ASSERT_EQ(part->offset, written_);
    ASSERT_EQ(part->flags & msg_begin, written_ == 0 ? msg_begin : 0);
    ASSERT_EQ(part->aux, written_ == 0 ? from_grpc_.front() : 0);
    written_ += part->length;
    may_send_ -= part->length;
    unreturned_ += part->length;
    ASSERT_EQ((part->flags & msg_end) != 0, written_ == from_grpc_.front());
    if (written_ < from_grpc_.front()) return;
    from_grpc_.pop_front();
    written_ = 0;
  }

  void write_status() {
    ASSERT_FALSE(peer_lost_);
    ASSERT_EQ(statuses_++, 0) << "exactly one";
    const Status& status = call_.status();
    const bool one_answer = shape_ == Shape::unary || shape_ == Shape::client_streaming;
    if (decided_ == "cancel") {
      ASSERT_FALSE(status.ok());
      if (status.code == StatusCode::cancelled) {
        ASSERT_EQ(status.origin, Origin::app);
      }
    } else if (decided_ == "one request") {
      ASSERT_EQ(status.code, StatusCode::invalid_argument);
    } else if (decided_ == "second answer") {
      ASSERT_EQ(status.code, StatusCode::internal);
    } else if (decided_ != kByGrpc) {
      ASSERT_EQ(status.message, decided_);
    } else if (grpc_code_ == StatusCode::ok && one_answer && delivered_ != 1) {
      ASSERT_EQ(status.code, StatusCode::internal);
    } else {
      ASSERT_EQ(status.code, grpc_code_);
      const bool complete =
          from_grpc_.empty() || data_dropped_ || grpc_code_ == StatusCode::deadline_exceeded;
      ASSERT_TRUE(complete) << "STATUS overtook DATA";
    }
    call_.on_status_written();
  }

  // ---- gRPC ----

  void pump() {
    const bool may_receive = settling_ || random_.one_in(2);
    const OutgoingWork work = call_.take_work(may_receive);
    if (work.cancel) {
      ASSERT_TRUE(started_) << "there is no call yet";
      ASSERT_FALSE(over_);
      cancelled_ = true;
    }
    if (work.unary || work.sends() || work.receive_message) {
      ASSERT_FALSE(over_) << "gRPC's call has ended";
      ASSERT_FALSE(cancelled_ || peer_lost_ || statuses_ > 0);
      ASSERT_FALSE(send_failed_ && work.sends());
    }
    if (work.unary) {
      ASSERT_FALSE(started_ || work.sends() || work.receive_message);
      started_ = unary_ = receiving_ = status_due_ = half_close_taken_ = true;
      ASSERT_EQ(to_grpc_.size(), 1u);
      to_grpc_.pop_front();
    }
    if (work.sends()) {
      ASSERT_FALSE(sending_ || unary_) << "one batch of sends at a time";
      ASSERT_EQ(work.start, !started_) << "once, first";
      ASSERT_FALSE(half_close_taken_) << "nothing follows the half-close";
      sending_ = true;
      half_close_taken_ = work.half_close;
      if (work.start) started_ = headers_due_ = status_due_ = true;
      if (work.send_message) {
        ASSERT_FALSE(to_grpc_.empty()) << "the message was sent already";
        to_grpc_.pop_front();
      }
    }
    if (work.receive_message) {
      ASSERT_TRUE(may_receive && headers_came_);
      ASSERT_FALSE(receiving_ || null_came_);
      receiving_ = true;
    }
  }

  // The remote side has said all it will: a patient one only when the whole request is there.
  bool remote_done() const { return cancelled_ || !patient_remote_ || half_close_taken_; }

  void complete_send() {
    if (!sending_) return;
    const bool ok = !(over_ || cancelled_ || (remote_done() && random_.one_in(4)));
    sending_ = false;
    send_failed_ |= !ok;
    call_.on_sent(ok);
    if (!call_.status_known()) peer_credit_ += call_.from_peer().take_grant();
    ASSERT_LE(peer_credit_, receive_window_);
  }

  void complete_headers() {
    if (!headers_due_ || !(settling_ || random_.one_in(2))) return;
    headers_due_ = false;
    headers_came_ = true;
    call_.on_headers(random_.one_in(2));
  }

  void complete_receive() {
    if (!receiving_ || unary_) return;
    if (!answers_.empty() && !(cancelled_ && random_.one_in(2)) && (!over_ || taken_)) {
      receiving_ = taken_ = false;
      return deliver_one();
    }
    if (!over_ && !remote_done()) return;
    receiving_ = false;
    null_came_ = true;
    call_.on_message(std::nullopt);
  }

  void deliver_one() {
    const uint32_t length = answers_.front();
    answers_.pop_front();
    ++delivered_;
    const bool one_answer = shape_ == Shape::unary || shape_ == Shape::client_streaming;
    if (one_answer && delivered_ > 1) {
      decide("second answer");
    } else if (!data_dropped_ && !peer_lost_ && (decided_.empty() || decided_ == kByGrpc)) {
      from_grpc_.push_back(length);
    }
    call_.on_message(length);
  }

  // All messages must have been taken, unless the call was cancelled. The last may be taken and its
  // completion still come.
  void complete_status() {
    if (!status_due_ || !(settling_ || random_.one_in(4))) return;
    if (!cancelled_ && (!remote_done() || answers_.size() > (receiving_ ? 1 : 0))) return;
    status_due_ = false;
    taken_ = receiving_ && !answers_.empty();
    grpc_ends(cancelled_ && !random_.one_in(4) ? StatusCode::cancelled : remote_code_);
    call_.on_status({grpc_code_, "remote", Origin::remote, {}});
  }

  // Headers and the message, or none, complete as one batch.
  void complete_unary() {
    if (!unary_) return;
    const bool message = !answers_.empty() && !(cancelled_ && random_.one_in(2)) && (!over_ || taken_);
    if (!message && !over_ && !remote_done()) return;
    unary_ = receiving_ = taken_ = false;
    headers_came_ = true;
    std::optional<uint32_t> length;
    if (message) {
      length = answers_.front();
      answers_.pop_front();
      ++delivered_;
      if (!data_dropped_ && !peer_lost_ && (decided_.empty() || decided_ == kByGrpc)) {
        from_grpc_.push_back(*length);
      }
    } else {
      null_came_ = true;
    }
    call_.on_unary(random_.one_in(2), length);
  }

  void grpc_ends(StatusCode code) {
    over_ = true;
    grpc_code_ = code;
    if (code == StatusCode::deadline_exceeded) data_dropped_ = true;
    decide(kByGrpc);
  }

  Random random_;
  uint32_t receive_window_, send_window_;
  Shape shape_;
  OutgoingCall call_;
  bool disturbed_ = false, patient_remote_ = false, settling_ = false;
  std::string decided_;  // what settled the call's end

  std::vector<uint32_t> requests_;
  size_t next_request_ = 0;
  uint32_t sent_ = 0, peer_credit_, may_send_, unreturned_ = 0, written_ = 0;
  bool half_closed_ = false, peer_lost_ = false, headers_written_ = false, data_dropped_ = false;
  int statuses_ = 0;
  std::deque<uint32_t> to_grpc_;    // whole requests that gRPC has not been given
  std::deque<uint32_t> from_grpc_;  // answers that the peer must still see

  std::deque<uint32_t> answers_;
  uint32_t delivered_ = 0;
  StatusCode remote_code_, grpc_code_{};
  bool started_ = false, unary_ = false, sending_ = false, receiving_ = false, taken_ = false;
  bool headers_due_ = false, status_due_ = false, headers_came_ = false, null_came_ = false;
  bool half_close_taken_ = false, send_failed_ = false, cancelled_ = false, over_ = false;
};

TEST(OutgoingCallModel, AnyOrderOfEventsKeepsTheRules) {
  std::map<std::string, int> ends;
  for (uint64_t seed = 0; seed < 50'000 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation simulation(seed);
    simulation.run();
    ++ends[simulation.end()];
  }
  for (const char* end : {"peer lost", "cancel", "cancelled by the client", "one request",
                          "second answer", kRefusal, kByGrpc}) {
    EXPECT_GT(ends[end], 100) << "hardly ever seen: " << end;
  }
}

}  // namespace
}  // namespace legated
