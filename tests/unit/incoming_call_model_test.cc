// IncomingCall under random orders of events: a gRPC that keeps its contract, a client that
// sometimes goes, workers that keep the protocol, give the call back or vanish, a daemon that
// sometimes refuses.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <optional>
#include <string>

#include "daemon/core/incoming_call.h"
#include "tests/unit/random.h"

namespace legated {
namespace {

using Frame = IncomingCall::Frame;
using Phase = IncomingCall::Phase;
using namespace legate::ipc::flag;

constexpr auto kRefusal = "refused by the daemon";

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    for (uint32_t n = random_.below(5); n > 0; --n) {
      requests_.push_back(random_.one_in(6) ? 100'000 : random_.below(150));
    }
    for (uint32_t n = random_.below(5); n > 0; --n) answers_.push_back(random_.below(150));
    disturbed_ = !random_.one_in(3);
  }

  void run() {
    for (int step = 0; step < 12'000 && !call_.finished(); ++step) {
      settling_ = step > 200;
      act();
      if (testing::Test::HasFatalFailure()) return;
      if (settling_ || !random_.one_in(3)) pump();
      if (testing::Test::HasFatalFailure()) return;
      check_phase();
      if (testing::Test::HasFatalFailure()) return;
    }
    ASSERT_TRUE(call_.finished()) << "never ends";
    pump();
    ASSERT_FALSE(worker_);
    ASSERT_FALSE(sending_ || receiving_ || close_due_);
    ASSERT_TRUE(statuses_ > 0 || client_gone_) << "the client waits for ever";
  }

  std::string end() const {
    if (refused_) return kRefusal;
    if (client_gone_) return "client gone";
    return call_.status().message + (offers_ > 1 ? " after another" : "");
  }

 private:
  struct Worker {
    uint32_t may_send, receive_window, window;
    bool start_seen = false, responded = false, headers = false, cancel_seen = false,
         end_seen = false;
    uint32_t unreturned = 0, sent = 0;
    size_t message = 0, answer = 0;
    uint32_t offset = 0;
  };

  void act() {
    switch (random_.below(9)) {
      case 0: return offer();
      case 1: return disturb();
      case 2:
      case 3: return write();
      case 4: return worker_acts();
      case 5: return worker_sends();
      case 6: return complete_send();
      case 7: return complete_receive();
      default: return complete_close();
    }
  }

  void check_phase() {
    const Phase phase = call_.phase();
    if (accepted_) {
      ASSERT_TRUE(phase != Phase::queued && phase != Phase::offered) << "offered again";
    }
    accepted_ |= phase == Phase::accepted;
    ended_ |= phase == Phase::ended;
    ASSERT_EQ(ended_, phase == Phase::ended) << "the end is the end";
  }

  // ---- The dispatcher ----

  void offer() {
    if (call_.phase() != Phase::queued) return;
    worker_.emplace();
    ++offers_;
    worker_->may_send = worker_->window = random_.between(1, 60);
    worker_->receive_window = random_.between(1, 60);
    call_.offer(worker_->may_send, worker_->receive_window, received_);
  }

  void disturb() {
    if (!disturbed_ || settling_ || !random_.one_in(12)) return;
    if (random_.one_in(2)) {
      client_gone_ = true;
    } else if (worker_ && random_.one_in(2)) {
      lose_worker();
    } else {
      if (!call_.status_known()) refused_ = true;
      call_.refuse({StatusCode::resource_exhausted, kRefusal, Origin::daemon, {}});
    }
  }

  void lose_worker() {
    worker_.reset();
    if (call_.phase() == Phase::offered) return call_.withdraw();
    call_.on_worker_lost({StatusCode::unavailable, "lost", Origin::daemon, {}});
  }

  // ---- The worker ----

