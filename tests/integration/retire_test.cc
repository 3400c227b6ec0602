// Workers that are told to leave, drains, and calls the operator ends.
#include <csignal>
#include <fstream>
#include <thread>

#include "tests/integration/calls.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::make_status;
using legate::ipc::RetireReason;
using nlohmann::json;
using std::chrono::milliseconds;

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

uint32_t session_of(const ManualWorker& worker) { return worker.connection->welcome().session; }

/// The lease's state in the report.
std::string state_of(legate::client::Connection& admin, uint32_t session) {
  const json workers = ask(admin, "workers");
  for (const auto& server : workers["servers"]) {
    for (const auto& lease : server["leases"]) {
      if (lease["session"] == session) return lease["state"];
    }
  }
  return "none";
}

/// The session of the process with this pid.
uint32_t session_of(legate::client::Connection& admin, pid_t pid) {
  const json status = ask(admin, "status");
  for (const auto& session : status["sessions"]) {
    if (session["pid"] == pid) return session["session"];
  }
  return 0;
}

/// legatectl as a child process.
struct Legatectl {
  Legatectl(const DaemonProcess& daemon, std::vector<std::string> arguments)
      : process([&] {
          arguments.insert(arguments.begin(),
                           {program("legatectl"), "--socket", daemon.socket()});
          return arguments;
        }(), directory / "errors") {}
  std::string errors() const {
    std::ifstream stream(directory / "errors");
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  TempDir directory;
  ChildProcess process;
};

std::vector<std::unique_ptr<ClientCall>> open_streams(const std::string& address, size_t count) {
  const auto channel = connect(address);
  std::vector<std::unique_ptr<ClientCall>> streams;
  for (size_t i = 0; i < count; ++i) {
    streams.push_back(std::make_unique<ClientCall>(channel, kBidi));
    streams.back()->send(command("open"));
  }
  for (const auto& stream : streams) {
    EXPECT_TRUE(eventually([&] { return stream->replies().size() == 1; }));
  }
  return streams;
}

// ---- Suspect -----------------------------------------------------------------------------------

TEST(Suspect, AWorkerThatDoesNotAnswerACancelledCallGetsNothingUntilItDoes) {
  const DaemonProcess daemon({"inbound.suspect=100ms"});
  ManualWorker hanging(daemon, {"*"}, 4);
  const auto admin = daemon.dial();
  const auto channel = connect(hanging.address);
  auto call = std::make_unique<ClientCall>(channel, kUnary);
  call->send(command()).half_close();
  auto dispatch = hanging.take();
  dispatch->accept();
  const ManualWorker other(daemon, {"*"}, 4, hanging.address, [](const Dispatched& served) {
    served->finish(make_status(Code::aborted, "other"));
  });
  call->cancel();
  call.reset();
  ASSERT_TRUE(eventually([&] { return hanging.retired().size() == 1; }));
  EXPECT_EQ(hanging.retired()[0].reason, RetireReason::suspect);
  EXPECT_NE(hanging.retired()[0].message.find("inbound.suspect, 100 ms"), std::string::npos);
  EXPECT_EQ(hanging.retired()[0].id, hanging.lease.value);
  EXPECT_EQ(state_of(*admin, session_of(hanging)), "suspect");
  EXPECT_EQ(state_of(*admin, session_of(other)), "serving");
  for (int i = 0; i < 8; ++i) EXPECT_EQ(call_once(channel, kUnary).error_message(), "other");
  EXPECT_EQ(hanging.waiting(), 0u);

  dispatch->finish(make_status(Code::cancelled, "at last"));
  ASSERT_TRUE(eventually([&] { return state_of(*admin, session_of(hanging)) == "serving"; }));
  EXPECT_EQ(occurrences(daemon.log(), "lease_suspect"), 1u) << daemon.log();
  EXPECT_EQ(occurrences(daemon.log(), "lease_recovered"), 1u);
  ClientCall next(channel, kUnary);
  next.send(command()).half_close();
  if (!eventually([&] { return hanging.waiting() == 1 || next.done(); })) return;
  if (next.done()) {  // the other was idle longer; then it is this one's turn
    ClientCall after(channel, kUnary);
    after.send(command()).half_close();
    hanging.take()->finish(make_status(Code::aborted, "recovered"));
    EXPECT_EQ(after.wait().error_message(), "recovered");
  } else {
    hanging.take()->finish(make_status(Code::aborted, "recovered"));
    EXPECT_EQ(next.wait().error_message(), "recovered");
  }
  EXPECT_EQ(hanging.retired().size(), 1u);
}

TEST(Suspect, ADeadlineThatPassesCountsToo) {
  const DaemonProcess daemon({"inbound.suspect=50ms", "inbound.hold=100ms"});
  ManualWorker hanging(daemon, {"*"}, 4);
  const auto channel = connect(hanging.address);
  ClientCall call(channel, kUnary, {.timeout = milliseconds(100)});
  call.send(command()).half_close();
  const auto dispatch = hanging.take();
  dispatch->accept();
  EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ASSERT_TRUE(eventually([&] { return hanging.retired().size() == 1; }));
  // It was the only one: as if it had left.
  const auto status = call_once(channel, kUnary);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(status);
  EXPECT_NE(status.error_message().find("inbound.hold"), std::string::npos) << describe(status);
  dispatch->finish({});
}

TEST(Suspect, AnAnswerInTimeLeavesNoTrace) {
  const DaemonProcess daemon;
  const WorkerProcess worker(daemon);
  const auto admin = daemon.dial();
  Command script = command();
  script.set_hang(true);
  for (int i = 0; i < 10; ++i) {
    ClientCall call(connect(worker.address), kUnary, {.timeout = milliseconds(20)});
    call.send(script).half_close();
    call.wait();
  }
  expect_all_quiet(daemon);
  EXPECT_EQ(state_of(*admin, session_of(*admin, worker.process.pid())), "serving");
  EXPECT_EQ(occurrences(daemon.log(), "lease_suspect"), 0u);
}

// ---- Recycling ---------------------------------------------------------------------------------

TEST(Recycle, AWorkerLeavesAfterItsCallsAndASupervisorLosesNone) {
  const DaemonProcess daemon({"inbound.recycle_calls=10", "inbound.hold=60s"});
  auto worker = std::make_unique<WorkerProcess>(daemon);
  const std::string address = worker->address;
  const auto channel = connect(address);
  for (int replaced = 0; replaced < 3; ++replaced) {
    for (int i = 0; i < 10; ++i) {
      const auto status = call_once(channel, kUnary);
      EXPECT_TRUE(status.ok()) << describe(status);
    }
    EXPECT_EQ(worker->process.wait(), 0);
    worker = std::make_unique<WorkerProcess>(daemon, address);
  }
  EXPECT_EQ(occurrences(daemon.log(), "lease_recycle"), 3u) << daemon.log();
}

TEST(Recycle, AdviceComesOnceAndCallsGoOn) {
  const DaemonProcess daemon({"inbound.recycle_calls=5", "inbound.recycle_age=1h"});
  const ManualWorker worker(daemon, {"*"}, 4, "127.0.0.1:0", [](const Dispatched& call) {
    call->finish(make_status(Code::aborted, "served"));
  });
  const auto admin = daemon.dial();
  const auto channel = connect(worker.address);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(call_once(channel, kUnary).error_message(), "served");
  ASSERT_EQ(worker.retired().size(), 1u);
  EXPECT_EQ(worker.retired()[0].reason, RetireReason::recycle);
  EXPECT_NE(worker.retired()[0].message.find("inbound.recycle_calls, 5"), std::string::npos);
  EXPECT_EQ(state_of(*admin, session_of(worker)), "recycle");
}

TEST(Recycle, AWorkerLeavesAtItsAge) {
  const DaemonProcess daemon({"inbound.recycle_age=200ms"});
  WorkerProcess worker(daemon);
  EXPECT_EQ(worker.process.wait(), 0);
  EXPECT_NE(daemon.log().find("inbound.recycle_age"), std::string::npos) << daemon.log();
}

// ---- Draining a worker -------------------------------------------------------------------------

TEST(DrainWorker, WaitsForItsStreamsAndGivesItNoMore) {
  const DaemonProcess daemon;
  WorkerProcess leaving(daemon, "127.0.0.1:0", 4);
  const auto admin = daemon.dial();
  const auto streams = open_streams(leaving.address, 3);
  const WorkerProcess staying(daemon, leaving.address, 4);
  const uint32_t session = session_of(*admin, leaving.process.pid());
  Legatectl drain(daemon, {"drain", "--worker", std::to_string(session)});
  EXPECT_EQ(drain.process.line(), "3 calls left");
  const auto channel = connect(leaving.address);
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(call_once(channel, kUnary).ok());
  const uint32_t stays = session_of(*admin, staying.process.pid());
  const json workers = ask(*admin, "workers");
  for (const auto& lease : workers["servers"][0]["leases"]) {
    if (lease["session"] == stays) {
      EXPECT_EQ(lease["dispatched"], 8) << workers;
    }
  }
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(streams[i]->send(command("more")).half_close().wait().ok());
    EXPECT_EQ(streams[i]->replies().size(), 2u) << "the stream went on";
    EXPECT_EQ(drain.process.line(), i == 2 ? "done" : i == 1 ? "1 call left" : "2 calls left");
  }
  EXPECT_EQ(drain.process.wait(), 0) << drain.errors();
  EXPECT_EQ(leaving.process.wait(), 0) << "it honours RETIRE";
}

