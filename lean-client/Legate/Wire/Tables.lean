import Legate.Wire.Enums
import Legate.Wire.Text

/-!
# The meta tables of `legate.fbs`

One structure for each, with the schema's defaults. Strings, vectors and tables that the schema does not
require are `Option`s: absent is not empty.
-/

namespace Legate.Wire

/-- One metadata element. -/
structure Entry where
  /-- Lower-case name. -/
  key : Text
  /-- Any bytes for keys ending in `-bin`, else ASCII. -/
  value : ByteArray
  deriving BEq, DecidableEq, Inhabited

/-- HELLO, peer → daemon: the first frame of a connection. -/
structure Hello where
  /-- Lowest protocol version the peer speaks. -/
  versionMin : UInt16 := 1
  /-- Highest protocol version the peer speaks. -/
  versionMax : UInt16 := 1
  /-- Feature bits the sender understands. -/
  features : UInt32 := 0
  /-- Wanted roles. -/
  roles : Roles := 0
  /-- What the process is called in logs. -/
  name : Option Text := none
  /-- Tells two processes of the same name apart. -/
  instanceName : Option Text := none
  /-- Library and version. -/
  build : Option Text := none
  /-- Largest payload the sender takes in one frame, in bytes. -/
  maxFrame : UInt32 := 65536
  /-- Initial receive credit per call, in bytes. -/
  callWindow : UInt32 := 262144
  /-- Initial receive credit of the connection, in bytes. -/
  connectionWindow : UInt32 := 4194304
  deriving BEq, DecidableEq, Inhabited

/-- What the daemon will hold its peer to. All sizes in bytes. -/
structure Limits where
  /-- Largest payload of one frame. -/
  maxFrame : UInt32 := 0
  /-- Largest meta table of one frame. -/
  maxMeta : UInt32 := 0
  /-- Initial credit per call, peer → daemon. -/
  callWindow : UInt32 := 0
  /-- Initial credit of the connection, peer → daemon. -/
  connectionWindow : UInt32 := 0
  /-- Largest gRPC message in either direction. -/
  maxMessage : UInt32 := 0
  /-- Largest sum of key and value bytes of one metadata list. -/
  maxMetadata : UInt32 := 0
  /-- Calls open at once on this connection, per direction. -/
  maxCalls : UInt32 := 0
  /-- Message bytes the daemon holds for this connection. -/
  memoryBudget : UInt64 := 0
  deriving BEq, DecidableEq, Inhabited

/-- HELLO_ACK, daemon → peer. -/
structure HelloAck where
  /-- The chosen version. -/
  version : UInt16 := 0
  /-- Feature bits both sides understand. -/
  features : UInt32 := 0
  /-- Granted roles. -/
  roles : Roles := 0
  /-- Number of this connection within the epoch. -/
  session : UInt32 := 0
  /-- Changes with every start of the daemon. -/
  epoch : Option Text := none
  /-- The daemon's version. -/
  build : Option Text := none
  /-- An idle daemon sends PING this often. -/
  heartbeatMs : UInt32 := 0
  /-- What the daemon holds the peer to. -/
  limits : Limits
  deriving BEq, DecidableEq, Inhabited

/-- ERROR, either way: the last frame of a connection that fails. -/
structure Error where
  /-- Why. -/
  code : ErrorCode := 0
  /-- Problem, cause and what to do. -/
  message : Text
  /-- Type of the offending frame, 0 when there is none. -/
  frameType : UInt8 := 0
  deriving BEq, DecidableEq, Inhabited

/-- GOAWAY, either way. -/
structure Goaway where
  /-- `false`: announcement; `true`: nothing new is taken after `lastId`. -/
  final : Bool := false
  /-- Highest id of the receiver's that is or will be served. -/
  lastId : UInt32 := 0
  /-- Calls still open after this time are ended. -/
  graceMs : UInt32 := 0
  /-- The daemon's epoch. -/
  epoch : Option Text := none
  /-- Why it leaves. -/
  reason : Option Text := none
  deriving BEq, DecidableEq, Inhabited

