// Targets that stand for several servers: who gets the calls, and what a lost server costs.

#include "tests/integration/dns_server.h"
#include "tests/integration/outgoing.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

using legate::client::ChannelOptions;
using legate::client::RetryOptions;

/// A server whose address stays its own while it is away.
class Backend {
 public:
  explicit Backend(const std::string& address = "127.0.0.1:0") { start(address); }

  void stop() {
    gone_ += server_->count();
    server_.reset();
  }
  void restart() { start(address_); }
  const std::string& address() const { return address_; }
  /// Calls that have arrived.
  uint64_t count() const { return gone_ + (server_ != nullptr ? server_->count() : 0); }

 private:
  void start(const std::string& address) {
    UnaryServer::Options options;
    options.address = address;
    server_ = std::make_unique<UnaryServer>(UnaryServer::echo, std::move(options));
    address_ = server_->address();
  }

  std::unique_ptr<UnaryServer> server_;
  std::string address_;
  uint64_t gone_ = 0;
};

struct OutgoingBalancing : testing::Test {
  static std::string list(const std::vector<const Backend*>& backends,
                          const std::string& scheme = "ipv4:") {
    std::string target = scheme;
    for (const Backend* backend : backends)
      target += (target == scheme ? "" : ",") + backend->address();
    return target;
  }
  static ChannelOptions options(const std::string& policy) {
    return {.load_balancing = policy,
            .initial_backoff = milliseconds(100),
            .max_backoff = milliseconds(200),
            .retry = RetryOptions{.attempts = 5, .initial_backoff = milliseconds(10)}};
  }
  void open(const std::string& target, const ChannelOptions& with) {
    channel = connection->open_channel(target, with);
    EXPECT_STATUS(Code::ok, connection->wait(channel).status);
  }
  Status call() { return connection->unary(channel, "/a/b", "", {.wait_for_ready = true}).status; }
  /// Calls until each of the backends has got one.
  void reach(const std::vector<const Backend*>& backends) {
    std::vector<uint64_t> before;
    for (const Backend* backend : backends) before.push_back(backend->count());
    EXPECT_TRUE(eventually([&] {
      EXPECT_STATUS(Code::ok, call());
      for (size_t i = 0; i < backends.size(); ++i)
        if (backends[i]->count() == before[i]) return false;
      return true;
    })) << "not all backends get calls";
  }

  DaemonProcess daemon;
  std::unique_ptr<Connection> connection = daemon.dial();
  ChannelId channel;
};

TEST_F(OutgoingBalancing, RoundRobinSpreadsEvenly) {
  const Backend a, b, c;
  open(list({&a, &b, &c}), options("round_robin"));
  reach({&a, &b, &c});
  const uint64_t before[] = {a.count(), b.count(), c.count()};
  for (int i = 0; i < 300; ++i) EXPECT_STATUS(Code::ok, call());
  EXPECT_EQ(100U, a.count() - before[0]);
  EXPECT_EQ(100U, b.count() - before[1]);
  EXPECT_EQ(100U, c.count() - before[2]);
}

TEST_F(OutgoingBalancing, RoundRobinLosesNoCallWithABackend) {
  Backend a, b;
  open(list({&a, &b}), options("round_robin"));
  reach({&a, &b});
  for (int round = 0; round < 2; ++round) {
    a.stop();
    for (int i = 0; i < 50; ++i) EXPECT_STATUS(Code::ok, call());
    a.restart();
    reach({&a, &b});
  }
}

TEST_F(OutgoingBalancing, PickFirstUsesOneUntilItIsLost) {
  Backend a, b;
  open(list({&a, &b}), options("pick_first"));
  for (int i = 0; i < 20; ++i) EXPECT_STATUS(Code::ok, call());
  EXPECT_EQ(20U, a.count());
  EXPECT_EQ(0U, b.count());
  a.stop();
  for (int i = 0; i < 20; ++i) EXPECT_STATUS(Code::ok, call());
  EXPECT_EQ(20U, b.count());
  a.restart();
  EXPECT_STATUS(Code::ok, call());
  EXPECT_EQ(21U, b.count());
}

TEST_F(OutgoingBalancing, PickFirstIsTheDefault) {
  const Backend a, b;
  open(list({&a, &b}), {});
  for (int i = 0; i < 20; ++i) EXPECT_STATUS(Code::ok, call());
  EXPECT_EQ(20U, a.count());
}

