import Legate.Wire.Text

/-!
# Frames of the legated IPC protocol

The values that travel: one structure per meta table of `ipc-schema/legate.fbs` with the schema's
defaults, and the frame around them. `ipc-schema/PROTOCOL.md` says what each means. Pure data; the
codec is in the files beside this one:

* `Frame.encode : Frame → (limits : FrameLimits := {}) → Except WireError ByteArray`
* `Frame.encodeHead : Frame → (payloadLength : Nat) → (limits : FrameLimits := {}) →
  Except WireError ByteArray` gives header and meta alone (whatever `frame.payload` holds); the
  caller sends `payloadLength` bytes of payload after it from where they lie. `frameTooLarge`
  tells that the frame is above the limits of the other side.
* `Decoder.new : (limits : FrameLimits := {}) → Decoder`,
  `Decoder.feed : Decoder → ByteArray → Array Frame × Except WireError Decoder`. Bytes may be cut
  anywhere. Frames before a malformed one are given along with the error; `Decoder.wanted` tells
  how many bytes the frame under way has in all, as far as can be told.

**Text.** A string of the protocol is UTF-8 where this library writes it, but a status message, a
method or an address from a remote side arrives as it came. So strings are `Text`, bytes with a
`String` view: `text.toString` puts U+FFFD in place of what is not UTF-8. Where a `Text` (or an
`Option Text`) is expected a `String` may be written.

**Absent is not empty.** Strings, vectors and tables that the schema does not require are `Option`s.
-/

namespace Legate.Wire

/-! ## Enumerations

Numbers, since a later version may send one that this side does not know. -/

/-- Why a connection ends: the `code` of an ERROR frame. -/
abbrev ErrorCode := UInt8

namespace ErrorCode
/-- A fault of the sender's own. -/
def internal : ErrorCode := 0
/-- The header is inconsistent, has unknown flags, or lacks a meta it needs. -/
def malformedFrame : ErrorCode := 1
/-- Body, payload or meta are above the limit. -/
def frameTooLarge : ErrorCode := 2
/-- The meta table did not verify. -/
def metaInvalid : ErrorCode := 3
/-- A frame this side may not send, or not now. -/
def unexpectedFrame : ErrorCode := 4
/-- An id of the wrong parity, not rising, or never opened. -/
def callId : ErrorCode := 5
/-- A credit overrun, or a window above 2^31 - 1. -/
def flowControl : ErrorCode := 6
/-- MSG_BEGIN, MSG_END and lengths do not agree. -/
def messageFraming : ErrorCode := 7
/-- No protocol version in common. -/
def version : ErrorCode := 8
/-- The peer's user or group may not have the role. -/
def accessDenied : ErrorCode := 9
/-- No HELLO in time. -/
def helloTimeout : ErrorCode := 10
/-- Three heartbeats without an answer. -/
def heartbeat : ErrorCode := 11
/-- The peer drained nothing for the stall timeout. -/
def stalled : ErrorCode := 12
/-- The connection limit is reached. -/
def tooMany : ErrorCode := 13
/-- An unknown frame type flagged CRITICAL. -/
def unsupported : ErrorCode := 14
/-- The daemon is leaving. -/
def shuttingDown : ErrorCode := 15

/-- The names of the codes in `legate.fbs`, in their order. -/
def names : Array String :=
  #["internal", "malformed_frame", "frame_too_large", "meta_invalid", "unexpected_frame", "call_id",
    "flow_control", "message_framing", "version", "access_denied", "hello_timeout", "heartbeat",
    "stalled", "too_many", "unsupported", "shutting_down"]

/-- The name in `legate.fbs`; `code N` for one it does not have. -/
def name (code : ErrorCode) : String := names.getD code.toNat s!"code {code}"
end ErrorCode

/-- Roles of a connection, bits ORed. -/
abbrev Roles := UInt8

namespace Roles
/-- May call out. -/
def client : Roles := 1
/-- May serve. -/
def worker : Roles := 2
/-- May ask about the daemon. -/
def admin : Roles := 4
end Roles

/-- How many messages a call has each way. -/
abbrev Shape := UInt8

namespace Shape
/-- Any number each way. -/
def bidi : Shape := 0
/-- One each way. -/
def unary : Shape := 1
/-- Any number of requests, one answer. -/
def clientStreaming : Shape := 2
/-- One request, any number of answers. -/
def serverStreaming : Shape := 3
end Shape

/-- How messages to the remote side are compressed. -/
abbrev Compression := UInt8

namespace Compression
/-- As the channel says. -/
def inherit : Compression := 0
/-- Not at all. -/
def identity : Compression := 1
/-- With deflate. -/
def deflate : Compression := 2
/-- With gzip. -/
def gzip : Compression := 3
end Compression

/-- Who decided how a call or a request ended. -/
abbrev Origin := UInt8

namespace Origin
/-- The handler, or the calling program. -/
def app : Origin := 0
/-- The gRPC peer, or gRPC on the way to it. -/
def remote : Origin := 1
/-- legated itself. -/
def daemon : Origin := 2
/-- The connection between the process and the daemon. -/
def ipc : Origin := 3
end Origin

/-! ## Meta tables -/

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
  deriving BEq, DecidableEq, Inhabited

/-- HEADERS: initial metadata of the answering side. -/
structure Headers where
  /-- The metadata. -/
  metadata : Option (Array Entry) := none
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