TEST(DrainWorker, TellsTheWorkerAndRefusesItsRegistrations) {
  const DaemonProcess daemon;
  const ManualWorker worker(daemon, {"/s/*"}, 4);
  const auto admin = daemon.dial();
  const auto command =
      admin->command({.what = "drain-worker", .session = session_of(worker)});
  EXPECT_TRUE(command->finish().ok()) << "nothing is open";
  ASSERT_TRUE(eventually([&] { return worker.retired().size() == 1; }));
  EXPECT_EQ(worker.retired()[0].reason, RetireReason::drain);
  EXPECT_EQ(state_of(*admin, session_of(worker)), "draining");
  const auto again = worker.connection->register_methods(
      worker.server, std::vector<std::string>{"*"}, 1, [](const Dispatched&) {});
  EXPECT_EQ(again.status.code, Code::failed_precondition) << again.status.message;
  const auto twice = admin->command({.what = "drain-worker", .session = session_of(worker)});
  EXPECT_TRUE(twice->finish().ok());
  EXPECT_EQ(worker.retired().size(), 1u);
  EXPECT_TRUE(worker.connection->unregister(worker.lease).ok());
  EXPECT_EQ(state_of(*admin, session_of(worker)), "none");
}

// The worker has answered, but the client has not taken it all.
TEST(DrainWorker, IsDoneWhenGrpcHasTakenTheLastStatus) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 4);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto channel = grpc::CreateCustomChannel(worker.address,
                                                 grpc::InsecureChannelCredentials(), arguments);
  ClientCall call(channel, kBidi, {.paused = true});
  call.send(command());
  const auto dispatch = worker.take();
  // More than the client's window takes, less than the daemon's.
  Reply reply;
  reply.set_payload(std::string(200 * 1024, 'r'));
  dispatch->write(reply.SerializeAsString());
  dispatch->finish({});
  const auto admin = daemon.dial();
  const auto drain = admin->command({.what = "drain-worker", .session = session_of(worker)});
  EXPECT_EQ(drain->read(), R"({"left":1})");
  EXPECT_FALSE(drain->wait_ended(milliseconds(200)));
  EXPECT_TRUE(call.wait().ok());
  EXPECT_TRUE(drain->finish().ok());
  EXPECT_EQ(call.replies().size(), 1u);
}

