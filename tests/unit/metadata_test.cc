// Which metadata a peer may send, and which of the remote side's it is shown.
#include "daemon/core/metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace legated {
namespace {

using namespace std::string_view_literals;
using testing::HasSubstr;
using testing::Optional;

TEST(Metadata, LegalKeysAndValuesPass) {
  for (const auto key : {"a"sv, "x-trace"sv, "0.key_1-z"sv, "-"sv, "grpcx"sv, "content-typ"sv}) {
    EXPECT_EQ(refuse_metadata(key, "value"), std::nullopt) << key;
  }
  EXPECT_EQ(refuse_metadata("a", ""), std::nullopt);
  EXPECT_EQ(refuse_metadata("a", " ~"), std::nullopt);
}

TEST(Metadata, BinaryValuesMayBeAnything) {
  EXPECT_EQ(refuse_metadata("a-bin", "\x00\xff\n"sv), std::nullopt);
  EXPECT_EQ(refuse_metadata("a-bin", ""), std::nullopt);
  EXPECT_NE(refuse_metadata("a-bin2", "\xff"), std::nullopt);
}

TEST(Metadata, EveryByteOfAKeyIsChecked) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool legal =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    EXPECT_EQ(refuse_metadata(std::string("k") + c, "v") == std::nullopt, legal) << byte;
    EXPECT_EQ(refuse_metadata(std::string("k") + c + "-bin", "v") == std::nullopt, legal) << byte;
  }
}

TEST(Metadata, EveryByteOfAnAsciiValueIsChecked) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    EXPECT_EQ(refuse_metadata("k", std::string("v") + c) == std::nullopt,
              byte >= 0x20 && byte <= 0x7e)
        << byte;
  }
}

TEST(Metadata, AnEmptyKeyIsRefused) { EXPECT_NE(refuse_metadata("", "v"), std::nullopt); }

TEST(Metadata, KeysOfTheTransportAreRefusedAndHidden) {
  for (const auto key :
       {":path"sv, ":"sv, "grpc-timeout"sv, "grpc-status"sv, "grpc-"sv, "grpc-status-details-bin"sv,
        "content-type"sv, "te"sv, "user-agent"sv, "host"sv, "connection"sv, "content-length"sv,
        "transfer-encoding"sv, "upgrade"sv, "keep-alive"sv, "proxy-connection"sv}) {
    EXPECT_THAT(refuse_metadata(key, "v"), Optional(HasSubstr("\"" + std::string(key) + "\"")));
    EXPECT_TRUE(is_transport_key(key)) << key;
  }
}

TEST(Metadata, SomeGrpcKeysMayBeSetAndAreShown) {
  for (const auto key : {"grpc-trace-bin"sv, "grpc-tags-bin"sv, "grpc-previous-rpc-attempts"sv,
                         "grpc-retry-pushback-ms"sv}) {
    EXPECT_EQ(refuse_metadata(key, "1"), std::nullopt) << key;
    EXPECT_FALSE(is_transport_key(key)) << key;
  }
}

TEST(Metadata, OrdinaryKeysAreShown) {
  for (const auto key : {"x-trace"sv, "authorization"sv, ""sv, "a-bin"sv}) {
    EXPECT_FALSE(is_transport_key(key)) << key;
  }
}

TEST(Metadata, TheRefusalShowsTheKeySafely) {
  EXPECT_THAT(refuse_metadata("a\x01\xff", "v"), Optional(HasSubstr("\"a\\x01\\xff\"")));
  EXPECT_THAT(refuse_metadata(std::string(300, 'A'), "v"),
              Optional(HasSubstr("\"" + std::string(100, 'A') + "...\"")));
  EXPECT_THAT(refuse_metadata("key", "secret\n"),
              Optional(testing::AllOf(HasSubstr("\"key\""), testing::Not(HasSubstr("secret")))));
}

}  // namespace
}  // namespace legated