/-- LISTEN, peer → daemon. -/
structure Listen where
  /-- "127.0.0.1:0", "[::]:50051", "unix:/path". -/
  address : Text
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
  deriving BEq, DecidableEq, Inhabited

/-- QUERY, peer → daemon, role admin. -/
structure Query where
  /-- "status", "channels", "calls", "workers". -/
  what : Text
  deriving BEq, DecidableEq, Inhabited

/-! ## Frames -/

/-- The 16 bytes before every frame. -/
structure Header where
  /-- Bytes after the header. -/
  bodyLength : UInt32
  /-- The call or request; 0 = the connection itself. -/
  callId : UInt32
  /-- Number of the type; section 4 of PROTOCOL.md. -/
  type : UInt8
  /-- Bits of `Flag`. -/
  flags : UInt8
  /-- Length of the meta table in 8-byte words. -/
  metaWords : UInt16
  /-- Meaning depends on the type. -/
  aux : UInt32
  deriving BEq, DecidableEq, Inhabited, Repr

namespace Header
/-- Bytes of an encoded header. -/
def size : Nat := 16
/-- Bytes of the meta table. -/
def metaLength (header : Header) : Nat := header.metaWords.toNat * 8
end Header

namespace Flag
/-- The sender's half of the call is closed after this frame. -/
def endStream : UInt8 := 0x01
/-- The payload begins a message of `aux` bytes. -/
def msgBegin : UInt8 := 0x02
/-- The payload ends the message. -/
def msgEnd : UInt8 := 0x04
/-- This message is sent as it is, on a call that compresses. -/
def noCompress : UInt8 := 0x08
/-- A receiver that does not know the type must fail the connection. -/
def critical : UInt8 := 0x80
/-- The payload is one whole message. -/
def wholeMessage : UInt8 := msgBegin ||| msgEnd
end Flag

/-- What a frame is: its type, with the meta table of types that have one. -/
inductive Body where
  /-- First frame of the peer. -/
  | hello (table : Hello)
  /-- First frame of the daemon. -/
  | helloAck (table : HelloAck)
  /-- Last frame of a connection that fails. -/
  | error (table : Error)
  /-- Asks for a PONG with the same `aux`. -/
  | ping
  /-- Answers a PING. -/
  | pong
  /-- The sender leaves. -/
  | goaway (table : Goaway)
  /-- `aux` bytes of credit for a call, or for the connection when the id is 0. -/
  | window
  /-- The type `aux` is not known to the sender. -/
  | unsupported
  /-- Opens or dispatches a call. -/
  | start (table : Start)
  /-- Initial metadata of the responder. -/
  | headers (table : Headers)
  /-- Part of a message. -/
  | data
  /-- The end of a call or request. -/
  | status (table : Status)
  /-- Asks for the end, with the status code `aux`. -/
  | cancel
  /-- The worker takes a dispatch up. -/
  | accept
  /-- The worker gives a dispatch back. -/
  | reject
  /-- Makes a channel. -/
  | openChannel (table : OpenChannel)
  /-- Answers OPEN_CHANNEL. -/
  | channelOpened (table : ChannelOpened)
  /-- Lets go of the channel `aux`. -/
  | closeChannel
  /-- A watched channel has the state `aux`. -/
  | channelState
  /-- Lets the channel `aux` connect. -/
  | connect
  /-- Makes a server. -/
  | listen (table : Listen)
  /-- Answers LISTEN. -/
  | listening (table : Listening)
  /-- Offers methods of a server. -/
  | register (table : Register)
  /-- Answers REGISTER. -/
  | lease
  /-- Starts the server `aux`. -/
  | serve
  /-- Ends the lease `aux`. -/
  | unregister
  /-- Asks about the daemon. -/
  | query (table : Query)
  /-- A type of a later version: answer UNSUPPORTED with `aux` = the type. Its meta is dropped. -/
  | unknown (type : UInt8)
  deriving BEq, DecidableEq, Inhabited

/-- One frame. Header fields that follow from the rest are left to the codec. -/
structure Frame where
  /-- Type and meta table. -/
  body : Body
  /-- The call or request; 0 = the connection itself. -/
  callId : UInt32 := 0
  /-- Bits of `Flag`. -/
  flags : UInt8 := 0
  /-- Meaning depends on the type. -/
  aux : UInt32 := 0
  /-- Message bytes, on `start` and `data` alone. -/
  payload : ByteArray := .empty
  deriving BEq, DecidableEq, Inhabited

/-- Whether every one of `bits` is set. -/
def Frame.has (frame : Frame) (bits : UInt8) : Bool := frame.flags &&& bits == bits

/-- The sizes, in bytes, that one side holds the other to. -/
structure FrameLimits where
  /-- Largest payload of one frame. -/
  maxFrame : Nat := 65536
  /-- Largest meta table of one frame. -/
  maxMeta : Nat := 131072
  deriving BEq, DecidableEq, Inhabited, Repr

/-- A frame that can't be decoded: the connection must end. Or one that can't be encoded. -/
structure WireError where
  /-- What to tell in an ERROR frame. -/
  code : ErrorCode
  /-- Type of the offending frame. -/
  frameType : UInt8
  /-- Names the frame type and the reason. -/
  message : String
  deriving BEq, DecidableEq, Inhabited, Repr

instance : ToString WireError := ⟨WireError.message⟩

end Legate.Wire
