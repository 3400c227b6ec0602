// Ports of the daemon: LISTEN, SERVE, REGISTER, and calls of all shapes from clients in three
// languages.
#include <algorithm>
#include <atomic>

#include "tests/integration/calls.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::make_status;
using legate::client::Status;

// ---- Listening ---------------------------------------------------------------------------------

TEST(Listen, PortZeroGivesTheRealPort) {
  const DaemonProcess daemon;
  const auto connection = daemon.dial();
  const auto listening = connection->listen("127.0.0.1:0");
  ASSERT_TRUE(listening.status.ok()) << describe(listening.status);
  EXPECT_GT(listening.port, 0u);
  EXPECT_EQ(listening.address, "127.0.0.1:" + std::to_string(listening.port));
  EXPECT_FALSE(listening.shared);
}

TEST(Listen, AnAddressInUseIsRefusedWithAReason) {
  const DaemonProcess daemon;
  const PeerServer other;
  const auto connection = daemon.dial();
  const auto refused = connection->listen(other.address());
  EXPECT_EQ(refused.status.code, Code::failed_precondition) << describe(refused.status);
  EXPECT_NE(refused.status.message.find(other.address()), std::string::npos)
      << describe(refused.status);
  EXPECT_NE(refused.status.message.find("in use"), std::string::npos) << describe(refused.status);

  // What refers to the server that was not made ends likewise, and another address still works.
  const auto lease = connection->register_methods(refused.server, {"*"}, 1, [](Dispatched) {});
  EXPECT_EQ(lease.status.code, Code::failed_precondition) << describe(lease.status);
  EXPECT_TRUE(connection->listen("127.0.0.1:0").status.ok());
}

TEST(Listen, AddressesThatCannotBeParsedAreRefused) {
  const DaemonProcess daemon;
  const auto connection = daemon.dial();
  for (const std::string address :
       {"", "127.0.0.1", ":50", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:70000", "127.0.0.1:-1",
        "127.0.0.1: 1", "a\nb:1", "127.0.0.1:1x", "127.0.0.1:000001"}) {
    const auto refused = connection->listen(address);
    EXPECT_EQ(refused.status.code, Code::invalid_argument)
        << '"' << address << "\": " << describe(refused.status);
    EXPECT_FALSE(refused.status.message.empty()) << '"' << address << '"';
  }
}

TEST(Listen, AUnixSocketServes) {
  const DaemonProcess daemon;
  const TempDir folder;
  const std::string address = "unix:" + (folder / "peer.sock");
  const Worker worker(daemon, 16, address);
  EXPECT_EQ(worker.address, address);
  const auto status = call_once(connect(address), kUnary);
  EXPECT_TRUE(status.ok()) << describe(status);
}

TEST(Listen, ASecondProcessJoinsTheServerAndOutlivesTheFirst) {
  const DaemonProcess daemon;
  auto first = std::make_unique<Worker>(daemon);
  const auto second = daemon.dial();
  const auto joined = second->listen(first->address);
  ASSERT_TRUE(joined.status.ok()) << describe(joined.status);
  EXPECT_TRUE(joined.shared);
  EXPECT_EQ(joined.address, first->address);

  std::atomic<int> served = 0;
  const auto lease = second->register_methods(joined.server,
                                              {{kUnary,
                                                [&](ServerCall& call) {
                                                  ++served;
                                                  call.post({});
                                                  return Status{};
                                                }}},
                                              1);
  ASSERT_TRUE(lease.status.ok()) << describe(lease.status);
  const auto channel = connect(first->address);
  EXPECT_TRUE(call_once(channel, kUnary).ok());
  first->connection->close();
  const int before = served;
  const auto status = call_once(channel, kUnary);
  EXPECT_TRUE(status.ok()) << describe(status);
  EXPECT_EQ(served, before + 1) << "the call did not go to the process that is left";
}

TEST(Serve, NothingIsAnsweredBefore) {
  const DaemonProcess daemon;
  const auto connection = daemon.dial();
  const auto listening = connection->listen("127.0.0.1:0");
  std::atomic<int> dispatched = 0;
  ASSERT_TRUE(connection
                  ->register_methods(listening.server, {"*"}, 1,
                                     [&](Dispatched call) {
                                       ++dispatched;
                                       call->finish(make_status(Code::aborted, "served"));
                                     })
                  .status.ok());
  const auto channel = connect(listening.address);
  ClientCall early(channel, kUnary, {.wait_for_ready = true});
  early.send(command()).half_close();
  // The client's connection is there, and the daemon has had every chance to look at it.
  EXPECT_TRUE(eventually([&] { return channel->GetState(true) != GRPC_CHANNEL_IDLE; }));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(connection->ping());
  EXPECT_EQ(dispatched, 0);
  EXPECT_FALSE(early.done());

  EXPECT_TRUE(connection->serve(listening.server).ok());
  const auto status = early.wait();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED) << describe(status);
  EXPECT_EQ(dispatched, 1);
  EXPECT_TRUE(connection->serve(listening.server).ok()) << "SERVE is idempotent";
}

