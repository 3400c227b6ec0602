// Channels of the configuration: opening them by name, what legatectl tells of a channel, and what
// `legated check` refuses.

#include <fstream>

#include "tests/integration/certificates.h"
#include "tests/integration/outgoing.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

using nlohmann::json;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What a program prints, and its exit status.
struct Ran {
  explicit Ran(const std::vector<std::string>& arguments) {
    const TempDir directory;
    ChildProcess process(arguments, directory / "errors");
    out = process.rest();
    status = process.wait();
    errors = text_of(directory / "errors");
  }
  std::string out;
  std::string errors;
  int status;
};

struct OutgoingNamed : testing::Test {
  json channel_named(const std::string& name) {
    const auto answer = query(*connection, "channels");
    for (const auto& one : answer["channels"])
      if (one["name"] == name) return one;
    return nullptr;
  }

  UnaryServer server;
  DaemonProcess daemon{{"channels.orders.target=ipv4:" + server.address(),
                        "channels.orders.authority=orders.internal",
                        "channels.orders.max_calls=3",
                        "channels.lost.target=unix:/nonexistent/sock"}};
  std::unique_ptr<Connection> connection = daemon.dial();
};

TEST_F(OutgoingNamed, IsOpenedByItsNameWithAllThatIsSet) {
  const ChannelId channel = connection->open_channel("legated:///orders");
  EXPECT_STATUS(Code::ok, connection->wait(channel).status);
  EXPECT_STATUS(Code::ok, connection->unary(channel, "/a/b", "").status);
  EXPECT_EQ("orders.internal", server.last().authority);
}

TEST_F(OutgoingNamed, UnknownNameIsNotFoundAndTheKnownAreTold) {
  const auto opened = connection->wait(connection->open_channel("legated:///order"));
  EXPECT_STATUS(Code::not_found, opened.status);
  EXPECT_THAT(opened.status.message, HasSubstr("it has lost, orders"));
  EXPECT_STATUS(Code::not_found, connection->wait(connection->open_channel("legated:///")).status);
}

TEST_F(OutgoingNamed, OptionsWithItAreRefused) {
  const auto opened =
      connection->wait(connection->open_channel("legated:///orders", {.authority = "other"}));
  EXPECT_STATUS(Code::invalid_argument, opened.status);
  EXPECT_THAT(opened.status.message, HasSubstr("takes no options"));
}

TEST_F(OutgoingNamed, IsSharedByAllAndStaysWithoutUsers) {
  const auto other = daemon.dial();
  const ChannelId mine = connection->open_channel("legated:///orders");
  EXPECT_FALSE(connection->wait(mine).shared);
  EXPECT_TRUE(other->wait(other->open_channel("legated:///orders")).shared);
  EXPECT_EQ(2, channel_named("orders")["users"]);
  other->close();
  EXPECT_STATUS(Code::ok, connection->close_channel(mine));
  EXPECT_TRUE(eventually([&] { return channel_named("orders")["users"] == 0; }));
}

TEST_F(OutgoingNamed, EqualTargetAdHocIsAnotherChannel) {
  EXPECT_STATUS(Code::ok, connection->wait(connection->open_channel("legated:///orders")).status);
  const auto opened = connection->wait(connection->open_channel("ipv4:" + server.address()));
  EXPECT_FALSE(opened.shared);
  EXPECT_EQ(3U, query(*connection, "channels")["channels"].size());
}

// ---- legatectl channels ------------------------------------------------------------------------

TEST_F(OutgoingNamed, EveryFieldOfAChannelIsTold) {
  EXPECT_EQ((json{{"name", "orders"},
                  {"target", "ipv4:" + server.address()},
                  {"state", "IDLE"},
                  {"users", 0},
                  {"calls", 0},
                  {"waiting", 0},
                  {"started", 0},
                  {"ended", 0},
                  {"failed", 0},
                  {"retries", 0},
                  {"hedges", 0},
                  {"hedges_won", 0},
                  {"tokens", json::array()},
                  {"last_error", ""},
                  {"backends", json::array()},
                  {"policies", json::array()}}),
            channel_named("orders"));
  const ChannelId channel = connection->open_channel("legated:///orders");
  EXPECT_STATUS(Code::ok, connection->unary(channel, "/a/b", "").status);
  const ChannelId lost = connection->open_channel("legated:///lost");
  EXPECT_STATUS(Code::unavailable, connection->unary(lost, "/a/b", "").status);

  const json good = channel_named("orders");
  EXPECT_EQ("READY", good["state"]);
  EXPECT_EQ(1, good["users"]);
  EXPECT_EQ(1, good["started"]);
  EXPECT_EQ(1, good["ended"]);
  EXPECT_EQ(0, good["failed"]);
  EXPECT_EQ((json::array({{{"address", "ipv4:" + server.address()}, {"state", "READY"}}})),
            good["backends"]);
  const json bad = channel_named("lost");
  EXPECT_EQ("TRANSIENT_FAILURE", bad["state"]);
  EXPECT_EQ(1, bad["failed"]);
  EXPECT_THAT(bad["last_error"].get<std::string>(), testing::StartsWith("UNAVAILABLE: "));
}