TEST(DrainWorker, OfOneThatDiesEndsWithIt) {
  const DaemonProcess daemon;
  WorkerProcess worker(daemon, "127.0.0.1:0", 4);
  const auto admin = daemon.dial();
  const auto streams = open_streams(worker.address, 2);
  const auto drain = admin->command(
      {.what = "drain-worker", .session = session_of(*admin, worker.process.pid())});
  EXPECT_EQ(drain->read(), R"({"left":2})");
  worker.kill();
  EXPECT_TRUE(drain->finish().ok());
}

TEST(Drain, ATimeoutAndCtrlCEndTheWaitingAlone) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 4);
  ClientCall call(connect(worker.address), kUnary);
  call.send(command()).half_close();
  const auto dispatch = worker.take();
  dispatch->accept();
  const std::string session = std::to_string(session_of(worker));
  Legatectl timed(daemon, {"drain", "--worker", session, "--timeout", "100ms"});
  EXPECT_EQ(timed.process.wait(), 64 + 4) << timed.errors();
  EXPECT_NE(timed.errors().find("1 call left; the drain goes on"), std::string::npos)
      << timed.errors();
  Legatectl interrupted(daemon, {"drain", "--worker", session});
  EXPECT_EQ(interrupted.process.line(), "1 call left");
  interrupted.process.signal(SIGINT);
  EXPECT_EQ(interrupted.process.wait(), 130);
  const auto admin = daemon.dial();
  EXPECT_EQ(state_of(*admin, session_of(worker)), "draining");
  EXPECT_FALSE(call.done());
  dispatch->finish(make_status(Code::aborted, "in peace"));
  EXPECT_EQ(call.wait().error_message(), "in peace");
}

