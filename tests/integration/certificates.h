#pragma once
// Certificates for the tests of TLS, made on the spot with OpenSSL. All in PEM. Any thread.

#include <memory>
#include <string>

namespace legated::test {

/// A certificate and its private key.
struct Identity {
  std::string certificate;
  std::string key;
};

/// An authority that signs what the test asks for.
class Authority {
 public:
  enum class Validity { now, over, not_yet };

  Authority();
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  /// Its own certificate: what a side that trusts it has as its roots.
  const std::string& certificate() const { return certificate_; }

  /// `names` as OpenSSL writes subject alternative names: "DNS:localhost,IP:127.0.0.1".
  Identity issue(const std::string& names = "DNS:localhost,IP:127.0.0.1",
                 Validity validity = Validity::now) const;

 private:
  struct Signer;
  std::unique_ptr<Signer> signer_;
  std::string certificate_;
};

/// Puts the text into the file in one step, as an operator's tool that renews certificates does.
void replace_file(const std::string& path, const std::string& text);

}  // namespace legated::test
