#include "daemon/grpc/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <utility>

#include "daemon/system/regular_file.h"

namespace legated {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using PrivateKey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

constexpr size_t kMaxPem = 1 << 20;

Bio reader(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free};
}

Certificate first_certificate(const std::string& text) {
  return {PEM_read_bio_X509(reader(text).get(), nullptr, nullptr, nullptr), X509_free};
}

PrivateKey private_key(const std::string& text) {
  // A key under a pass phrase is no key here; OpenSSL would ask the terminal.
  const auto no_phrase = [](char*, int, int, void*) { return -1; };
  return {PEM_read_bio_PrivateKey(reader(text).get(), nullptr, no_phrase, nullptr), EVP_PKEY_free};
}

std::string check(const Pem& roots, const Pem& certificate, const Pem& key) {
  for (const Pem* pem : {&roots, &certificate, &key}) {
    if (!pem->problem.empty()) return pem->problem;
    if (pem->text.size() > kMaxPem) return pem->name + " is longer than 1 MiB";
  }
  if (!roots.text.empty() && first_certificate(roots.text) == nullptr)
    return roots.name + " has no certificate in PEM";
  if (certificate.text.empty() != key.text.empty())
    return "certificate and key belong together: " +
           (key.text.empty() ? key.name : certificate.name) + " is missing";
  if (key.text.empty()) return {};
  const Certificate own = first_certificate(certificate.text);
  if (own == nullptr) return certificate.name + " has no certificate in PEM";
  const PrivateKey secret = private_key(key.text);
  if (secret == nullptr) return key.name + " has no private key in PEM, or one with a pass phrase";
  if (X509_check_private_key(own.get(), secret.get()) != 1)
    return key.name + " is not the key of the first certificate of " + certificate.name;
  return {};
}

}  // namespace

Pem load_pem(const char* field, const std::string& text, const char* key, const std::string& path) {
  if (path.empty()) return {.name = field, .text = text};
  Pem pem{.name = std::string(key) + " " + path, .text = {}};
  FileText file = read_regular_file(path, kMaxPem);
  if (!file.problem.empty()) pem.problem = pem.name + " " + file.problem;
  pem.text = std::move(file.text);
  return pem;
}

std::string problem_with(const Pem& roots, const Pem& certificate, const Pem& key) {
  std::string problem = check(roots, certificate, key);
  ERR_clear_error();  // gRPC on this thread would take what is left for its own
  return problem;
}

}  // namespace legated