TEST_F(OutgoingNamed, CallsInFlightAreTold) {
  const PeerServer peer;
  const ChannelId channel = connection->open_channel(peer.address());
  const auto call = connection->start_call(channel, kBidi, {.shape = Shape::bidi}, "");
  ASSERT_TRUE(call->read());
  const auto entry = [&] { return channel_named(""); };
  EXPECT_EQ(1, entry()["calls"]);
  EXPECT_EQ(1, entry()["started"]);
  EXPECT_EQ(0, entry()["ended"]);
  EXPECT_STATUS(Code::ok, call->finish());
  EXPECT_TRUE(eventually([&] { return entry()["calls"] == 0; }));
  EXPECT_EQ(1, entry()["ended"]);
}

TEST_F(OutgoingNamed, LegatectlShowsThemAsATable) {
  const ChannelId channel = connection->open_channel("legated:///orders");
  EXPECT_STATUS(Code::ok, connection->unary(channel, "/a/b", "").status);
  const Ran run({program("legatectl"), "--socket", daemon.socket(), "channels"});
  EXPECT_EQ(0, run.status) << run.errors;
  for (const char* column : {"NAME", "TARGET", "STATE", "USERS", "CALLS", "STARTED", "ENDED",
                             "FAILED", "LAST_ERROR", "ADDRESS"})
    EXPECT_THAT(run.out, HasSubstr(column));
  EXPECT_THAT(run.out, HasSubstr("backends of orders"));
  EXPECT_THAT(run.out, HasSubstr("ipv4:" + server.address()));
}

// ---- legated check -----------------------------------------------------------------------------

struct OutgoingCheck : testing::Test {
  /// Checks a configuration of this text.
  Ran check(const std::string& text) const {
    std::ofstream(directory / "legated.toml") << text;
    return Ran({program("legated"), "check", "-c", directory / "legated.toml"});
  }
  /// A section [channels.it] with these lines must be refused, and the message have this.
  void expect_refused(const std::string& lines, const std::string& why) {
    const Ran run = check("[channels.it]\n" + lines);
    EXPECT_EQ(2, run.status) << lines;
    EXPECT_THAT(run.errors, HasSubstr("channels.it")) << lines;
    EXPECT_THAT(run.errors, HasSubstr(why)) << lines;
    EXPECT_EQ("", run.out) << lines;
  }
  std::string file(const std::string& name, const std::string& text) const {
    replace_file(directory / name, text);
    return directory / name;
  }

  TempDir directory;
};

TEST_F(OutgoingCheck, GoodChannelIsPrinted) {
  const Authority authority;
  const Identity own = authority.issue();
  const Ran run = check("[channels.it]\ntarget = \"orders:1\"\ntls = true\n" +
                        ("tls_roots_file = \"" + file("roots", authority.certificate())) + "\"\n" +
                        "tls_certificate_file = \"" + file("cert", own.certificate) + "\"\n" +
                        "tls_key_file = \"" + file("key", own.key) + "\"\n" +
                        "max_calls = 7\npolicies = [\"request-id\"]\n");
  EXPECT_EQ(0, run.status) << run.errors;
  EXPECT_THAT(run.out, HasSubstr("[channels.it]\ntarget = \"orders:1\"\n"));
  EXPECT_THAT(run.out, HasSubstr("max_calls = 7\n"));
}

