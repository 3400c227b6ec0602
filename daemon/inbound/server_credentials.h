#pragma once
// TLS of a gRPC server: certificates that are read again when their files have changed, and who the
// client is. The loop's thread, but for what gRPC asks during a handshake.

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <memory>
#include <string>
#include <vector>

#include "daemon/config/server_settings.h"
#include "daemon/system/loop.h"

namespace legated {

/// Why the settings' certificates and keys can't be used, naming the field or file; empty: they can.
std::string problem_with_tls(const ServerSettings& settings);

class ServerCredentials {
 public:
  /// Only when there is no problem with the settings.
  ServerCredentials(Loop& loop, const ServerSettings& settings);
  ~ServerCredentials();
  ServerCredentials(const ServerCredentials&) = delete;
  ServerCredentials& operator=(const ServerCredentials&) = delete;

  /// The caller releases them; this must outlive the server.
  grpc_server_credentials* make();

 private:
  struct Certificates;
  class Files;

  const ServerSettings& settings_;
  std::shared_ptr<Certificates> certificates_;
  std::unique_ptr<Files> files_;  // null without files
};

/// Who the client of the call is, by the certificate that TLS has verified. All empty when it showed
/// none.
struct ClientIdentity {
  std::string subject;             // as RFC 2253 writes it
  std::vector<std::string> names;  // "dns:…", "uri:…", "ip:…", "email:…"
  std::string certificate;         // PEM

  bool empty() const { return certificate.empty(); }
  /// Bytes of a START that it takes, about.
  size_t size() const;
};
ClientIdentity identity_of(grpc_call* call);

}  // namespace legated
