#include "daemon/inbound/jwt.h"

#include <jwt.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

namespace legated {
namespace {

using Json = nlohmann::json;
using Token = std::unique_ptr<jwt_t, decltype(&jwt_free)>;

constexpr size_t kMaxToken = 16'384;
constexpr size_t kMinSecret = 32;
constexpr size_t kMaxKnown = 4096;
constexpr std::string_view kBegin = "-----BEGIN ";

Token decode(const std::string& token, const std::string& key) {
  jwt_t* decoded = nullptr;
  const auto* bytes =
      key.empty() ? nullptr : reinterpret_cast<const unsigned char*>(key.c_str());
  if (jwt_decode(&decoded, token.c_str(), bytes, static_cast<int>(key.size())) != 0)
    decoded = nullptr;
  ERR_clear_error();  // gRPC on this thread would take what is left for its own
  return {decoded, jwt_free};
}

Json claims_of(jwt_t* token) {
  char* const text = jwt_get_grants_json(token, nullptr);
  Json claims = text == nullptr ? Json() : Json::parse(text, nullptr, false);
  std::free(text);
  return claims;
}

bool has_audience(const Json& claims, const std::string& wanted) {
  const auto found = claims.find("aud");
  if (found == claims.end()) return false;
  if (found->is_string()) return *found == wanted;
  return found->is_array() && std::ranges::find(*found, Json(wanted)) != found->end();
}

std::string text_claim(const Json& claims, const char* name) {
  const auto found = claims.find(name);
  return found != claims.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

std::string digest(std::string_view text) {
  std::string bytes(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(bytes.data()));
  return bytes;
}

std::variant<JwtVerifier, std::string> JwtVerifier::make(const std::string& text, Keys keys,
                                                         Rules rules) {
  std::vector<Key> list;
  if (keys == Keys::secret) {
    std::string secret = text.substr(0, text.find_last_not_of("\r\n") + 1);
    if (secret.size() < kMinSecret) return "has no secret key of 32 bytes or more";
    if (secret.find(kBegin) != secret.npos)
      return "is a key in PEM, which is no secret: leave out \"secret\"";
    list.push_back({Family::hmac, std::move(secret)});
    return JwtVerifier(std::move(list), std::move(rules));
  }
  if (text.find(kBegin) == text.npos) {
    return "has no public key in PEM (BEGIN PUBLIC KEY); if it is the secret of HS256, add \"secret\" "
           "behind its name";
  }
  for (size_t begin = text.find(kBegin); begin != text.npos;) {
    const size_t next = text.find(kBegin, begin + 1);
    const std::string block = text.substr(begin, next - begin);
    begin = next;
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
        BIO_new_mem_buf(block.data(), static_cast<int>(block.size())), BIO_free);
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
        PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
    ERR_clear_error();
    const int type = key == nullptr ? EVP_PKEY_NONE : EVP_PKEY_base_id(key.get());
    if (type != EVP_PKEY_RSA && type != EVP_PKEY_EC)
      return "has a block that is no public key (BEGIN PUBLIC KEY) of RSA or an elliptic curve";
    list.push_back({type == EVP_PKEY_RSA ? Family::rsa : Family::ec, block});
  }
  return JwtVerifier(std::move(list), std::move(rules));
}

JwtVerifier::Known JwtVerifier::examine(const std::string& token) const {
  const auto bad = [](std::string why) { return Known{{std::move(why), {}}, 0, 0}; };
  const Token unverified = decode(token, "");
  if (unverified == nullptr) return bad("the bearer token is no JWT");
  // The token says which algorithm it uses, so whoever made it could have a public key taken for a
  // secret: only algorithms of the key's own kind are tried.
  const std::unique_ptr<char, decltype(&std::free)> critical(
      jwt_get_headers_json(unverified.get(), "crit"), std::free);
  if (critical != nullptr) return bad("the bearer token has critical headers, of which none is known");
  const char* const named = jwt_get_header(unverified.get(), "alg");
  const jwt_alg_t algorithm = named == nullptr ? JWT_ALG_NONE : jwt_str_alg(named);
  Family family{};
  if (algorithm >= JWT_ALG_HS256 && algorithm <= JWT_ALG_HS512) {
    family = Family::hmac;
  } else if (algorithm >= JWT_ALG_RS256 && algorithm <= JWT_ALG_RS512) {
    family = Family::rsa;
  } else if (algorithm >= JWT_ALG_ES256 && algorithm <= JWT_ALG_ES512) {
    family = Family::ec;
  } else {
    return bad("the bearer token is not signed with HS, RS or ES");
  }
  Token verified{nullptr, jwt_free};
  for (const Key& key : keys_) {
    if (verified == nullptr && key.family == family) verified = decode(token, key.text);
  }
  if (verified == nullptr) return bad("the bearer token's signature is not of a trusted key");

  const Json claims = claims_of(verified.get());
  if (!claims.is_object()) return bad("the bearer token has no claims");
  const auto expires = claims.find("exp");
  if (expires == claims.end() || !expires->is_number())
    return bad("the bearer token has no time of expiry");
  if (!rules_.issuer.empty() && text_claim(claims, "iss") != rules_.issuer)
    return bad("the bearer token is of another issuer");
  if (!rules_.audience.empty() && !has_audience(claims, rules_.audience))
    return bad("the bearer token is for another audience");
  const auto seconds = [](double time) {
    constexpr double kFar = 1e15;
    return static_cast<Seconds>(std::min(std::max(time, -kFar), kFar));
  };
  const auto begins = claims.find("nbf");
  return {{"", text_claim(claims, "sub")},
          begins != claims.end() && begins->is_number() ? seconds(begins->get<double>())
                                                        : std::numeric_limits<Seconds>::min(),
          seconds(expires->get<double>())};
}

JwtVerifier::Verdict JwtVerifier::verify(const std::string& token, Seconds now) {
  if (token.size() > kMaxToken) return {"the bearer token is longer than 16384 bytes", {}};
  const std::string key = digest(token);
  auto known = known_.find(key);
  if (known == known_.end()) {
    Known examined = examine(token);
    if (!examined.verdict.problem.empty()) return std::move(examined.verdict);
    if (known_.size() >= kMaxKnown) known_.clear();
    known = known_.emplace(key, std::move(examined)).first;
  }
  if (now >= known->second.expires) {
    known_.erase(known);
    return {"the bearer token has expired", {}};
  }
  if (now < known->second.not_before) return {"the bearer token is not valid yet", {}};
  return known->second.verdict;
}

}  // namespace legated
