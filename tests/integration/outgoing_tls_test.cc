// TLS toward servers in C++ and Go: what is trusted, what is refused and with which reason, and
// certificates that are renewed while the daemon runs.

#include <cstdlib>

#include "tests/integration/certificates.h"
#include "tests/integration/outgoing.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

using legate::client::ChannelOptions;
using legate::client::TlsOptions;
using Validity = Authority::Validity;

// Two authorities that trust each other no more than strangers do; keys take a while to make.
const Authority& ours() {
  static const Authority authority;
  return authority;
}
const Authority& theirs() {
  static const Authority authority;
  return authority;
}

std::shared_ptr<grpc::ServerCredentials> server_credentials(const Identity& identity,
                                                            const std::string& client_roots = {}) {
  grpc::SslServerCredentialsOptions options(
      client_roots.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                           : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = client_roots;
  options.pem_key_cert_pairs.push_back({identity.key, identity.certificate});
  return grpc::SslServerCredentials(options);
}

/// Peer in Go: its certificates lie in files.
class GoServer {
 public:
  explicit GoServer(const std::optional<Identity>& identity, const std::string& client_roots = {},
                    const std::vector<std::string>& more = {})
      : process_(arguments(identity, client_roots, more)) {
    const std::string line = process_.line();
    EXPECT_THAT(line, testing::StartsWith("listening "));
    address_ = "127.0.0.1:" + line.substr(line.find(' ') + 1);
  }
  const std::string& address() const { return address_; }

 private:
  std::vector<std::string> arguments(const std::optional<Identity>& identity,
                                     const std::string& client_roots,
                                     const std::vector<std::string>& more) const {
    std::vector<std::string> all{program("peer-server")};
    const auto add = [&](const std::string& name, const std::string& pem) {
      replace_file(directory_ / name, pem);
      all.insert(all.end(), {"--tls-" + name, directory_ / name});
    };
    if (identity) {
      add("cert", identity->certificate);
      add("key", identity->key);
    }
    if (!client_roots.empty()) add("client-ca", client_roots);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  TempDir directory_;
  ChildProcess process_;
  std::string address_;
};

enum class Language : uint8_t { cpp, go };

/// A daemon, and servers in one language or the other.
struct OutgoingTls : testing::TestWithParam<Language> {
  /// Starts one; its address.
  std::string serve(const std::optional<Identity>& identity, const std::string& client_roots = {}) {
    if (GetParam() == Language::go) {
      go = std::make_unique<GoServer>(identity, client_roots);
      return go->address();
    }
    cpp = std::make_unique<PeerServer>("127.0.0.1:0",
                                       identity ? server_credentials(*identity, client_roots)
                                                : grpc::InsecureServerCredentials());
    return cpp->address();
  }

  /// A call without a deadline: it ends because the connection can't be made.
  Status call(const std::string& target, const ChannelOptions& options) {
    const ChannelId channel = connection->open_channel(target, options);
    EXPECT_STATUS(Code::ok, connection->wait(channel).status);
    return connection->unary(channel, kUnary, saying("secret")).status;
  }
  static ChannelOptions trusting(const Authority& authority, const Identity& own = {}) {
    return {.tls = TlsOptions{
                .roots = authority.certificate(), .certificate = own.certificate, .key = own.key}};
  }
  void expect_refused(const Status& status, const std::string& reading) {
    EXPECT_STATUS(Code::unavailable, status);
    EXPECT_EQ(Origin::remote, status.origin);
    EXPECT_THAT(status.message, HasSubstr("; legated: " + reading));
  }

  std::unique_ptr<PeerServer> cpp;
  std::unique_ptr<GoServer> go;
  DaemonProcess daemon;
  std::unique_ptr<Connection> connection = daemon.dial();
};

INSTANTIATE_TEST_SUITE_P(, OutgoingTls, testing::Values(Language::cpp, Language::go),
                         [](const auto& param) {
                           return std::string(param.param == Language::cpp ? "Cpp" : "Go");
                         });

TEST_P(OutgoingTls, TrustedCertificateWorks) {
  EXPECT_STATUS(Code::ok, call(serve(ours().issue()), trusting(ours())));
}

TEST_P(OutgoingTls, CertificateIsCheckedByTheTargetsHost) {
  const std::string target = serve(ours().issue("DNS:localhost"));
  const std::string port = target.substr(target.rfind(':'));
  EXPECT_STATUS(Code::ok, call("localhost" + port, trusting(ours())));
  expect_refused(call("127.0.0.1" + port, trusting(ours())),
                 "the server's certificate is for another name");
}

TEST_P(OutgoingTls, ServerNameIsLookedForInsteadOfTheHost) {
  const std::string target = serve(ours().issue("DNS:orders.internal"));
  ChannelOptions options = trusting(ours());
  expect_refused(call(target, options), "the server's certificate is for another name");
  options.tls->server_name = "orders.internal";
  EXPECT_STATUS(Code::ok, call(target, options));
}

TEST_P(OutgoingTls, ExpiredCertificateIsRefused) {
  expect_refused(call(serve(ours().issue("IP:127.0.0.1", Validity::over)), trusting(ours())),
                 "the server's certificate has expired");
}

TEST_P(OutgoingTls, CertificateOfTheFutureIsRefused) {
  expect_refused(call(serve(ours().issue("IP:127.0.0.1", Validity::not_yet)), trusting(ours())),
                 "the server's certificate has expired, is not valid yet");
}

TEST_P(OutgoingTls, CertificateOfAnotherAuthorityIsRefused) {
  expect_refused(call(serve(theirs().issue()), trusting(ours())),
                 "the server's certificate has expired, is not valid yet, or comes from none of "
                 "the trusted authorities");
}

TEST_P(OutgoingTls, SystemsAuthoritiesAreTrustedWithoutRoots) {
  // No authority of the tests is the system's.
  expect_refused(call(serve(ours().issue()), {.tls = TlsOptions{}}),
                 "the server's certificate has expired, is not valid yet, or comes from none of "
                 "the trusted authorities");
}

TEST_P(OutgoingTls, ClientCertificateIsShown) {
  const std::string target = serve(ours().issue(), theirs().certificate());
  EXPECT_STATUS(Code::ok, call(target, trusting(ours(), theirs().issue("DNS:client"))));
}

TEST_P(OutgoingTls, MissingClientCertificateIsRefused) {
  expect_refused(call(serve(ours().issue(), theirs().certificate()), trusting(ours())),
                 "the server closed the connection at once; it may demand a certificate of the "
                 "channel");
}

TEST_P(OutgoingTls, ClientCertificateOfAnotherAuthorityIsRefused) {
  expect_refused(call(serve(ours().issue(), theirs().certificate()),
                      trusting(ours(), ours().issue("DNS:client"))),
                 "the server closed the connection at once; it may not trust the channel's "
                 "certificate");
}

TEST_P(OutgoingTls, PlaintextToATlsPortIsExplained) {
  expect_refused(call(serve(ours().issue()), {}),
                 "the server closed the connection at once; it may demand TLS");
}

TEST_P(OutgoingTls, TlsToAPlaintextPortIsExplained) {
  expect_refused(call(serve(std::nullopt), trusting(ours())),
                 "the server does not speak TLS on this port, the channel does");
}

// In TLS 1.2 the server judges the client within the handshake. gRPC in C++ can't leave 1.3 out.
TEST(OutgoingTls12, RefusedClientCertificateIsExplained) {
  const DaemonProcess daemon;
  const auto connection = daemon.dial();
  const GoServer server(ours().issue(), theirs().certificate(), {"--tls12"});
  for (const Identity& own : {Identity(), ours().issue("DNS:client")}) {
    const TlsOptions tls{
        .roots = ours().certificate(), .certificate = own.certificate, .key = own.key};
    const ChannelId channel = connection->open_channel(server.address(), {.tls = tls});
    const Status status = connection->unary(channel, kUnary, "").status;
    EXPECT_STATUS(Code::unavailable, status);
    EXPECT_THAT(status.message,
                HasSubstr(own.key.empty() ? "the server demands a certificate of the channel"
                                          : "the server does not accept the channel's certificate"));
  }
}

// ---- What a peer hands in ----------------------------------------------------------------------

struct OutgoingTlsOptions : testing::Test {
  /// The message of the refusal.
  std::string refusal(const TlsOptions& tls) {
    const auto opened = connection->wait(connection->open_channel("localhost:1", {.tls = tls}));
    EXPECT_STATUS(Code::invalid_argument, opened.status);
    return opened.status.message;
  }

  DaemonProcess daemon;
  std::unique_ptr<Connection> connection = daemon.dial();
};

TEST_F(OutgoingTlsOptions, TextThatIsNoPemIsRefusedNamingTheField) {
  const Identity own = ours().issue();
  const Identity other = ours().issue();
  EXPECT_THAT(refusal({.roots = "trust me"}), HasSubstr("tls roots has no certificate"));
  EXPECT_THAT(refusal({.certificate = own.certificate}), HasSubstr("tls key is missing"));
  EXPECT_THAT(refusal({.key = own.key}), HasSubstr("tls certificate is missing"));
  EXPECT_THAT(refusal({.certificate = "x", .key = own.key}),
              HasSubstr("tls certificate has no certificate"));
  EXPECT_THAT(refusal({.certificate = own.certificate, .key = "x"}),
              HasSubstr("tls key has no private key"));
  const std::string mismatch = refusal({.certificate = own.certificate, .key = other.key});
  EXPECT_THAT(mismatch, HasSubstr("tls key is not the key of the first certificate"));
  const std::string secret = other.key.substr(other.key.find('\n') + 1, 20);
  EXPECT_THAT(mismatch, testing::Not(HasSubstr(secret)));
  EXPECT_THAT(daemon.log(), testing::Not(HasSubstr(secret)));
}

TEST_F(OutgoingTlsOptions, ChannelsOfDifferentCertificatesAreNotShared) {
  const TlsOptions one{.roots = ours().certificate()};
  const TlsOptions two{.roots = theirs().certificate()};
  const auto open = [&](const TlsOptions& tls) {
    return connection->wait(connection->open_channel("localhost:1", {.tls = tls}));
  };
  EXPECT_FALSE(open(one).shared);
  EXPECT_FALSE(open(two).shared);
  EXPECT_TRUE(open(one).shared);
}

// ---- Named channels: files ---------------------------------------------------------------------

/// The channel "it" of the configuration reaches a socket under the name localhost, whatever server
/// there is, and its certificates lie in files.
struct OutgoingTlsFiles : testing::Test {
  std::vector<std::string> settings(bool with_identity) const {
    std::vector<std::string> all{"target=" + socket,        "tls=true",
                                 "tls_server_name=localhost", "tls_roots_file=" + directory / "roots",
                                 "tls_refresh=1s",          "initial_backoff=100ms",
                                 "max_backoff=200ms"};
    if (with_identity) {
      all.push_back("tls_certificate_file=" + directory / "certificate");
      all.push_back("tls_key_file=" + directory / "key");
    }
    for (std::string& setting : all) setting.insert(0, "channels.it.");
    return all;
  }
  void write_identity(const Identity& identity) {
    replace_file(directory / "certificate", identity.certificate);
    replace_file(directory / "key", identity.key);
  }
  std::unique_ptr<UnaryServer> serve(const Identity& identity, const std::string& client_roots = {}) {
    return std::make_unique<UnaryServer>(
        UnaryServer::echo,
        UnaryServer::Options{.address = socket,
                             .credentials = server_credentials(identity, client_roots)});
  }
  void start(bool with_identity) {
    daemon.emplace(settings(with_identity));
    connection = daemon->dial();
    channel = connection->open_channel("legated:///it");
  }
  Status call() { return connection->unary(channel, "/a/b", "hello").status; }

  TempDir directory;
  std::string socket = "unix:" + directory / "server.sock";
  std::optional<DaemonProcess> daemon;
  std::unique_ptr<Connection> connection;
  ChannelId channel;
};

TEST_F(OutgoingTlsFiles, RootsAreReadAgain) {
  replace_file(directory / "roots", ours().certificate());
  auto server = serve(ours().issue());
  start(false);
  EXPECT_STATUS(Code::ok, call());

  server.reset();
  server = serve(theirs().issue());
  EXPECT_TRUE(eventually([&] {
    return call().message.find("certificate verify failed") != std::string::npos;
  })) << describe(call());
  replace_file(directory / "roots", theirs().certificate());
  EXPECT_TRUE(eventually([&] { return call().ok(); })) << describe(call());
}

TEST_F(OutgoingTlsFiles, CertificateAndKeyAreReadAgain) {
  replace_file(directory / "roots", ours().certificate());
  write_identity(ours().issue("DNS:client"));
  const auto server = serve(ours().issue(), theirs().certificate());
  start(true);
  const Status refused = call();
  EXPECT_STATUS(Code::unavailable, refused);
  EXPECT_THAT(refused.message, HasSubstr("may not trust the channel's certificate"));
  EXPECT_EQ(0U, server->count());

  write_identity(theirs().issue("DNS:client"));
  EXPECT_TRUE(eventually([&] { return call().ok(); })) << describe(call());
}

TEST_F(OutgoingTlsFiles, AKeyOfAnotherCertificateIsExplained) {
  replace_file(directory / "roots", ours().certificate());
  const Identity good = theirs().issue("DNS:client");
  write_identity(good);
  auto server = serve(ours().issue(), theirs().certificate());
  start(true);
  EXPECT_STATUS(Code::ok, call());
  replace_file(directory / "key", theirs().issue("DNS:other").key);
  EXPECT_TRUE(eventually([&] {
    server.reset();  // for a new connection
    server = serve(ours().issue(), theirs().certificate());
    return call().message.find("the channel's TLS files can't be used") != std::string::npos;
  })) << describe(call());
  write_identity(good);
  EXPECT_TRUE(eventually([&] { return call().ok(); })) << describe(call());
}

TEST_F(OutgoingTlsFiles, OpenConnectionOutlivesRenewedCertificates) {
  replace_file(directory / "roots", ours().certificate());
  write_identity(theirs().issue("DNS:client"));
  const auto server = serve(ours().issue(), theirs().certificate());
  start(true);
  EXPECT_STATUS(Code::ok, call());
  replace_file(directory / "roots", theirs().certificate());
  write_identity(ours().issue("DNS:client"));
  for (int i = 0; i < 20; ++i) EXPECT_STATUS(Code::ok, call());
}

TEST(OutgoingTlsRoots, SystemsAuthoritiesAreThoseOfTheFile) {
  // Where gRPC finds the system's, unless it is told of another file.
  const TempDir directory;
  replace_file(directory / "system.pem", ours().certificate());
  setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", (directory / "system.pem").c_str(), 1);
  const DaemonProcess daemon;
  unsetenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
  const UnaryServer server(UnaryServer::echo, {.credentials = server_credentials(ours().issue())});
  const auto connection = daemon.dial();
  const ChannelId channel = connection->open_channel(server.address(), {.tls = TlsOptions{}});
  EXPECT_STATUS(Code::ok, connection->unary(channel, "/a/b", "hello").status);
}

}  // namespace
}  // namespace legated::test