TEST(Drain, OfWhatIsNotThereIsNotFound) {
  const DaemonProcess daemon;
  const auto exit_code = [&](std::vector<std::string> arguments, const std::string& says) {
    Legatectl ctl(daemon, std::move(arguments));
    const int code = ctl.process.wait();
    EXPECT_NE(ctl.errors().find(says), std::string::npos) << ctl.errors();
    return code;
  };
  EXPECT_EQ(exit_code({"drain", "--worker", "4711"}, "no connection 4711"), 64 + 5);
  EXPECT_EQ(exit_code({"drain", "--server", "127.0.0.1:1"}, "127.0.0.1:1"), 64 + 5);
  EXPECT_EQ(exit_code({"cancel", "4711", "1"}, "has no call 1"), 64 + 5);
  EXPECT_EQ(exit_code({"drain", "--all", "--timeout", "soon"}, "--timeout soon"), 1);
  Legatectl nothing(daemon, {"drain"});
  EXPECT_EQ(nothing.process.wait(), 1);
  const auto admin = daemon.dial();
  EXPECT_EQ(admin->command({.what = "explode"})->finish().code, Code::invalid_argument);
}

// ---- Draining a server, and all ----------------------------------------------------------------

TEST(DrainServer, LetsStreamsRunOutRefusesTheRestAndCloses) {
  const DaemonProcess daemon;
  WorkerProcess worker(daemon);
  const ManualWorker bystander(daemon, {"*"}, 4, "127.0.0.1:0", [](const Dispatched& call) {
    call->finish(make_status(Code::aborted, "bystander"));
  });
  const auto streams = open_streams(worker.address, 2);
  Legatectl drain(daemon, {"drain", "--server", worker.address});
  EXPECT_EQ(drain.process.line(), "2 calls left");
  const auto refused = call_once(connect(worker.address), kUnary);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(refused);
  EXPECT_EQ(call_once(connect(bystander.address), kUnary).error_message(), "bystander");
  for (const auto& stream : streams) {
    EXPECT_TRUE(stream->send(command("more")).half_close().wait().ok());
    EXPECT_EQ(stream->replies().size(), 2u);
  }
  EXPECT_EQ(drain.process.wait(), 0) << drain.errors();
  EXPECT_NE(drain.process.rest().find("done"), std::string::npos);
  EXPECT_EQ(worker.process.wait(), 0) << "it honours RETIRE";
  const auto admin = daemon.dial();
  EXPECT_EQ(ask(*admin, "workers")["servers"].size(), 1u);
  const WorkerProcess next(daemon, worker.address);
  EXPECT_TRUE(call_once(connect(next.address), kUnary).ok()) << "the address is free again";
}

TEST(DrainServer, IsFoundByItsNameAndByEachAddress) {
  const DaemonProcess daemon({"servers.one.addresses=127.0.0.1:0", "servers.two.addresses=localhost:0",
                              "servers.three.addresses=127.0.0.1:0"});
  const auto admin = daemon.dial();
  const auto second_of_two = ask(*admin, "workers")["servers"][2]["addresses"].back().get<std::string>();
  for (const std::string& called : {std::string("one"), second_of_two, std::string("legated:///three")}) {
    const auto drain = admin->command({.what = "drain-server", .server = called});
    EXPECT_TRUE(drain->finish().ok()) << called;
  }
  EXPECT_TRUE(eventually([&] { return ask(*admin, "workers")["servers"].empty(); }));
  const auto gone = admin->listen("legated:///one").status;
  EXPECT_EQ(gone.code, Code::unavailable);
  EXPECT_NE(gone.message.find("was drained"), std::string::npos) << gone.message;
}

