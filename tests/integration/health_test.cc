// grpc.health.v1 on the daemon's ports: what workers, their words and their ends make of it.
#include <gmock/gmock.h>

#include <csignal>

#include "tests/integration/services.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::Health;
using legate::client::make_status;
using testing::HasSubstr;

TEST(HealthService, AWatchSeesAWorkerComeAndDie) {
  const DaemonProcess daemon({"inbound.hold=200ms"});
  const ServerHolder holder(daemon);
  HealthWatch watch(holder.address, kPeerService);
  HealthWatch server(holder.address, "");
  EXPECT_EQ(watch.next(), "SERVICE_UNKNOWN");
  EXPECT_EQ(server.next(), "NOT_SERVING");
  {
    WorkerProcess worker(daemon, holder.address);
    EXPECT_EQ(watch.next(), "SERVING");
    EXPECT_EQ(server.next(), "SERVING");
    EXPECT_EQ(check(holder.address, kPeerService), "SERVING");
    worker.kill();
  }
  EXPECT_EQ(watch.next(), "NOT_SERVING");
  EXPECT_EQ(server.next(), "NOT_SERVING");
  EXPECT_EQ(watch.next(), "SERVICE_UNKNOWN") << "after the hold time";
  EXPECT_THAT(check(holder.address, kPeerService), HasSubstr("NOT_FOUND (5): no worker serves"));
  const Worker again(daemon, 16, holder.address);
  EXPECT_EQ(watch.next(), "SERVING");
}

TEST(HealthService, AWatchSeesWhatAWorkerSays) {
  const DaemonProcess daemon;
  const ManualWorker worker(daemon, {"/a.A/*", "/b.B/*"}, 4);
  HealthWatch a(worker.address, "a.A");
  HealthWatch b(worker.address, "b.B");
  HealthWatch all(worker.address, "");
  for (HealthWatch* watch : {&a, &b, &all}) EXPECT_EQ(watch->next(), "SERVING");
  const auto say = [&](const std::string& service, Health health) {
    const auto status = worker.connection->set_health(worker.server, service, health);
    EXPECT_TRUE(status.ok()) << describe(status);
  };
  say("a.A", Health::not_serving);
  EXPECT_EQ(a.next(), "NOT_SERVING");
  EXPECT_EQ(check(worker.address, "b.B"), "SERVING");
  say("", Health::not_serving);
  EXPECT_EQ(b.next(), "NOT_SERVING");
  EXPECT_EQ(all.next(), "NOT_SERVING");
  say("a.A", Health::serving);
  EXPECT_EQ(check(worker.address, "a.A"), "NOT_SERVING") << "it said so of all";
  say("", Health::serving);
  for (HealthWatch* watch : {&a, &b, &all}) EXPECT_EQ(watch->next(), "SERVING");
}

TEST(HealthService, BadWordsAreRefused) {
  const DaemonProcess daemon;
  const ManualWorker worker(daemon, {"/a.A/*"}, 4);
  const auto say = [&](legate::client::ServerId server, const std::string& service) {
    return worker.connection->set_health(server, service, Health::not_serving).code;
  };
  EXPECT_EQ(say({77}, "a.A"), Code::failed_precondition);
  EXPECT_EQ(say(worker.server, "a/A"), Code::invalid_argument);
  EXPECT_EQ(say(worker.server, std::string(501, 'a')), Code::invalid_argument);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(say(worker.server, "s" + std::to_string(i)), Code::ok);
  EXPECT_EQ(say(worker.server, "one.More"), Code::resource_exhausted);
  EXPECT_EQ(check(worker.address, "a.A"), "SERVING");
}

