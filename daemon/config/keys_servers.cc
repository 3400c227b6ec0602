// The keys of the section [servers.NAME].
#include "daemon/config/key_kinds.h"

namespace legated {

using namespace key_kinds;

std::vector<Key> server_keys(const std::string& name) {
  using S = ServerSettings;
  const std::string section = "servers." + name;
  const auto about = [&](std::string_view key, std::string_view reason) {
    return About{section, key, reason};
  };
  const auto field = [&](auto member) { return NamedField{&Config::servers, name, member}; };
  return {
      lines(about("addresses", "Where it listens, one port for all that name the same."),
            field(&S::addresses),
            "`HOST:PORT`, `[V6]:PORT`, `unix:PATH`, `systemd:NAME`; HOST a number or `localhost`"),
      mode(about("unix_mode", "Permission bits of its Unix sockets; 0000: `inbound.unix_mode`."),
           field(&S::unix_mode)),
      flag(about("serve_at_start", "Answer before a worker has asked for it: calls wait, health tells."),
           field(&S::serve_at_start)),
      flag(about("tls", "TLS, 1.2 or later."), field(&S::tls)),
      text(about("tls_certificate_file", "PEM: the chain shown to clients."),
           field(&S::tls_certificate_file), 0, 4095),
      text(about("tls_key_file", "PEM: its private key. Readable by the daemon only."),
           field(&S::tls_key_file), 0, 4095),
      text(about("tls_client_roots_file", "PEM: authorities of client certificates."),
           field(&S::tls_client_roots_file), 0, 4095),
      choice(about("tls_client_auth",
                   "Whether a client must show a certificate. One that is shown must verify."),
             field(&S::tls_client_auth),
             {{"none", ClientAuth::none},
              {"request", ClientAuth::request},
              {"require", ClientAuth::require}}),
      duration(about("tls_refresh", "How often the files are looked at for changes."),
               field(&S::tls_refresh), std::chrono::seconds(1), std::chrono::seconds(24h)),
      choice(about("compression", "Of answers, unless the worker says otherwise."),
             field(&S::compression),
             {{"identity", Compression::identity},
              {"deflate", Compression::deflate},
              {"gzip", Compression::gzip}}),
      size(about("max_send_message", "One answer; 0: `limits.max_message`."),
           field(&S::max_send_message), 0, kGiB),
      size(about("max_receive_message", "One request; 0: `limits.max_message`."),
           field(&S::max_receive_message), 0, kGiB),
      size(about("max_metadata", "One metadata list; 0: `limits.max_metadata`."),
           field(&S::max_metadata), 0, 64 * kKiB),
      count(about("max_connections", "gRPC connections; 0: `inbound.max_connections`."),
            field(&S::max_connections), 0, 1'000'000),
      count(about("max_concurrent_streams",
                  "Calls of one connection; 0: `inbound.max_concurrent_streams`."),
            field(&S::max_concurrent_streams), 0, 1'000'000),
      size(about("memory", "What gRPC may hold for the connections, from 1MiB on; 0: `inbound.memory`."),
           field(&S::memory), 0, 64 * kGiB),
      duration(about("keepalive_time", "Silence before the server pings a client; 0s: gRPC's 2h."),
               field(&S::keepalive_time), 0ms, milliseconds(24h)),
      duration(about("keepalive_timeout", "Wait for its answer; 0s: gRPC's 20s."),
               field(&S::keepalive_timeout), 0ms, milliseconds(1h)),
      duration(about("min_ping_interval",
                     "A client that pings more often is sent away; 0s: gRPC's 5min."),
               field(&S::min_ping_interval), 0ms, milliseconds(24h)),
      flag(about("ping_without_calls", "Clients may ping while they have no call open."),
           field(&S::ping_without_calls)),
      duration(about("max_connection_idle", "Without calls before it is closed; 0s: never."),
               field(&S::max_connection_idle), 0ms, milliseconds(24h)),
      duration(about("max_connection_age", "Then it is closed, gracefully; 0s: never."),
               field(&S::max_connection_age), 0ms, milliseconds(24h)),
      duration(about("max_connection_age_grace", "For the calls it still has; 0s: no end."),
               field(&S::max_connection_age_grace), 0ms, milliseconds(24h)),
      text(about("sticky", "Metadata key: calls with equal values go to the same worker."),
           field(&S::sticky), 0, 255, "string"),
      lines(about("policies", "What legated does to each call, in this order."),
            field(&S::policies), "see [policies](policies.md); on the command line separated by `;`"),
      flag(about("access_log", "An event in the log for each call."), field(&S::access_log)),
      flag(about("health", "Serve grpc.health.v1."), field(&S::health)),
      flag(about("reflection", "Serve grpc.reflection.v1 and v1alpha."), field(&S::reflection)),
      flag(about("channelz",
                 "Serve grpc.channelz.v1, which tells everyone about connections and channels."),
           field(&S::channelz)),
  };
}

}  // namespace legated
