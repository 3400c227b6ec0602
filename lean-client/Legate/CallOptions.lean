import Legate.Metadata

/-!
# Call options

What a caller chooses for one call.
-/

namespace Legate

/-- How messages to the remote side are compressed; what comes from it is decompressed always. -/
inductive Compression where
  /-- As the channel says; for a channel, not at all. -/
  | inherit
  /-- Not at all. -/
  | identity
  /-- With deflate. -/
  | deflate
  /-- With gzip. -/
  | gzip
  deriving Repr, BEq, DecidableEq, Inhabited

/-- What a caller chooses for one call. -/
structure CallOptions where
  /-- Milliseconds until the call ends DEADLINE_EXCEEDED, connecting and queueing included; 0: none. -/
  timeoutMs : UInt64 := 0
  /-- Sent with the call. -/
  metadata : Metadata := #[]
  /-- Whether to wait for a connection, to the daemon and to the server, instead of failing. -/
  waitForReady : Bool := false
  /-- Of this call's messages. -/
  compression : Compression := .inherit
  /-- Largest message to send, in bytes; 0: the channel's limit, which is also the most. -/
  maxSendMessage : UInt32 := 0
  /-- Largest message to receive, in bytes; 0: the channel's limit, which is also the most. -/
  maxReceiveMessage : UInt32 := 0
  /-- Whether the call may be made more than once: only such calls are hedged. -/
  idempotent : Bool := false
  deriving BEq, Inhabited

namespace CallOptions

/-- No deadline, no metadata, no waiting. -/
def default : CallOptions := {}

/-- With a time limit in milliseconds. -/
def withTimeout (options : CallOptions) (timeoutMs : UInt64) : CallOptions := { options with timeoutMs }

/-- With a time limit in seconds. -/
def withTimeoutSeconds (options : CallOptions) (seconds : UInt64) : CallOptions :=
  options.withTimeout (min seconds.toNat (UInt64.size / 1000 - 1) * 1000).toUInt64

/-- With this metadata instead of what was there. -/
def withMetadata (options : CallOptions) (metadata : Metadata) : CallOptions :=
  { options with metadata }

/-- With one more metadata entry. -/
def addMetadata (options : CallOptions) (key value : String) : CallOptions :=
  { options with metadata := options.metadata.add key value }

/-- Whether to wait for a connection. -/
def withWaitForReady (options : CallOptions) (wait : Bool := true) : CallOptions :=
  { options with waitForReady := wait }

/-- With a compression of its messages. -/
def withCompression (options : CallOptions) (compression : Compression) : CallOptions :=
  { options with compression }

/-- With an `authorization` header of this token: credentials of one call. -/
def withBearerToken (options : CallOptions) (token : String) : CallOptions :=
  options.addMetadata "authorization" s!"Bearer {token}"

end CallOptions
end Legate