TEST(HealthService, ADrainIsToldAndNotHeldUp) {
  DaemonProcess daemon({"shutdown.grace=1h"});
  daemon.expect_death();
  const Worker worker(daemon);
  HealthWatch watch(worker.address, kPeerService);
  HealthWatch unknown(worker.address, "no.Such");
  Reflection reflection(worker.address);
  EXPECT_EQ(watch.next(), "SERVING");
  EXPECT_EQ(unknown.next(), "SERVICE_UNKNOWN");
  EXPECT_FALSE(reflection.services().empty());
  daemon.process().signal(SIGTERM);
  EXPECT_EQ(watch.next(), "NOT_SERVING");
  EXPECT_EQ(watch.next(), "end");
  EXPECT_EQ(watch.status().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(unknown.next(), "end");
  EXPECT_EQ(daemon.process().wait(), 0);
}

TEST(HealthService, ListTellsAllAndNotMoreThanAHundred) {
  const DaemonProcess daemon;
  const ManualWorker worker(daemon, {"/a.A/*", "/b.B/One"}, 4);
  const auto stub = grpc::health::v1::Health::NewStub(connect(worker.address));
  const auto list = [&](grpc::health::v1::HealthListResponse& response) {
    grpc::ClientContext context;
    be_patient(context);
    return stub->List(&context, {}, &response);
  };
  grpc::health::v1::HealthListResponse all;
  const auto status = list(all);
  ASSERT_TRUE(status.ok()) << describe(status);
  EXPECT_EQ(all.statuses_size(), 3);
  EXPECT_EQ(all.statuses().at("b.B").status(), grpc::health::v1::HealthCheckResponse::SERVING);
  std::vector<std::string> many;
  for (int i = 0; i < 100; ++i) many.push_back("/s" + std::to_string(i) + "/*");
  const ManualWorker more(daemon, many, 4, worker.address);
  EXPECT_EQ(list(all).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(HealthService, AWorkersOwnGoesFirst) {
  const DaemonProcess daemon;
  const ManualWorker any(daemon, {"*"}, 4, "127.0.0.1:0", [](const Dispatched& call) {
    call->finish(make_status(Code::aborted, "any"));
  });
  EXPECT_EQ(check(any.address, ""), "SERVING") << "\"*\" names no service";
  {
    const ManualWorker own(daemon, {"/grpc.health.v1.Health/Check"}, 4, any.address,
                           [](const Dispatched& call) {
                             call->finish(make_status(Code::data_loss, "mine"));
                           });
    EXPECT_THAT(check(any.address, ""), HasSubstr("DATA_LOSS"));
    HealthWatch watch(any.address, "");
    EXPECT_EQ(watch.next(), "end");
    EXPECT_EQ(watch.status().error_code(), grpc::StatusCode::ABORTED) << "the whole service is";
  }
  EXPECT_TRUE(eventually([&] { return check(any.address, "") == "SERVING"; }));
}

TEST(HealthService, OffIsUnimplemented) {
  const DaemonProcess daemon;
  const ServerHolder holder(daemon, {.health = ServerHolder::Switch::off});
  const Worker worker(daemon, 16, holder.address);
  EXPECT_THAT(check(holder.address, ""), HasSubstr("UNIMPLEMENTED"));
  EXPECT_FALSE(Reflection(holder.address).services().empty()) << "the others are on";
}

TEST(HealthService, BadCallsAreAnswered) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const auto channel = connect(worker.address);
  const auto code = [&](const std::string& method, const std::vector<Command>& messages) {
    ClientCall call(channel, method);
    for (const Command& message : messages) call.send(message);
    return call.half_close().wait().error_code();
  };
  EXPECT_EQ(code("/grpc.health.v1.Health/Nothing", {Command()}), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(code("/grpc.health.v1.Health/Check", {}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code("/grpc.health.v1.Health/Watch", {}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code("/grpc.health.v1.Health/Watch", {Command(), Command()}),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code("/grpc.health.v1.Health/Check", {command(std::string(5000, 'x'))}),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  ClientCall late(channel, "/grpc.health.v1.Health/Watch",
                  {.timeout = std::chrono::milliseconds(50)});
  EXPECT_EQ(late.send(Command()).wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ClientCall cancelled(channel, "/grpc.health.v1.Health/Watch");
  cancelled.send(Command());
  EXPECT_TRUE(eventually([&] { return !cancelled.replies().empty(); }));
  cancelled.cancel();
  EXPECT_EQ(cancelled.wait().error_code(), grpc::StatusCode::CANCELLED);
  expect_all_quiet(daemon);
}

TEST(HealthService, WatchesAreShownAndCounted) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const auto admin = daemon.dial();
  {
    HealthWatch watch(worker.address, "");
    EXPECT_EQ(watch.next(), "SERVING");
    const auto calls = ask(*admin, "calls")["calls"];
    ASSERT_EQ(calls.size(), 1U) << calls;
    EXPECT_EQ(calls[0]["method"], "/grpc.health.v1.Health/Watch");
    EXPECT_EQ(calls[0]["state"], "legated");
    EXPECT_EQ(ask(*admin, "status")["calls"]["incoming"], 1);
  }
  expect_all_quiet(daemon);
  const auto server = ask(*admin, "workers")["servers"][0];
  EXPECT_EQ(server["services"], nlohmann::json({"health", "reflection"}));
  EXPECT_THAT(server["health"].dump(),
              HasSubstr(R"({"service":"legate.test.v1.Peer","status":"SERVING"})"));
}

// gRPC's own Go client: its health client, and its channels that use healthy servers only.
TEST(HealthService, GoClientsUnderstandIt) {
  const DaemonProcess daemon;
  const ManualWorker worker(daemon, {"/a.A/*"}, 4);
  const std::vector<std::string> go{program("health-client"), "--target", worker.address};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), go.begin(), go.end());
    return more;
  };
  ChildProcess check_it(with({"--service", "a.A"}));
  EXPECT_EQ(check_it.line(), "SERVING");
  EXPECT_EQ(check_it.wait(), 0);
  ChildProcess unknown(with({"--service", "x"}));
  EXPECT_THAT(unknown.line(), testing::StartsWith("ended NotFound"));
  ChildProcess watch(with({"--service", "a.A", "--watch"}));
  EXPECT_EQ(watch.line(), "SERVING");
  ChildProcess channel(with({"--service", "a.A", "--connect"}));
  const auto until = [&](const std::string& state) {
    for (std::string line = channel.line(); line != state; line = channel.line()) {
      if (line.empty()) return false;
    }
    return true;
  };
  EXPECT_TRUE(until("READY"));
  worker.connection->set_health(worker.server, "a.A", Health::not_serving);
  EXPECT_EQ(watch.line(), "NOT_SERVING");
  EXPECT_TRUE(until("TRANSIENT_FAILURE"));
  worker.connection->set_health(worker.server, "a.A", Health::serving);
  EXPECT_EQ(watch.line(), "SERVING");
  EXPECT_TRUE(until("READY"));
}

}  // namespace
}  // namespace legated::test
