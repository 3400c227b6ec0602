/-!
# Enumerations of `legate.fbs`

Numbers, since a later version may send one that this side does not know.
-/

namespace Legate.Wire

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

/-- What a server asks of its clients' certificates. -/
abbrev ClientAuth := UInt8

namespace ClientAuth
/-- Nothing. -/
def none : ClientAuth := 0
/-- One that is shown must verify. -/
def request : ClientAuth := 1
/-- One must be shown, and verify. -/
def require : ClientAuth := 2
end ClientAuth

/-- A choice that may be left to the daemon. -/
abbrev Switch := UInt8

namespace Switch
/-- As the daemon's configuration says. -/
def inherit : Switch := 0
/-- Not there. -/
def off : Switch := 1
/-- There. -/
def on : Switch := 2
end Switch

/-- Why a lease gets no more calls, or soon none. -/
abbrev RetireReason := UInt8

namespace RetireReason
/-- It has served its number of calls or its time: be replaced soon, then leave. -/
def recycle : RetireReason := 0
/-- The operator wants it gone. -/
def drain : RetireReason := 1
/-- A cancelled call was not answered in time: no calls until it is. -/
def suspect : RetireReason := 2
end RetireReason

/-- State of a service. -/
abbrev Health := UInt8

namespace Health
/-- It takes calls. -/
def serving : Health := 0
/-- It should get none. -/
def notServing : Health := 1
end Health

end Legate.Wire