/-- Who the remote client is, from the certificate that TLS has verified. -/
structure Identity where
  /-- Distinguished name as RFC 2253 writes it, may be empty. -/
  subject : Option Text := none
  /-- Subject alternative names: "dns:…", "uri:…", "ip:…", "email:…". -/
  names : Option (Array Text) := none
  /-- The certificate itself, PEM. -/
  certificate : Option Text := none
  deriving BEq, DecidableEq, Inhabited

/-- START, either way: opens a call (peer → daemon) or dispatches one (daemon → peer). -/
structure Start where
  /-- "/package.Service/Method". -/
  method : Text
  /-- Metadata of the caller. -/
  metadata : Option (Array Entry) := none
  /-- Time left until the deadline, in microseconds; 0 = no deadline. -/
  timeoutUs : UInt64 := 0
  /-- Id of the OPEN_CHANNEL request (peer → daemon). -/
  channel : UInt32 := 0
  /-- How many messages go each way (peer → daemon). -/
  shape : Shape := 0
  /-- Whether the call waits for a connection (peer → daemon). -/
  waitForReady : Bool := false
  /-- Id of the REGISTER request this call was chosen by (daemon → peer). -/
  lease : UInt32 := 0
  /-- The `:authority` of the call (daemon → peer). -/
  authority : Option Text := none
  /-- Address of the remote client, as gRPC spells it (daemon → peer). -/
  peer : Option Text := none
  /-- Time spent waiting for a worker, in microseconds (daemon → peer). -/
  queuedUs : UInt64 := 0
  /-- Of this call's messages (peer → daemon). -/
  compression : Compression := 0
  /-- Bytes of one message; 0 = the channel's. -/
  maxSendMessage : UInt32 := 0
  /-- Bytes of one message; 0 = the channel's. -/
  maxReceiveMessage : UInt32 := 0
  /-- May be made more than once: hedging, where the channel has it (peer → daemon). -/
  idempotent : Bool := false
  /-- Absent: the client showed no certificate that was verified (daemon → peer). -/
  identity : Option Identity := none
  deriving BEq, DecidableEq, Inhabited

/-- HEADERS: initial metadata of the answering side. -/
structure Headers where
  /-- The metadata. -/
  metadata : Option (Array Entry) := none
  /-- Of this call's answers (peer → daemon). -/
  compression : Compression := 0
  deriving BEq, DecidableEq, Inhabited

/-- STATUS: the one end of a call or of a request. -/
structure Status where
  /-- gRPC status code. -/
  code : UInt16 := 0
  /-- For people. -/
  message : Option Text := none
  /-- Bytes of grpc-status-details-bin; absent when there were none. -/
  details : Option ByteArray := none
  /-- Trailing metadata. -/
  trailers : Option (Array Entry) := none
  /-- Who decided. -/
  origin : Origin := 0
  /-- From START to STATUS, in microseconds (daemon → peer). -/
  elapsedUs : UInt64 := 0
  /-- Times the call was sent off, tries and hedges; 0: never (daemon → peer). -/
  attempts : UInt32 := 0
  deriving BEq, DecidableEq, Inhabited

/-- TLS toward the remote side. PEM text, never a path. -/
structure Tls where
  /-- Authorities to trust; absent: the system's. -/
  roots : Option Text := none
  /-- Chain that the daemon presents, its own certificate first. -/
  certificate : Option Text := none
  /-- Private key of that certificate; both or neither. -/
  key : Option Text := none
  /-- Looked for in the server's certificate instead of the target's host. -/
  serverName : Option Text := none
  deriving BEq, DecidableEq, Inhabited

/-- When a call is tried again. -/
structure Retry where
  /-- In all, at least 2. -/
  attempts : UInt8 := 0
  /-- First wait. -/
  initialBackoffMs : UInt32 := 100
  /-- Longest wait. -/
  maxBackoffMs : UInt32 := 1000
  /-- Growth of the wait. -/
  multiplierPercent : UInt16 := 200
  /-- Status codes that are tried again; absent: UNAVAILABLE. -/
  codes : Option ByteArray := none
  /-- A failed call takes one; below half of them nothing is tried again. 0 = no such limit. -/
  throttleTokens : UInt16 := 0
  /-- What a good call returns, in thousandths of a token. -/
  throttlePermille : UInt16 := 100
  deriving BEq, DecidableEq, Inhabited