  void worker_acts() {
    if (!worker_ || !worker_->start_seen) return;
    Worker& worker = *worker_;
    if (!worker.responded && !settling_ && random_.one_in(6)) {  // REJECT
      if (call_.phase() == Phase::offered) {
        call_.withdraw();
      } else {
        ASSERT_EQ(call_.phase(), Phase::cancelled);
        call_.on_status({StatusCode::cancelled, "rejected", Origin::daemon, {}});
      }
      worker_.reset();
      return;
    }
    switch (random_.below(3)) {
      case 0: worker.responded = true; return call_.on_accept();
      case 1:
        if (worker.headers) return;
        worker.headers = worker.responded = true;
        ASSERT_FALSE(call_.on_headers());
        return;
      default:
        if (worker.unreturned == 0) return;
        worker.responded = true;
        const uint32_t bytes =
            settling_ ? worker.unreturned : random_.between(1, worker.unreturned);
        worker.unreturned -= bytes;
        worker.receive_window += bytes;
        ASSERT_TRUE(call_.on_window(bytes));
    }
  }

  void worker_sends() {
    if (!worker_ || !worker_->start_seen) return;
    Worker& worker = *worker_;
    const bool all_sent = worker.answer == answers_.size();
    // A patient worker answers when it has the whole request.
    if ((all_sent && (worker.end_seen || random_.one_in(8))) ||
        (worker.cancel_seen && random_.one_in(3))) {
      worker.responded = true;
      call_.on_accept();
      call_.on_status({StatusCode::ok, "worker", Origin::app, {}});
      worker_.reset();
      return;
    }
    if (all_sent) return;
    const uint32_t total = answers_[worker.answer];
    const uint32_t length =
        total == 0 ? 0 : std::min(worker.may_send, random_.between(1, total - worker.sent));
    if (total > 0 && length == 0) return;
    uint8_t flags = worker.sent == 0 ? msg_begin : 0;
    const uint32_t aux = worker.sent == 0 ? total : 0;
    worker.may_send -= length;
    worker.sent += length;
    if (worker.sent == total) {
      flags |= msg_end;
      worker.sent = 0;
      ++worker.answer;
    }
    worker.headers = worker.responded = true;
    const auto violation = call_.on_part(flags, aux, length);
    ASSERT_FALSE(violation) << violation->message;
    if (call_.phase() != Phase::accepted) return;  // dropped
    if ((flags & msg_end) != 0) to_client_.push_back(total);
    ASSERT_LE(call_.from_worker().held(), uint64_t{worker.window} + 150);
    grant();
  }

  void grant() {
    if (!worker_ || call_.phase() != Phase::accepted) return;
    worker_->may_send += call_.from_worker().take_grant();
    ASSERT_LE(worker_->may_send, worker_->window);
  }

  // ---- Frames to the worker ----

  void write() {
    const uint32_t connection = settling_ ? 1000 : random_.below(40);
    const Frame frame = call_.next_frame(connection);
    if (frame == Frame::none) return;
    ASSERT_TRUE(worker_) << "nobody has it";
    ASSERT_FALSE(worker_->cancel_seen) << "nothing follows CANCEL";
    Worker& worker = *worker_;
    if (frame == Frame::start) {
      ASSERT_FALSE(worker.start_seen);
      worker.start_seen = true;
      return call_.on_start_written();
    }
    ASSERT_TRUE(worker.start_seen);
    if (frame == Frame::cancel) {
      ASSERT_TRUE(client_gone_ || refused_);
      worker.cancel_seen = true;
      const StatusCode code = call_.take_cancel();
      ASSERT_TRUE(code == StatusCode::cancelled || code == StatusCode::resource_exhausted);
      return;
    }
    const auto part = call_.next_part(50, connection);
    ASSERT_TRUE(part);
    ASSERT_LE(part->length, std::min({50u, connection, worker.receive_window}))
        << "more than was granted";
    ASSERT_FALSE(worker.end_seen);
    worker.receive_window -= part->length;
    worker.unreturned += part->length;
    if (worker.message < received_.size()) {
      const uint32_t total = received_[worker.message];
      ASSERT_EQ(part->offset, worker.offset) << "each worker is sent all from the first byte";
      ASSERT_EQ(part->aux, worker.offset == 0 ? total : 0);
      worker.offset += part->length;
      ASSERT_EQ((part->flags & msg_end) != 0, worker.offset == total);
      if (worker.offset == total) {
        ++worker.message;
        worker.offset = 0;
      }
    } else {
      ASSERT_EQ(part->flags, end_stream);
    }
    worker.end_seen = (part->flags & end_stream) != 0;
    if (worker.end_seen) {
      ASSERT_TRUE(null_came_ && worker.message == received_.size());
    }
  }