TEST_F(OutgoingBalancing, ListsOfIpv6AddressesWork) {
  const Backend a("[::1]:0"), b("[::1]:0");
  open(list({&a, &b}, "ipv6:"), options("round_robin"));
  reach({&a, &b});
}

TEST_F(OutgoingBalancing, ServiceConfigNamesThePolicy) {
  const Backend a, b;
  open(list({&a, &b}), {.service_config = R"({"loadBalancingConfig": [{"round_robin": {}}]})"});
  reach({&a, &b});
}

TEST_F(OutgoingBalancing, OtherPoliciesNeedAServiceConfig) {
  const auto refused = connection->wait(
      connection->open_channel("localhost:1", {.load_balancing = "ring_hash_experimental"}));
  EXPECT_STATUS(Code::invalid_argument, refused.status);
  EXPECT_THAT(refused.status.message, HasSubstr("service_config"));
}

TEST_F(OutgoingBalancing, ServiceConfigThatGrpcRefusesIsInvalid) {
  const auto refusal = [&](const std::string& config) {
    const auto opened =
        connection->wait(connection->open_channel("localhost:1", {.service_config = config}));
    EXPECT_STATUS(Code::invalid_argument, opened.status);
    return opened.status.message;
  };
  EXPECT_THAT(refusal("{"), HasSubstr("service_config must be a JSON object"));
  EXPECT_THAT(refusal("[]"), HasSubstr("service_config must be a JSON object"));
  EXPECT_THAT(refusal(R"({"loadBalancingConfig": [{"nonsense": {}}]})"),
              HasSubstr("gRPC refuses the channel"));
  EXPECT_THAT(refusal(R"({"methodConfig": [{"name": [{}], "timeout": "soon"}]})"),
              HasSubstr("gRPC refuses the channel"));
}

TEST_F(OutgoingBalancing, XdsIsPassedThrough) {
  // There is no xDS bootstrap here: gRPC says so itself, and nothing worse happens.
  const ChannelId xds = connection->open_channel("xds:///orders");
  const auto opened = connection->wait(xds);
  const Status status =
      opened.status.ok() ? connection->unary(xds, "/a/b", "").status : opened.status;
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message, HasSubstr("GRPC_XDS_BOOTSTRAP"));
}

// ---- Names -------------------------------------------------------------------------------------

/// Servers on one port of several addresses of this machine, and a DNS server that knows them.
struct OutgoingNames : OutgoingBalancing {
  std::string port() const {
    return first.address().substr(first.address().rfind(':') + 1);
  }

  Backend first{"127.0.0.1:0"};
  DnsServer dns{{"127.0.0.1"}};
};

TEST_F(OutgoingNames, NameWithSeveralAddressesIsBalanced) {
  const Backend second("127.0.0.2:" + port());
  const Backend third("127.0.0.3:" + port());
  dns.set({"127.0.0.1", "127.0.0.2", "127.0.0.3"});
  open(dns.target("orders.test", port()), options("round_robin"));
  reach({&first, &second, &third});
  EXPECT_EQ(1U, dns.asked());
}

TEST_F(OutgoingNames, NameIsAskedForAgainWhenItsServersAreLost) {
  const Backend second("127.0.0.2:" + port());
  ChannelOptions quick = options("round_robin");
  quick.dns_interval = milliseconds(100);
  open(dns.target("orders.test", port()), quick);
  reach({&first});
  dns.set({"127.0.0.2"});
  first.stop();
  reach({&second});
}

TEST_F(OutgoingNames, IntervalBoundsHowOftenANameIsAskedFor) {
  first.stop();
  ChannelOptions quick = options("round_robin");
  quick.dns_interval = milliseconds(100);
  open(dns.target("quick.test", port()), quick);
  // gRPC's own interval lets a second question through after half a minute.
  const auto call = connection->start_call(channel, "/a/b", {.wait_for_ready = true}, "", true);
  EXPECT_TRUE(eventually([&] { return dns.asked() >= 4; })) << dns.asked();
  call->cancel();
}

TEST_F(OutgoingNames, UnknownNameIsUnavailable) {
  dns.set({});
  open(dns.target("nobody.test", port()), {});
  const Status status = connection->unary(channel, "/a/b", "").status;
  EXPECT_STATUS(Code::unavailable, status);
  EXPECT_THAT(status.message, HasSubstr("nobody.test"));
}

}  // namespace
}  // namespace legated::test
