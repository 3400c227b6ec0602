// JSON Web Tokens: which are good, and why others are not. Time is made up.
#include "daemon/inbound/jwt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <memory>
#include <nlohmann/json.hpp>

namespace legated {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

constexpr JwtVerifier::Seconds kNow = 1'000'000;
const std::string kSecret(32, 's');

struct KeyPair {
  std::string secret;
  std::string open;
};

KeyPair pem(EVP_PKEY* key) {
  const auto text = [](auto write) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    write(bio.get());
    char* bytes = nullptr;
    const long length = BIO_get_mem_data(bio.get(), &bytes);
    return std::string(bytes, static_cast<size_t>(length));
  };
  KeyPair pair{text([&](BIO* bio) {
                 PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
               }),
               text([&](BIO* bio) { PEM_write_bio_PUBKEY(bio, key); })};
  EVP_PKEY_free(key);
  return pair;
}

const KeyPair& rsa() {
  static const KeyPair pair = pem(EVP_RSA_gen(2048));
  return pair;
}
const KeyPair& other_rsa() {
  static const KeyPair pair = pem(EVP_RSA_gen(2048));
  return pair;
}
const KeyPair& ec() {
  static const KeyPair pair = pem(EVP_EC_gen("P-256"));
  return pair;
}

std::string sign(const Json& claims, jwt_alg_t algorithm, const std::string& key) {
  jwt_t* token = nullptr;
  jwt_new(&token);
  jwt_add_grants_json(token, claims.dump().c_str());
  jwt_set_alg(token, algorithm,
              algorithm == JWT_ALG_NONE ? nullptr
                                        : reinterpret_cast<const unsigned char*>(key.c_str()),
              static_cast<int>(algorithm == JWT_ALG_NONE ? 0 : key.size()));
  char* const text = jwt_encode_str(token);
  std::string result = text == nullptr ? "" : text;
  std::free(text);
  jwt_free(token);
  return result;
}

Json claims(Json more = Json::object()) {
  Json all = {{"sub", "ada"}, {"exp", kNow + 60}};
  all.update(more);
  return all;
}

JwtVerifier verifier(const std::string& keys, JwtVerifier::Rules rules = {}) {
  const auto kind = keys.starts_with(kSecret) ? JwtVerifier::Keys::secret : JwtVerifier::Keys::open;
  return std::get<JwtVerifier>(JwtVerifier::make(keys, kind, std::move(rules)));
}

std::string problem(const std::string& keys, const std::string& token,
                    JwtVerifier::Rules rules = {}) {
  return verifier(keys, std::move(rules)).verify(token, kNow).problem;
}

TEST(Jwt, SignedByATrustedKeyIsGood) {
  for (const auto& [key, token] :
       {std::pair(rsa().open, sign(claims(), JWT_ALG_RS256, rsa().secret)),
        std::pair(rsa().open, sign(claims(), JWT_ALG_RS512, rsa().secret)),
        std::pair(ec().open, sign(claims(), JWT_ALG_ES256, ec().secret)),
        std::pair(other_rsa().open + ec().open + rsa().open,
                  sign(claims(), JWT_ALG_RS256, rsa().secret)),
        std::pair(kSecret + "\n", sign(claims(), JWT_ALG_HS256, kSecret))}) {
    const auto verdict = verifier(key).verify(token, kNow);
    EXPECT_EQ(verdict.problem, "");
    EXPECT_EQ(verdict.subject, "ada");
  }
}

TEST(Jwt, OfAnotherKeyIsRefused) {
  EXPECT_THAT(problem(other_rsa().open, sign(claims(), JWT_ALG_RS256, rsa().secret)),
              HasSubstr("signature"));
  std::string changed = sign(claims(), JWT_ALG_RS256, rsa().secret);
  changed[changed.size() - 10] ^= 1;
  EXPECT_THAT(problem(rsa().open, changed), HasSubstr("signature"));
}

TEST(Jwt, APublicKeyIsNoSecret) {
  // Whoever knows the public key could sign with it as a secret.
  EXPECT_THAT(problem(rsa().open, sign(claims(), JWT_ALG_HS256, rsa().open)),
              HasSubstr("signature"));
  EXPECT_THAT(problem(rsa().open, sign(claims(), JWT_ALG_NONE, "")), HasSubstr("not signed"));
}