/-- A call marked idempotent is made again when no answer has come in time. -/
structure Hedging where
  /-- In all, at least 2. -/
  attempts : UInt8 := 0
  /-- Before each further one; 0 = all at once. -/
  delayMs : UInt32 := 0
  /-- Status codes after which the next goes out at once; absent: UNAVAILABLE. -/
  codes : Option ByteArray := none
  deriving BEq, DecidableEq, Inhabited

/-- What can be chosen for a channel. 0 and absent are gRPC's defaults. -/
structure ChannelOptions where
  /-- Absent: plaintext. -/
  tls : Option Tls := none
  /-- Sent as `:authority` instead of the target's host. -/
  authority : Option Text := none
  /-- Put before gRPC's own. -/
  userAgent : Option Text := none
  /-- "pick_first", the default, or "round_robin". -/
  loadBalancing : Option Text := none
  /-- JSON as gRPC defines it. -/
  serviceConfig : Option Text := none
  /-- Of the channel's calls. -/
  compression : Compression := 0
  /-- Bytes of one message; 0 = the daemon's limit. -/
  maxSendMessage : UInt32 := 0
  /-- Bytes of one message; 0 = the daemon's limit. -/
  maxReceiveMessage : UInt32 := 0
  /-- Bytes of one metadata list; 0 = the daemon's limit. -/
  maxMetadata : UInt32 := 0
  /-- Silence before a ping; 0 = no pings. -/
  keepaliveTimeMs : UInt32 := 0
  /-- Wait for the answer. -/
  keepaliveTimeoutMs : UInt32 := 0
  /-- Whether to ping without calls. -/
  keepaliveWithoutCalls : Bool := false
  /-- Of one attempt to connect. -/
  connectTimeoutMs : UInt32 := 0
  /-- Between attempts to connect. -/
  initialBackoffMs : UInt32 := 0
  /-- Between attempts to connect, at most. -/
  maxBackoffMs : UInt32 := 0
  /-- Without calls before connections are closed. -/
  idleTimeoutMs : UInt32 := 0
  /-- Least time between resolutions. -/
  dnsIntervalMs : UInt32 := 0
  /-- When calls are tried again. -/
  retry : Option Retry := none
  /-- What the daemon does to each call, in this order. -/
  policies : Option (Array Text) := none
  /-- Sent with each call as "authorization: Bearer …"; needs `tls`. -/
  token : Option Text := none
  /-- When an idempotent call is made more than once. -/
  hedging : Option Hedging := none
  deriving BEq, DecidableEq, Inhabited

/-- OPEN_CHANNEL, peer → daemon. -/
structure OpenChannel where
  /-- A gRPC target, or "legated:///NAME". -/
  target : Text
  /-- Absent: all defaults. -/
  options : Option ChannelOptions := none
  /-- Whether CHANNEL_STATE is to follow each change. -/
  watch : Bool := false
  deriving BEq, DecidableEq, Inhabited

/-- CHANNEL_OPENED, daemon → peer. -/
structure ChannelOpened where
  /-- Another user already held an equal channel. -/
  shared : Bool := false
  /-- Idle 0, connecting 1, ready 2, transient failure 3, shutdown 4. -/
  state : UInt8 := 0
  deriving BEq, DecidableEq, Inhabited

/-- TLS toward remote clients. PEM text, never a path. -/
structure ServerTls where
  /-- Chain, its own certificate first. -/
  certificate : Text
  /-- Private key of that certificate. -/
  key : Text
  /-- Authorities of client certificates; needed unless `clientAuth` is none. -/
  roots : Option Text := none
  /-- What is asked of clients. -/
  clientAuth : ClientAuth := 0
  deriving BEq, DecidableEq, Inhabited