TEST(Serve, NeedsAServerOfTheConnection) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const auto other = daemon.dial();
  const auto status = other->serve({1});
  EXPECT_EQ(status.code, Code::not_found) << describe(status);
}

// ---- Shapes ------------------------------------------------------------------------------------

TEST(Shapes, FromTheCppClient) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const auto peer = stub(worker.address);
  {
    grpc::ClientContext context;
    Reply reply;
    const auto status = peer->Unary(&context, command("one"), &reply);
    EXPECT_TRUE(status.ok()) << describe(status);
    EXPECT_EQ(reply.payload(), "one");
  }
  {
    grpc::ClientContext context;
    Reply reply;
    const auto call = peer->ClientStream(&context, &reply);
    for (const char* part : {"a", "b", "c"}) EXPECT_TRUE(call->Write(command(part)));
    call->WritesDone();
    const auto status = call->Finish();
    EXPECT_TRUE(status.ok()) << describe(status);
    EXPECT_EQ(reply.payload(), "abc");
    EXPECT_EQ(reply.messages_received(), 3u);
  }
  {
    grpc::ClientContext context;
    Command script = command("s");
    script.set_response_count(3);
    const auto call = peer->ServerStream(&context, script);
    Reply reply;
    for (uint32_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(call->Read(&reply)) << "reply " << i;
      EXPECT_EQ(reply.index(), i);
    }
    EXPECT_FALSE(call->Read(&reply));
    const auto status = call->Finish();
    EXPECT_TRUE(status.ok()) << describe(status);
  }
  {
    grpc::ClientContext context;
    const auto call = peer->Bidi(&context);
    Reply reply;
    for (const char* part : {"x", "y", "z"}) {
      EXPECT_TRUE(call->Write(command(part)));
      ASSERT_TRUE(call->Read(&reply)) << part;
      EXPECT_EQ(reply.payload(), part);
    }
    call->WritesDone();
    EXPECT_FALSE(call->Read(&reply));
    const auto status = call->Finish();
    EXPECT_TRUE(status.ok()) << describe(status);
  }
}

TEST(Shapes, FromGoAndPython) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  struct Case {
    std::string shape;
    std::vector<std::string> arguments;
    size_t replies;
    uint32_t received;  // by the worker when it sent the last reply
  };
  const Case cases[] = {
      {"unary", {}, 1, 1},
      {"client", {"--send", "5"}, 1, 5},
      {"server", {"--command", R"({"responseCount": 4})"}, 4, 1},
      {"bidi", {"--send", "3"}, 3, 3},
  };
  for (const Client& client : foreign_clients()) {
    for (const Case& it : cases) {
      SCOPED_TRACE(client.name + " " + it.shape);
      std::vector<std::string> arguments{"--shape", it.shape,  "--payload-size",
                                         "100",     "--count", "3"};
      arguments.insert(arguments.end(), it.arguments.begin(), it.arguments.end());
      const auto results = run(client, worker.address, arguments);
      EXPECT_EQ(results.size(), 3u);
      for (const auto& result : results) {
        EXPECT_EQ(result["code"], 0) << result.dump();
        ASSERT_EQ(result["replies"].size(), it.replies) << result.dump();
        EXPECT_EQ(result["replies"].back()["messages_received"], it.received) << result.dump();
        EXPECT_EQ(result["replies"].back()["size"], it.shape == "client" ? 500 : 100);
      }
    }
  }
}

// ---- Registering -------------------------------------------------------------------------------

ManualWorker::Handler answers(Code code) {
  return [code](const Dispatched& call) { call->finish(make_status(code, call->method())); };
}