TEST(Jwt, TimesAreKept) {
  auto keys = verifier(rsa().open);
  const std::string token =
      sign(claims({{"nbf", kNow - 10}}), JWT_ALG_RS256, rsa().secret);
  EXPECT_THAT(keys.verify(token, kNow - 11).problem, HasSubstr("not valid yet"));
  EXPECT_EQ(keys.verify(token, kNow - 10).problem, "");
  EXPECT_EQ(keys.verify(token, kNow + 59).problem, "");
  EXPECT_THAT(keys.verify(token, kNow + 60).problem, HasSubstr("expired"));
  EXPECT_THAT(keys.verify(token, kNow + 60).problem, HasSubstr("expired"));
  EXPECT_THAT(problem(rsa().open, sign({{"sub", "ada"}}, JWT_ALG_RS256, rsa().secret)),
              HasSubstr("no time of expiry"));
}

TEST(Jwt, IssuerAndAudienceAreKept) {
  const auto token = [](const Json& more) { return sign(claims(more), JWT_ALG_ES256, ec().secret); };
  const JwtVerifier::Rules rules{"https://id.example", "orders"};
  EXPECT_EQ(problem(ec().open, token({{"iss", rules.issuer}, {"aud", "orders"}}), rules), "");
  EXPECT_EQ(
      problem(ec().open, token({{"iss", rules.issuer}, {"aud", {"a", "orders"}}}), rules), "");
  EXPECT_THAT(problem(ec().open, token({{"iss", "x"}, {"aud", "orders"}}), rules),
              HasSubstr("issuer"));
  EXPECT_THAT(problem(ec().open, token({{"aud", "orders"}}), rules), HasSubstr("issuer"));
  EXPECT_THAT(problem(ec().open, token({{"iss", rules.issuer}, {"aud", "b"}}), rules),
              HasSubstr("audience"));
  EXPECT_THAT(problem(ec().open, token({{"iss", rules.issuer}}), rules), HasSubstr("audience"));
}

TEST(Jwt, NoiseIsRefused) {
  for (const std::string& noise :
       {std::string("x"), std::string("a.b.c"), std::string("..."), std::string(20'000, 'a'),
        std::string("eyJhbGciOiJSUzI1NiJ9.e30."), std::string("e30.e30.e30")})
    EXPECT_NE(problem(rsa().open, noise), "") << noise.substr(0, 40);
}

TEST(Jwt, KeysThatAreNoneAreRefusedWithoutBeingQuoted) {
  for (const std::string& keys :
       {std::string(), std::string("short"), rsa().secret, std::string("-----BEGIN PUBLIC KEY-----")}) {
    for (const auto kind : {JwtVerifier::Keys::open, JwtVerifier::Keys::secret}) {
      const auto made = JwtVerifier::make(keys, kind, {});
      ASSERT_TRUE(std::holds_alternative<std::string>(made));
      EXPECT_THAT(std::get<std::string>(made), HasSubstr("key"));
    }
  }
}

TEST(Jwt, WhatIsNoPemIsNoSecretUnlessItIsSaidToBe) {
  for (const std::string& open : {std::string(R"({"keys":[{"kty":"RSA","e":"AQAB","n":"AAAAAAAAAAAAAAAA"}]})"),
                                  std::string("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQDXXXXXXXXXXX ada"), kSecret}) {
    EXPECT_TRUE(std::holds_alternative<std::string>(JwtVerifier::make(open, JwtVerifier::Keys::open, {})));
  }
}

TEST(Jwt, ACriticalHeaderIsRefused) {
  jwt_t* token = nullptr;
  jwt_new(&token);
  jwt_add_grants_json(token, claims().dump().c_str());
  jwt_add_headers_json(token, R"({"crit":["x"],"x":1})");
  jwt_set_alg(token, JWT_ALG_HS256, reinterpret_cast<const unsigned char*>(kSecret.c_str()), 32);
  char* const text = jwt_encode_str(token);
  EXPECT_THAT(problem(kSecret, text), HasSubstr("critical"));
  std::free(text);
  jwt_free(token);
}

}  // namespace
}  // namespace legated