/-- What can be chosen for a server. 0 and absent are the daemon's defaults, or else gRPC's. -/
structure ListenOptions where
  /-- Absent: plaintext. -/
  tls : Option ServerTls := none
  /-- Of answers. -/
  compression : Compression := 0
  /-- Bytes of one message; 0 = the daemon's limit. -/
  maxSendMessage : UInt32 := 0
  /-- Bytes of one message; 0 = the daemon's limit. -/
  maxReceiveMessage : UInt32 := 0
  /-- Bytes of one metadata list; 0 = the daemon's limit. -/
  maxMetadata : UInt32 := 0
  /-- Further ones are closed at once. -/
  maxConnections : UInt32 := 0
  /-- Calls of one connection. -/
  maxConcurrentStreams : UInt32 := 0
  /-- Bytes gRPC may use for this server's connections. -/
  memory : UInt64 := 0
  /-- Silence before the server pings a client. -/
  keepaliveTimeMs : UInt32 := 0
  /-- Wait for the answer. -/
  keepaliveTimeoutMs : UInt32 := 0
  /-- A client that pings more often is sent away. -/
  minPingIntervalMs : UInt32 := 0
  /-- Clients may ping while they have no call open. -/
  pingWithoutCalls : Bool := false
  /-- Without calls before a connection is closed. -/
  maxConnectionIdleMs : UInt32 := 0
  /-- Then a connection is closed, gracefully. -/
  maxConnectionAgeMs : UInt32 := 0
  /-- For the calls it still has. -/
  maxConnectionAgeGraceMs : UInt32 := 0
  /-- Metadata key: calls with equal values go to the same worker. -/
  sticky : Option Text := none
  /-- What the daemon does to each call, in this order. -/
  policies : Option (Array Text) := none
  /-- `grpc.health.v1` on this port. -/
  health : Switch := 0
  /-- `grpc.reflection.v1` and `v1alpha`. -/
  reflection : Switch := 0
  /-- `grpc.channelz.v1`. -/
  channelz : Switch := 0
  deriving BEq, DecidableEq, Inhabited

/-- LISTEN, peer → daemon. -/
structure Listen where
  /-- "127.0.0.1:0", "[::]:50051", "unix:/path", or "legated:///NAME". -/
  address : Text
  /-- Absent: all defaults; must be absent with "legated:///NAME". -/
  options : Option ListenOptions := none
  deriving BEq, DecidableEq, Inhabited

/-- LISTENING, daemon → peer. -/
structure Listening where
  /-- The port really bound; 0 for a Unix socket. -/
  port : UInt32 := 0
  /-- The address with the real port in it. -/
  address : Option Text := none
  /-- Another process already held this server. -/
  shared : Bool := false
  deriving BEq, DecidableEq, Inhabited

/-- REGISTER, peer → daemon. -/
structure Register where
  /-- Id of the LISTEN request. -/
  server : UInt32 := 0
  /-- "/package.Service/Method", "/package.Service/*" or "*". -/
  methods : Array Text
  /-- Calls the worker takes at once under this lease. -/
  slots : UInt32 := 64
  /-- Capacity against other leases of its generation. -/
  weight : UInt16 := 100
  /-- Label of a version of the worker; absent: all without one are one. -/
  generation : Option Text := none
  /-- Of the calls, against other generations; 0 = only when no other has a free slot. -/
  share : UInt16 := 100
  deriving BEq, DecidableEq, Inhabited

/-- RETIRE, daemon → peer, for a lease. -/
structure Retire where
  /-- Why. -/
  reason : RetireReason := 0
  /-- For people. -/
  message : Option Text := none
  deriving BEq, DecidableEq, Inhabited

/-- SET_HEALTH, peer → daemon. -/
structure SetHealth where
  /-- Id of the LISTEN request. -/
  server : UInt32 := 0
  /-- "package.Service"; absent or empty: all that the peer serves. -/
  service : Option Text := none
  /-- Its state. -/
  health : Health := 0
  deriving BEq, DecidableEq, Inhabited

/-- QUERY, peer → daemon, role admin. -/
structure Query where
  /-- "status", "channels", "calls", "workers". -/
  what : Text
  deriving BEq, DecidableEq, Inhabited

/-- COMMAND, peer → daemon, role admin. -/
structure Command where
  /-- "cancel", "drain-worker", "drain-server", "drain". -/
  what : Text
  /-- Number of a connection: cancel, drain-worker. -/
  session : UInt32 := 0
  /-- Its call: cancel. -/
  call : UInt32 := 0
  /-- Address or name: drain-server. -/
  server : Option Text := none
  deriving BEq, DecidableEq, Inhabited

end Legate.Wire
