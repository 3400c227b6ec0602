#include "daemon/inbound/server_credentials.h"

#include <grpc/grpc_security_constants.h>

#include <array>
#include <mutex>
#include <utility>

#include "daemon/grpc/pem.h"
#include "daemon/system/watched_file.h"
#include "daemon/telemetry/log.h"

namespace legated {
namespace {

constexpr grpc_ssl_client_certificate_request_type kRequests[] = {
    GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
    GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY,
    GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
};

bool uses_files(const ServerSettings& settings) {
  return !settings.tls_certificate_file.empty();
}

}  // namespace

/// What handshakes are made with; the one thing here that other threads see.
struct ServerCredentials::Certificates {
  std::mutex mutex;  // guards all below
  std::string roots;
  std::string certificate;
  std::string key;
  bool fresh = true;  // gRPC has not had them yet

  void set(std::string new_roots, std::string new_certificate, std::string new_key) {
    const std::lock_guard lock(mutex);
    roots = std::move(new_roots);
    certificate = std::move(new_certificate);
    key = std::move(new_key);
    fresh = true;
  }

  /// gRPC asks at each handshake.
  static grpc_ssl_certificate_config_reload_status fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    auto& certificates = *static_cast<Certificates*>(self);
    const std::lock_guard lock(certificates.mutex);
    if (!certificates.fresh) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    certificates.fresh = false;
    const grpc_ssl_pem_key_cert_pair pair{certificates.key.c_str(),
                                          certificates.certificate.c_str()};
    // gRPC aborts without any. Where no client certificate is asked for, these are not looked at.
    const std::string& roots =
        certificates.roots.empty() ? certificates.certificate : certificates.roots;
    *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }
};

/// Looks at the files from time to time. What is mistaken is told in the log, and changes nothing.
class ServerCredentials::Files {
 public:
  Files(Loop& loop, const ServerSettings& settings, Certificates& certificates)
      : loop_(loop),
        every_(settings.tls_refresh),
        certificates_(certificates),
        roots_(settings.tls_client_roots_file),
        certificate_(settings.tls_certificate_file),
        key_(settings.tls_key_file),
        timer_(loop, [this] { look(); }) {
    look();
  }

 private:
  void look() {
    timer_.set(loop_.now() + every_);
    std::string problem;
    for (WatchedFile* file : {&roots_, &certificate_, &key_}) {
      if (file->path().empty()) continue;
      switch (file->refresh(Loop::Clock::now())) {
        case WatchedFile::Look::same: break;
        case WatchedFile::Look::changed: unused_ = true; break;
        case WatchedFile::Look::failed: problem = file->problem(); break;
      }
    }
    // Often half of a change: the key is replaced in a moment.
    if (problem.empty() && unused_) problem = problem_with(pem(roots_), pem(certificate_), pem(key_));
    if (problem != std::exchange(told_, problem) && !problem.empty()) {
      log::warn("tls_files_problem",
                {{"problem", problem}, {"remedy", "the certificate there was is used on"}});
    }
    if (!problem.empty() || !unused_) return;
    unused_ = false;
    certificates_.set(roots_.content(), certificate_.content(), key_.content());
    log::info("tls_files_read", {{"certificate", certificate_.path()}});
  }

  static Pem pem(const WatchedFile& file) { return {.name = file.path(), .text = file.content()}; }

  Loop& loop_;
  const std::chrono::seconds every_;
  Certificates& certificates_;
  WatchedFile roots_;
  WatchedFile certificate_;
  WatchedFile key_;
  bool unused_ = false;  // the contents have changed since they were set
  std::string told_;     // the problem that the log has been told of
  Timer timer_;
};

std::string problem_with_tls(const ServerSettings& settings) {
  const bool any = !settings.tls_certificate.empty() || !settings.tls_key.empty() ||
                   !settings.tls_client_roots.empty() || !settings.tls_certificate_file.empty() ||
                   !settings.tls_key_file.empty() || !settings.tls_client_roots_file.empty() ||
                   settings.tls_client_auth != ClientAuth::none;
  if (!settings.tls) return any ? "keys beginning with tls_ need tls = true" : "";
  if (settings.tls_client_auth > ClientAuth::require)
    return "client_auth must be none, request or require";
  const Pem roots = load_pem("tls roots", settings.tls_client_roots, "tls_client_roots_file",
                             settings.tls_client_roots_file);
  const Pem certificate = load_pem("tls certificate", settings.tls_certificate,
                                   "tls_certificate_file", settings.tls_certificate_file);
  const Pem key = load_pem("tls key", settings.tls_key, "tls_key_file", settings.tls_key_file);
  if (std::string problem = problem_with(roots, certificate, key); !problem.empty()) return problem;
  if (certificate.text.empty()) return "tls needs a certificate and its key";
  const bool asks = settings.tls_client_auth != ClientAuth::none;
  if (asks && roots.text.empty())
    return "client certificates are asked for, and " + roots.name + " names no authority for them";
  return {};
}

ServerCredentials::ServerCredentials(Loop& loop, const ServerSettings& settings)
    : settings_(settings), certificates_(std::make_shared<Certificates>()) {
  if (uses_files(settings)) {
    files_ = std::make_unique<Files>(loop, settings, *certificates_);
  } else {
    certificates_->set(settings.tls_client_roots, settings.tls_certificate, settings.tls_key);
  }
}

ServerCredentials::~ServerCredentials() = default;

grpc_server_credentials* ServerCredentials::make() {
  if (!settings_.tls) return grpc_insecure_server_credentials_create();
  return grpc_ssl_server_credentials_create_with_options(
      grpc_ssl_server_credentials_create_options_using_config_fetcher(
          kRequests[static_cast<size_t>(settings_.tls_client_auth)], &Certificates::fetch,
          certificates_.get()));
}

size_t ClientIdentity::size() const {
  constexpr size_t kOfString = 12;  // its length, its place, its end
  size_t bytes = subject.size() + certificate.size();
  for (const std::string& name : names) bytes += name.size() + kOfString;
  return bytes;
}

ClientIdentity identity_of(grpc_call* call) {
  ClientIdentity identity;
  grpc_auth_context* const context = grpc_call_auth_context(call);
  if (context == nullptr) return identity;
  const auto each = [&](const char* property, auto take) {
    auto iterator = grpc_auth_context_find_properties_by_name(context, property);
    while (const auto* found = grpc_auth_property_iterator_next(&iterator))
      take(std::string(found->value, found->value_length));
  };
  each(GRPC_X509_PEM_CERT_PROPERTY_NAME, [&](std::string text) { identity.certificate = std::move(text); });
  each(GRPC_X509_SUBJECT_PROPERTY_NAME, [&](std::string text) { identity.subject = std::move(text); });
  static constexpr std::array<std::pair<const char*, const char*>, 4> kNames = {{
      {GRPC_PEER_DNS_PROPERTY_NAME, "dns:"},
      {GRPC_PEER_URI_PROPERTY_NAME, "uri:"},
      {GRPC_PEER_IP_PROPERTY_NAME, "ip:"},
      {GRPC_PEER_EMAIL_PROPERTY_NAME, "email:"},
  }};
  for (const auto& [property, kind] : kNames)
    each(property, [&, kind = kind](const std::string& text) { identity.names.push_back(kind + text); });
  grpc_auth_context_release(context);
  return identity;
}

}  // namespace legated
