#include "daemon/outbound/credentials.h"

#include "daemon/grpc/pem.h"

namespace legated {
namespace {

grpc_channel_credentials* from_text(const ChannelSettings& settings) {
  grpc_ssl_pem_key_cert_pair pair{settings.tls_key.c_str(), settings.tls_certificate.c_str()};
  return grpc_ssl_credentials_create(
      settings.tls_roots.empty() ? nullptr : settings.tls_roots.c_str(),
      settings.tls_key.empty() ? nullptr : &pair, nullptr, nullptr);
}

grpc_channel_credentials* from_files(const ChannelSettings& settings) {
  const auto path = [](const std::string& text) { return text.empty() ? nullptr : text.c_str(); };
  grpc_tls_certificate_provider* const files = grpc_tls_certificate_provider_file_watcher_create(
      path(settings.tls_key_file), path(settings.tls_certificate_file),
      path(settings.tls_roots_file), static_cast<unsigned>(settings.tls_refresh.count()));
  grpc_tls_credentials_options* const options = grpc_tls_credentials_options_create();
  grpc_tls_credentials_options_set_certificate_provider(options, files);
  if (!settings.tls_roots_file.empty()) grpc_tls_credentials_options_watch_root_certs(options);
  if (!settings.tls_key_file.empty())
    grpc_tls_credentials_options_watch_identity_key_cert_pairs(options);
  grpc_tls_certificate_provider_release(files);
  return grpc_tls_credentials_create(options);
}

}  // namespace

std::string problem_with_tls(const ChannelSettings& settings) {
  const bool any = !settings.tls_roots.empty() || !settings.tls_certificate.empty() ||
                   !settings.tls_key.empty() || !settings.tls_roots_file.empty() ||
                   !settings.tls_certificate_file.empty() || !settings.tls_key_file.empty() ||
                   !settings.tls_server_name.empty();
  if (!settings.tls) return any ? "keys beginning with tls_ need tls = true" : "";
  return problem_with(
      load_pem("tls roots", settings.tls_roots, "tls_roots_file", settings.tls_roots_file),
      load_pem("tls certificate", settings.tls_certificate, "tls_certificate_file",
               settings.tls_certificate_file),
      load_pem("tls key", settings.tls_key, "tls_key_file", settings.tls_key_file));
}

grpc_channel_credentials* credentials_for(const ChannelSettings& settings) {
  if (!settings.tls) return grpc_insecure_credentials_create();
  const bool files = !settings.tls_roots_file.empty() || !settings.tls_key_file.empty();
  return files ? from_files(settings) : from_text(settings);
}

std::string explain_failure(const ChannelSettings& settings, std::string_view message) {
  const auto says = [&](std::string_view text) { return message.find(text) != message.npos; };
  if (!says("failed to connect to all addresses") && !says("connections to all backends failing"))
    return {};
  const bool own = !settings.tls_key.empty() || !settings.tls_key_file.empty();
  if (says("certificate verify failed")) {
    return "the server's certificate has expired, is not valid yet, or comes from none of the "
           "trusted authorities (tls roots)";
  }
  if (says("is not in peer certificate") || says("Hostname Verification Check failed")) {
    return "the server's certificate is for another name; expected is the target's host, or tls "
           "server_name";
  }
  if (says("Failed to create security handshaker")) {
    return "the channel's TLS files can't be used: one is missing or no PEM, or certificate and key do not "
           "belong together";
  }
  if (says("WRONG_VERSION_NUMBER") || says("wrong version number"))
    return "the server does not speak TLS on this port, the channel does";
  if (says("alert ")) {
    return own ? "the server does not accept the channel's certificate"
               : "the server demands a certificate of the channel (tls certificate, key), or does not "
                 "agree on TLS";
  }
  // The server has taken the connection and left at once: with TLS 1.3 so it refuses certificates.
  // Whether that shows on reading or on writing is a matter of timing.
  if (!says("Socket closed") && !says("Endpoint read failed") && !says("Connection reset") &&
      !says("Broken pipe"))
    return {};
  if (!settings.tls) return "the server closed the connection at once; it may demand TLS";
  return own ? "the server closed the connection at once; it may not trust the channel's certificate"
             : "the server closed the connection at once; it may demand a certificate of the "
               "channel (tls certificate, key)";
}

}  // namespace legated
