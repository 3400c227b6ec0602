import Legate.CallOptions
import Legate.Credentials

/-!
# Server options

What can be chosen for a port. 0 and empty are the daemon's defaults, section `[inbound]` of its configuration, or
else gRPC's; sizes are in bytes. The daemon checks ranges: it refuses to bind a port with the reason.
-/

namespace Legate

/-- What can be chosen for a port. -/
structure ServerOptions where
  /-- TLS toward clients; none: plaintext. -/
  credentials : Option SslServerCredentials := none
  /-- Of answers. -/
  compression : Compression := .inherit
  /-- Largest message to send; 0: the daemon's limit, which is also the most. -/
  maxSendMessage : UInt32 := 0
  /-- Largest message to receive; 0: likewise. -/
  maxReceiveMessage : UInt32 := 0
  /-- Largest metadata list; 0: likewise. -/
  maxMetadata : UInt32 := 0
  /-- Connections of clients; further ones are closed at once. -/
  maxConnections : UInt32 := 0
  /-- Calls at once of one connection. -/
  maxConcurrentStreams : UInt32 := 0
  /-- Bytes gRPC may use for the port's connections. -/
  memory : UInt64 := 0
  /-- Milliseconds of silence before the server pings a client. -/
  keepaliveTimeMs : UInt32 := 0
  /-- Milliseconds to wait for the answer to a ping. -/
  keepaliveTimeoutMs : UInt32 := 0
  /-- Milliseconds between pings of a client, at least: one that pings more often is sent away. -/
  minPingIntervalMs : UInt32 := 0
  /-- Whether clients may ping while they have no call open. -/
  pingWithoutCalls : Bool := false
  /-- Milliseconds without calls before a connection is closed. -/
  maxConnectionIdleMs : UInt32 := 0
  /-- Milliseconds before a connection is closed, gracefully. -/
  maxConnectionAgeMs : UInt32 := 0
  /-- Milliseconds for the calls that it still has then. -/
  maxConnectionAgeGraceMs : UInt32 := 0
  /-- A metadata key: calls with equal values go to the same worker. -/
  sticky : String := ""
  /-- Policies of the daemon's configuration that each call goes through, in this order. -/
  policies : Array String := #[]
  /-- Whether the port answers `grpc.health.v1`; none: as the daemon's configuration says. -/
  health : Option Bool := none
  /-- Whether it answers `grpc.reflection`; likewise. -/
  reflection : Option Bool := none
  /-- Whether it answers `grpc.channelz.v1`; likewise. -/
  channelz : Option Bool := none
  deriving BEq, Inhabited

end Legate
