// Servers with options, asked for and served by the C++ library.
#include "tests/integration/calls.h"
#include "tests/integration/certificates.h"
#include "tests/integration/tcp_proxy.h"

namespace legated::test {
namespace {

using legate::client::ClientAuth;
using legate::client::Code;
using legate::client::Compression;
using legate::client::ListenOptions;
using legate::client::ServerTlsOptions;
using legate::client::Status;

/// A worker whose server has options; a call that it is given is answered by `handler`.
struct Serving {
  Serving(const DaemonProcess& daemon, const ListenOptions& options,
          std::function<Status(ServerCall&)> handler)
      : connection(daemon.dial()) {
    const auto listening = connection->listen("127.0.0.1:0", options);
    EXPECT_TRUE(listening.status.ok()) << legate::client::describe(listening.status);
    address = listening.address;
    EXPECT_TRUE(connection->register_methods(listening.server, {{"*", std::move(handler)}}, 4)
                    .status.ok());
    EXPECT_TRUE(connection->serve(listening.server).ok());
  }
  std::unique_ptr<legate::client::Connection> connection;
  std::string address;
};

std::shared_ptr<grpc::Channel> connect_tls(const std::string& address, const Authority& authority,
                                           const Identity& identity) {
  return grpc::CreateChannel(address, grpc::SslCredentials({.pem_root_certs = authority.certificate(),
                                                            .pem_private_key = identity.key,
                                                            .pem_cert_chain = identity.certificate}));
}

TEST(ServerOptions, AHandlerSeesWhoTheClientIs) {
  const DaemonProcess daemon;
  const Authority authority;
  const Identity own = authority.issue();
  const Identity client = authority.issue("DNS:till.example,URI:spiffe://shop/till");
  std::mutex mutex;
  std::optional<legate::client::Identity> seen;  // guarded by mutex
  const auto last_seen = [&] {
    const std::lock_guard lock(mutex);
    return seen;
  };
  ListenOptions options;
  options.tls = ServerTlsOptions{.certificate = own.certificate,
                                 .key = own.key,
                                 .roots = authority.certificate(),
                                 .client_auth = ClientAuth::request};
  const Serving serving(daemon, options, [&](ServerCall& call) {
    {
      const std::lock_guard lock(mutex);
      seen = call.identity();
    }
    call.write(Reply().SerializeAsString());
    return Status{};
  });
  EXPECT_TRUE(call_once(connect_tls(serving.address, authority, client), kUnary).ok());
  const auto identity = last_seen();
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->names,
            (std::vector<std::string>{"dns:till.example", "uri:spiffe://shop/till"}));
  EXPECT_EQ(identity->certificate, client.certificate);
  EXPECT_TRUE(call_once(connect_tls(serving.address, authority, {}), kUnary).ok());
  EXPECT_FALSE(last_seen());
}

TEST(ServerOptions, OnesThatMakeNoSenseAreRefusedWithTheirName) {
  const DaemonProcess daemon;
  const auto connection = daemon.dial();
  const Identity own = Authority().issue();
  ListenOptions options;
  options.tls = ServerTlsOptions{.certificate = own.certificate, .key = Authority().issue().key};
  const auto status = connection->listen("127.0.0.1:0", options).status;
  EXPECT_EQ(status.code, Code::invalid_argument);
  EXPECT_EQ(status.message,
            "tls key is not the key of the first certificate of tls certificate");
  const auto unknown = connection->listen("legated:///unknown").status;
  EXPECT_EQ(unknown.code, Code::not_found);
}

TEST(ServerOptions, AWorkerChoosesTheCompressionOfItsAnswers) {
  const DaemonProcess daemon;
  const Serving serving(daemon, {.compression = Compression::gzip}, [](ServerCall& call) {
    call.read();
    if (call.method() == kServerStream) call.send_headers({}, Compression::identity);
    Reply reply;
    reply.set_payload(std::string(10'000, 'r'));
    const std::string bytes = reply.SerializeAsString();
    call.write(bytes);
    call.write(bytes, /*compress=*/false);
    return Status{};
  });
  const TcpProxy proxy(serving.address);
  const auto channel = connect(proxy.address());
  EXPECT_TRUE(call_once(channel, kBidi).ok());
  EXPECT_TRUE(call_once(channel, kServerStream).ok());
  const auto answers = proxy.answers();
  ASSERT_EQ(answers.size(), 4u);
  EXPECT_TRUE(answers[0].compressed);
  EXPECT_LT(answers[0].bytes.size(), 1000u);
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_FALSE(answers[i].compressed) << i;
    EXPECT_GT(answers[i].bytes.size(), 10'000u) << i;
  }
}

}  // namespace
}  // namespace legated::test
