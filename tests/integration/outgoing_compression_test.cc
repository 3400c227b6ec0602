// Compression, as it is on the wire: a proxy keeps the bytes, and each gRPC message says itself
// whether it is compressed.

#include "tests/integration/outgoing.h"
#include "tests/integration/raw_peer.h"
#include "tests/integration/tcp_proxy.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

namespace flag = legate::ipc::flag;
using legate::client::ChannelOptions;
using legate::client::Compression;

constexpr size_t kLarge = 200'000;
constexpr size_t kFew = 2000;  // bytes that kLarge equal ones are compressed to, at most

struct OutgoingCompression : testing::Test {
  /// A call that sends kLarge equal bytes and gets them back.
  void echo(ChannelId channel, Compression compression = Compression::inherit) {
    const std::string message(kLarge, 'x');
    const auto result = connection->unary(channel, "/a/b", message, {.compression = compression});
    EXPECT_STATUS(Code::ok, result.status);
    EXPECT_EQ(message, result.response);
  }
  ChannelId open(Compression compression) {
    return connection->open_channel(proxy.address(), {.compression = compression});
  }
  static std::string form(const WireMessage& message) {
    if (!message.compressed) return "plain";
    if (message.bytes.size() > kFew) return "compressed, but long";
    if (message.bytes.starts_with("\x1f\x8b")) return "gzip";
    return message.bytes.starts_with("\x78") ? "deflate" : "unknown";
  }
  static std::vector<std::string> forms(const std::vector<WireMessage>& messages) {
    std::vector<std::string> all;
    for (const WireMessage& message : messages) all.push_back(form(message));
    return all;
  }

  DaemonProcess daemon;
  UnaryServer server;
  TcpProxy proxy{server.address()};
  std::unique_ptr<Connection> connection = daemon.dial();
};

TEST_F(OutgoingCompression, NothingIsCompressedUnlessAsked) {
  echo(open(Compression::inherit));
  EXPECT_THAT(forms(proxy.requests()), ElementsAre("plain"));
  EXPECT_THAT(forms(proxy.answers()), ElementsAre("plain"));
  EXPECT_GT(proxy.bytes_to_server(), kLarge);
}

TEST_F(OutgoingCompression, ChannelsAppliesToEveryCall) {
  const ChannelId gzip = open(Compression::gzip);
  echo(gzip);
  echo(gzip);
  EXPECT_THAT(forms(proxy.requests()), ElementsAre("gzip", "gzip"));
  echo(open(Compression::deflate));
  EXPECT_THAT(forms(proxy.requests()), ElementsAre("gzip", "gzip", "deflate"));
  EXPECT_LT(proxy.bytes_to_server(), kLarge);
}

TEST_F(OutgoingCompression, CallsGoesBeforeTheChannels) {
  const ChannelId gzip = open(Compression::gzip);
  echo(gzip, Compression::identity);
  echo(gzip, Compression::deflate);
  echo(gzip, Compression::inherit);
  EXPECT_THAT(forms(proxy.requests()), ElementsAre("plain", "deflate", "gzip"));
}

TEST_F(OutgoingCompression, CallsCompressesOnAPlainChannel) {
  const ChannelId plain = open(Compression::identity);
  echo(plain, Compression::gzip);
  echo(plain);
  EXPECT_THAT(forms(proxy.requests()), ElementsAre("gzip", "plain"));
}

TEST_F(OutgoingCompression, AnswersAreDecompressed) {
  for (const auto& [algorithm, name] :
       {std::pair(GRPC_COMPRESS_GZIP, "gzip"), std::pair(GRPC_COMPRESS_DEFLATE, "deflate")}) {
    const UnaryServer other(UnaryServer::echo, {.compression = algorithm});
    const TcpProxy between(other.address());
    echo(connection->open_channel(between.address()));
    EXPECT_THAT(forms(between.requests()), ElementsAre("plain"));
    EXPECT_THAT(forms(between.answers()), ElementsAre(name));
    EXPECT_LT(between.bytes_to_client(), kLarge);
  }
}

TEST_F(OutgoingCompression, EveryMessageOfAStreamIsCompressed) {
  const PeerServer peer;
  const TcpProxy between(peer.address());
  const ChannelId channel =
      connection->open_channel(between.address(), {.compression = Compression::gzip});
  const auto call = connection->start_call(channel, kBidi, {.shape = Shape::bidi});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(call->write(saying(std::string(kLarge, 'x'))));
    ASSERT_TRUE(call->read());
  }
  EXPECT_STATUS(Code::ok, call->finish());
  EXPECT_THAT(forms(between.requests()), ElementsAre("gzip", "gzip", "gzip"));
}

TEST_F(OutgoingCompression, MessageThatIsNotToBeCompressedGoesAsItIs) {
  const PeerServer peer;
  const TcpProxy between(peer.address());
  const DaemonProcess named({"channels.zip.target=" + between.address(),
                             "channels.zip.compression=gzip"});
  RawPeer raw(named.socket());
  ASSERT_NO_FATAL_FAILURE(raw.greet());
  raw.open_channel(1, "legated:///zip");
  const std::string message = saying(std::string(20'000, 'x'));
  const auto length = static_cast<uint32_t>(message.size());
  raw.start(3, 1, kBidi, flag::whole_message, message);
  raw.data(3, flag::whole_message | flag::no_compress, message, length);
  raw.data(3, flag::whole_message | flag::end_stream, message, length);
  EXPECT_EQ(0, status_code(raw, 3));
  EXPECT_THAT(forms(between.requests()), ElementsAre("gzip", "plain", "gzip"));
}

TEST_F(OutgoingCompression, FirstMessageMayBeExempt) {
  const DaemonProcess named({"channels.zip.target=" + proxy.address(),
                             "channels.zip.compression=deflate"});
  RawPeer raw(named.socket());
  ASSERT_NO_FATAL_FAILURE(raw.greet());
  raw.open_channel(1, "legated:///zip");
  raw.start(3, 1, "/a/b", flag::whole_message | flag::end_stream | flag::no_compress,
            std::string(20'000, 'x'));
  EXPECT_EQ(0, status_code(raw, 3));
  EXPECT_THAT(forms(proxy.requests()), ElementsAre("plain"));
}

TEST_F(OutgoingCompression, LimitsAreOfTheMessageNotOfItsCompressedForm) {
  const UnaryServer zipping([](const UnaryServer::Request&) {
    return UnaryServer::Answer{.text = std::string(kLarge, 'x')};
  }, {.compression = GRPC_COMPRESS_GZIP});
  const ChannelId channel = connection->open_channel(
      zipping.address(), {.compression = Compression::gzip, .max_receive_message = kLarge - 1});
  const Status over = connection->unary(channel, "/a/b", "").status;
  EXPECT_STATUS(Code::resource_exhausted, over);
  EXPECT_THAT(over.message, HasSubstr("the channel's max_receive_message"));
}

TEST_F(OutgoingCompression, UnknownAlgorithmIsRefused) {
  const auto odd = static_cast<Compression>(9);
  EXPECT_STATUS(Code::invalid_argument, connection->wait(open(odd)).status);
  const auto result =
      connection->unary(open(Compression::inherit), "/a/b", "", {.compression = odd});
  EXPECT_STATUS(Code::invalid_argument, result.status);
  EXPECT_EQ(0U, server.count());
}

}  // namespace
}  // namespace legated::test
