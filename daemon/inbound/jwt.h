#pragma once
// Verification of JSON Web Tokens (RFC 7519) with given keys. One owner, one thread; time is passed
// in.

#include <cstdint>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

namespace legated {

class JwtVerifier {
 public:
  /// Empty: any.
  struct Rules {
    std::string issuer;
    std::string audience;
  };

  enum class Keys : uint8_t { open, secret };

  /// `text` is public keys in PEM, RSA and EC, of which one must fit; or the secret of HS256 and its
  /// like, at least 32 bytes. Never guessed: a public key that were taken for a secret would let
  /// anybody in. Otherwise what is wrong with them, which quotes nothing.
  static std::variant<JwtVerifier, std::string> make(const std::string& text, Keys keys, Rules rules);

  /// Seconds since 1970.
  using Seconds = int64_t;

  struct Verdict {
    std::string problem;  // for the caller; empty: the token is good
    std::string subject;  // claim "sub", may be empty
  };
  /// A token must have a time of expiry.
  Verdict verify(const std::string& token, Seconds now);

 private:
  enum class Family : uint8_t { hmac, rsa, ec };
  struct Key {
    Family family;
    std::string text;  // a PEM block, or the secret
  };
  struct Known {
    Verdict verdict;
    Seconds not_before;
    Seconds expires;
  };

  JwtVerifier(std::vector<Key> keys, Rules rules)
      : keys_(std::move(keys)), rules_(std::move(rules)) {}
  Known examine(const std::string& token) const;

  std::vector<Key> keys_;
  Rules rules_;
  // Good tokens by their digest: a signature is checked once, not with every call.
  std::unordered_map<std::string, Known> known_;
};

/// SHA-256, 32 bytes.
std::string digest(std::string_view text);

}  // namespace legated