TEST(Register, TheMostExactPatternServes) {
  const DaemonProcess daemon;
  const ManualWorker all(daemon, {"*"}, 4, "127.0.0.1:0", answers(Code::aborted));
  const ManualWorker service(daemon, {"/a.S/*"}, 4, all.address, answers(Code::data_loss));
  const ManualWorker exact(daemon, {"/a.S/M"}, 1, all.address, answers(Code::out_of_range));
  const auto channel = connect(all.address);
  const auto code_of = [&](const std::string& method) {
    return call_once(channel, method).error_code();
  };
  EXPECT_EQ(code_of("/a.S/M"), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(code_of("/a.S/N"), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(code_of("/a.T/M"), grpc::StatusCode::ABORTED);
  EXPECT_EQ(code_of("/a.Sx/M"), grpc::StatusCode::ABORTED);
}

TEST(Register, AnUnknownMethodIsUnimplemented) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const auto channel = connect(worker.address);
  for (const std::string method : {"/legate.test.v1.Peer/None", "/none/Unary", "/x"}) {
    const auto status = call_once(channel, method);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << describe(status);
    EXPECT_EQ(status.error_message(), "Method not implemented");
  }
}

TEST(Register, IllegalPatternsAndNoSlotsAreRefused) {
  const DaemonProcess daemon;
  const auto connection = daemon.dial();
  const auto listening = connection->listen("127.0.0.1:0");
  const auto code_of = [&](std::vector<std::string> patterns, uint32_t slots) {
    return connection->register_methods(listening.server, patterns, slots, [](Dispatched) {})
        .status.code;
  };
  for (const std::string pattern :
       {"", "/", "a", "/a", "/a/", "//b", "/a/b*", "/*/b", "**", "/a/b/c"})
    EXPECT_EQ(code_of({pattern}, 1), Code::invalid_argument) << pattern;
  EXPECT_EQ(code_of({"/a/b"}, 0), Code::invalid_argument);
  EXPECT_EQ(code_of({}, 1), Code::invalid_argument);
  EXPECT_EQ(code_of({"/a/b", "/a/b"}, 1), Code::ok);
}

TEST(Unregister, StopsDispatchesAndLetsRunningCallsEnd) {
  const DaemonProcess daemon({"inbound.hold=150ms"});
  ManualWorker worker(daemon, {kUnary}, 4);
  const auto channel = connect(worker.address);
  ClientCall running(channel, kUnary);
  running.send(command()).half_close();
  const auto dispatch = worker.take();
  dispatch->accept();
  EXPECT_TRUE(worker.connection->unregister(worker.lease).ok());
  EXPECT_EQ(worker.connection->unregister(worker.lease).code, Code::not_found);

  const auto status = call_once(channel, kUnary);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(status);
  EXPECT_EQ(worker.waiting(), 0u);
  dispatch->finish(make_status(Code::aborted, "after all"));
  EXPECT_EQ(running.wait().error_code(), grpc::StatusCode::ABORTED);
}

TEST(Unregister, AfterTheHoldTimeTheMethodIsUnimplemented) {
  const DaemonProcess daemon({"inbound.hold=100ms"});
  ManualWorker worker(daemon, {"/a.S/M"}, 4);
  const ManualWorker other(daemon, {"/a.S/N"}, 4, worker.address, answers(Code::ok));
  EXPECT_TRUE(worker.connection->unregister(worker.lease).ok());
  const auto channel = connect(worker.address);
  grpc::Status status;
  EXPECT_TRUE(eventually([&] {
    status = call_once(channel, "/a.S/M");
    return status.error_code() == grpc::StatusCode::UNIMPLEMENTED;
  })) << describe(status);
}

// ---- Slots -------------------------------------------------------------------------------------

TEST(Slots, NeverMoreThanTheLeaseHas) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 3);
  const auto channel = connect(worker.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (int i = 0; i < 30; ++i) {
    calls.push_back(std::make_unique<ClientCall>(channel, kUnary));
    calls.back()->send(command()).half_close();
  }
  for (int round = 0; round < 10; ++round) {
    std::vector<Dispatched> held;
    for (int i = 0; i < 3; ++i) held.push_back(worker.take());
    const auto lease = ask(*worker.connection, "workers")["servers"][0]["leases"][0];
    EXPECT_EQ(lease["busy"], 3) << lease.dump();
    EXPECT_EQ(worker.waiting(), 0u) << "more than three at once";
    for (const auto& call : held) call->finish(make_status(Code::aborted, "done"));
  }
  for (const auto& call : calls) EXPECT_EQ(call->wait().error_code(), grpc::StatusCode::ABORTED);
  expect_all_quiet(daemon);
}

TEST(Slots, TheLeastLoadedWorkerIsChosen) {
  const DaemonProcess daemon;
  ManualWorker large(daemon, {"*"}, 6);
  ManualWorker small(daemon, {"*"}, 3, large.address);
  const auto channel = connect(large.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  const auto start = [&](size_t more) {
    for (size_t i = 0; i < more; ++i) {
      calls.push_back(std::make_unique<ClientCall>(channel, kUnary));
      calls.back()->send(command()).half_close();
    }
    return eventually([&] { return large.waiting() + small.waiting() == calls.size(); });
  };
  ASSERT_TRUE(start(3));
  EXPECT_LE(large.waiting(), 2u) << "they are equal in weight, so they take turns";
  EXPECT_LE(small.waiting(), 2u);
  ASSERT_TRUE(start(4));
  EXPECT_EQ(large.waiting(), 4u) << "the other has no slot left";
  EXPECT_EQ(small.waiting(), 3u);
  ASSERT_TRUE(start(2));
  EXPECT_EQ(large.waiting(), 6u);
  EXPECT_EQ(small.waiting(), 3u);
  for (int i = 0; i < 6; ++i) large.take()->finish({});
  for (int i = 0; i < 3; ++i) small.take()->finish({});
}

}  // namespace
}  // namespace legated::test