TEST(DrainServer, ServesWhatWaitsBeforeItTellsTheWorkers) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto admin = daemon.dial();
  const auto channel = connect(worker.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(std::make_unique<ClientCall>(channel, kUnary));
    calls.back()->send(command()).half_close();
  }
  ASSERT_TRUE(eventually([&] { return ask(*admin, "workers")["servers"][0]["queued"] == 2; }));
  const auto drain = admin->command({.what = "drain-server", .server = worker.address});
  EXPECT_EQ(drain->read(), R"({"left":3})");
  EXPECT_TRUE(worker.retired().empty());
  for (const auto& call : calls) {
    worker.take()->finish(make_status(Code::aborted, "served"));
    (void)call;
  }
  for (const auto& call : calls) EXPECT_EQ(call->wait().error_message(), "served");
  EXPECT_TRUE(drain->finish().ok());
  ASSERT_TRUE(eventually([&] { return worker.retired().size() == 1; }));
  EXPECT_EQ(worker.retired()[0].reason, RetireReason::drain);
  EXPECT_EQ(worker.connection->unregister(worker.lease).code, Code::not_found)
      << "the daemon has ended it";
}

TEST(DrainAll, StopsTheDaemonWhenTheLastCallHasEnded) {
  DaemonProcess daemon;
  const WorkerProcess worker(daemon);
  const auto streams = open_streams(worker.address, 1);
  Legatectl drain(daemon, {"drain", "--all"});
  EXPECT_EQ(drain.process.line(), "1 call left");
  EXPECT_TRUE(daemon.process().running());
  EXPECT_TRUE(streams[0]->half_close().wait().ok());
  EXPECT_EQ(drain.process.wait(), 0) << drain.errors();
  daemon.expect_death();
  EXPECT_EQ(daemon.process().wait(), 0);
}

TEST(DrainAll, SaysWhenTheGraceWasOver) {
  DaemonProcess daemon({"shutdown.grace=200ms"});
  const WorkerProcess worker(daemon);
  const auto streams = open_streams(worker.address, 1);
  Legatectl drain(daemon, {"drain", "--all"});
  EXPECT_EQ(streams[0]->wait().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(drain.process.wait(), 64 + 4) << drain.errors();
  EXPECT_NE(drain.errors().find("shutdown.grace, 200 ms"), std::string::npos) << drain.errors();
  daemon.expect_death();
  EXPECT_EQ(daemon.process().wait(), 0);
}

// ---- Cancelling --------------------------------------------------------------------------------

TEST(Cancel, EndsOneCallInEitherDirection) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 4);
  const auto admin = daemon.dial();
  const auto channel = admin->open_channel(worker.address);
  const auto out = admin->start_call(channel, kBidi);
  auto dispatch = worker.take();
  dispatch->accept();
  const auto cancel = [&](const char* direction) {
    const json calls = ask(*admin, "calls");
    for (const auto& call : calls["calls"]) {
      if (call["direction"] != direction) continue;
      EXPECT_GE(call["age_ms"], 0);
      Legatectl ctl(daemon, {"cancel", call["session"].dump(), call["id"].dump()});
      EXPECT_EQ(ctl.process.wait(), 0) << ctl.errors();
      return;
    }
    ADD_FAILURE() << calls;
  };
  cancel("out");
  const auto status = out->finish();
  EXPECT_EQ(status.code, Code::cancelled);
  EXPECT_EQ(status.origin, legate::client::Origin::daemon);
  EXPECT_EQ(status.message, "cancelled by the operator");
  EXPECT_TRUE(dispatch->wait_cancelled(kPatience));
  dispatch->finish({});
  expect_all_quiet(daemon);

  ClientCall in(connect(worker.address), kBidi);
  in.send(command());
  dispatch = worker.take();
  dispatch->accept();
  ASSERT_TRUE(eventually([&] { return ask(*admin, "calls")["calls"][0]["state"] == "accepted"; }));
  cancel("in");
  const auto ended = in.wait();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::CANCELLED) << describe(ended);
  EXPECT_EQ(ended.error_message(), "cancelled by the operator");
  EXPECT_TRUE(dispatch->wait_cancelled(kPatience));
  dispatch->finish({});
  expect_all_quiet(daemon);
}

}  // namespace
}  // namespace legated::test