  // ---- gRPC ----

  void pump() {
    const bool may_receive = settling_ || random_.one_in(2);
    const IncomingWork work = call_.take_work(may_receive);
    if (call_.phase() == Phase::ended) worker_.reset();
    if (work.sends() || work.receive_message) {
      ASSERT_TRUE(close_due_) << "gRPC's call has ended";
    }
    if (work.receive_message) {
      ASSERT_TRUE(may_receive);
      ASSERT_FALSE(receiving_ || null_came_);
      receiving_ = true;
    }
    if (!work.sends()) return;
    ASSERT_FALSE(sending_) << "one batch of sends at a time";
    ASSERT_FALSE(statuses_ > 0 || send_failed_);
    ASSERT_TRUE(headers_sent_ || work.send_headers);
    ASSERT_FALSE(headers_sent_ && work.send_headers);
    headers_sent_ = sending_ = true;
    if (work.send_message) {
      ASSERT_FALSE(refused_);
      ASSERT_FALSE(to_client_.empty()) << "the message was sent already";
      to_client_.pop_front();
    }
    if (work.send_status) {
      ASSERT_EQ(statuses_++, 0) << "exactly one";
      ASSERT_TRUE(refused_ || to_client_.empty()) << "the status overtook a message";
      ASSERT_EQ(call_.status().message == kRefusal, refused_);
    }
  }

  void complete_send() {
    if (!sending_) return;
    const bool ok = close_due_ && !(client_gone_ && random_.one_in(2));
    sending_ = false;
    send_failed_ |= !ok;
    status_arrived_ |= ok && statuses_ > 0;
    call_.on_sent(ok);
    grant();
  }

  void complete_receive() {
    if (!receiving_) return;
    const bool over = !close_due_ || client_gone_;
    if (received_.size() < requests_.size() && !(over && random_.one_in(2))) {
      const uint32_t length = requests_[received_.size()];
      receiving_ = false;
      received_.push_back(length);
      return call_.on_message(length);
    }
    if (!over && !settling_ && random_.one_in(2)) return;  // the client has not closed its half
    receiving_ = false;
    null_came_ = true;
    call_.on_message(std::nullopt);
  }

  void complete_close() {
    if (!close_due_ || !(client_gone_ || status_arrived_)) return;
    close_due_ = false;
    call_.on_closed(!status_arrived_, false);
  }

  Random random_;
  IncomingCall call_;
  bool disturbed_ = false, settling_ = false, refused_ = false, accepted_ = false, ended_ = false;
  std::optional<Worker> worker_;
  std::vector<uint32_t> requests_;  // what the client sends
  std::vector<uint32_t> received_;  // what gRPC has delivered of it
  std::vector<uint32_t> answers_;   // what a worker sends
  std::deque<uint32_t> to_client_;  // whole answers that gRPC has not been given
  int statuses_ = 0, offers_ = 0;
  bool sending_ = false, receiving_ = false, close_due_ = true, client_gone_ = false;
  bool headers_sent_ = false, send_failed_ = false, status_arrived_ = false, null_came_ = false;
};

TEST(IncomingCallModel, AnyOrderOfEventsKeepsTheRules) {
  std::map<std::string, int> ends;
  for (uint64_t seed = 0; seed < 50'000 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation simulation(seed);
    simulation.run();
    ++ends[simulation.end()];
  }
  for (const char* end :
       {kRefusal, "client gone", "worker", "worker after another", "lost", "lost after another"}) {
    EXPECT_GT(ends[end], 100) << "hardly ever seen: " << end;
  }
}

}  // namespace
}  // namespace legated