TEST_F(OutgoingCheck, BrokenSectionsAreRefused) {
  const std::string target = "target = \"orders:1\"\n";
  expect_refused("", "target must be");
  expect_refused("target = \"a b\"", "target must be");
  expect_refused("target = 5", "not a valid string");
  expect_refused(target + "colour = \"red\"", "unknown key channels.it.colour");
  expect_refused(target + "keepalive_tim = \"1s\"", "keepalive_time");
  expect_refused(target + "authority = \"a b\"", "authority must be");
  expect_refused(target + "user_agent = \"a\\nb\"", "user_agent must be");
  expect_refused(target + "load_balancing = \"random\"", "`pick_first`, `round_robin`");
  expect_refused(target + "service_config = \"{\"", "service_config must be a JSON object");
  expect_refused(target + "service_config = \"{}\"\nretry_attempts = 2",
                 "service_config and retry can't both be set");
  expect_refused(target + "compression = \"zip\"", "`identity`, `deflate`, `gzip`");
  expect_refused(target + "max_send_message = \"5MiB\"", "above the daemon's limits.max_message");
  expect_refused(target + "max_receive_message = \"5MiB\"", "above the daemon's limits.max_message");
  expect_refused(target + "max_metadata = \"65KiB\"", "0 to 64KiB");
  expect_refused(target + "max_calls = -1", "0 to 1000000");
  expect_refused(target + "keepalive_time = \"25h\"", "0s to 24h");
  expect_refused(target + "connect_timeout = 5", "not a valid duration");
  expect_refused(target + "retry_attempts = 1", "retry attempts must be 2 to 5");
  expect_refused(target + "retry_attempts = 6", "0 to 5");
  expect_refused(target + "retry_codes = [\"OK\"]", "names of gRPC status codes");
  expect_refused(target + "retry_codes = [\"NONSENSE\"]", "names of gRPC status codes");
  expect_refused(target + "retry_attempts = 2\nretry_codes = []", "retry codes must be");
  expect_refused(target + "retry_multiplier = 0.5", "1 to 10");
  expect_refused(target + "policies = [\"rate-limit often\"]", "rate-limit");
  expect_refused(target + "policies = \"request-id\"", "list of strings");
}

TEST_F(OutgoingCheck, BrokenTlsIsRefused) {
  const Authority authority;
  const Identity own = authority.issue();
  const Identity other = authority.issue();
  const auto set = [](const std::string& key, const std::string& path) {
    return key + " = \"" + path + "\"\n";
  };
  const std::string tls = "target = \"orders:1\"\ntls = true\n";
  const std::string certificate = set("tls_certificate_file", file("cert", own.certificate));
  expect_refused("target = \"orders:1\"\ntls_server_name = \"a\"", "need tls = true");
  expect_refused(tls + set("tls_roots_file", directory / "none"), "can't be read: No such file");
  expect_refused(tls + set("tls_roots_file", file("bad", "no pem")), "has no certificate in PEM");
  expect_refused(tls + certificate, "tls key is missing");
  expect_refused(tls + set("tls_key_file", file("key", own.key)), "tls certificate is missing");
  expect_refused(tls + certificate + set("tls_key_file", file("key", other.key)),
                 "is not the key of the first certificate");
  expect_refused(tls + certificate + set("tls_key_file", file("key", "no pem")),
                 "has no private key in PEM");
  expect_refused(tls + "tls_server_name = \"a b\"", "tls server_name must be");
  expect_refused(tls + "tls_refresh = \"10ms\"", "1s to 24h");
  expect_refused(tls + set("tls_roots_file", directory / ""), "is not a regular file");
}

TEST_F(OutgoingCheck, ServiceConfigThatGrpcRefusesIsRefused) {
  expect_refused("target = \"orders:1\"\n"
                 "service_config = '{\"loadBalancingConfig\": [{\"nonsense\": {}}]}'",
                 "gRPC refuses");
}

TEST_F(OutgoingCheck, NamesMustBeSimple) {
  for (const std::string name : {"\"a b\"", "Orders", "\"\""}) {
    const Ran run = check("[channels." + name + "]\ntarget = \"orders:1\"\n");
    EXPECT_EQ(2, run.status) << name;
    EXPECT_THAT(run.errors, HasSubstr("want a section [channels.NAME]"));
  }
  EXPECT_EQ(2, check("[channels]\ntarget = \"orders:1\"\n").status);
}

TEST_F(OutgoingCheck, EveryBrokenSectionIsNamed) {
  const Ran run = check("[channels.one]\n[channels.two]\n[channels.good]\ntarget = \"a:1\"\n");
  EXPECT_EQ(2, run.status);
  EXPECT_THAT(run.errors, HasSubstr("channels.one: "));
  EXPECT_THAT(run.errors, HasSubstr("channels.two: "));
  EXPECT_THAT(run.errors, testing::Not(HasSubstr("channels.good")));
}

}  // namespace
}  // namespace legated::test
