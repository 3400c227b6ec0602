import Legate.CallOptions
import Legate.Credentials
import Legate.StatusCode

/-!
# Channel options

What can be chosen for a channel. 0 and empty are gRPC's defaults unless said otherwise; sizes are in
bytes. The daemon checks ranges: a channel it refuses ends its calls with the reason.
-/

namespace Legate

/-- When a call is tried again; only while no answer has begun. -/
structure RetryPolicy where
  /-- Attempts in all, at least 2. -/
  attempts : UInt8 := 3
  /-- First wait, in milliseconds. -/
  initialBackoffMs : UInt32 := 100
  /-- Longest wait, in milliseconds. -/
  maxBackoffMs : UInt32 := 1000
  /-- Growth of the wait, in percent. -/
  multiplierPercent : UInt16 := 200
  /-- Codes that are tried again; empty: UNAVAILABLE. -/
  codes : Array StatusCode := #[]
  /-- A failed call takes one token, and below half of them nothing is tried again; 0: no such limit. -/
  throttleTokens : UInt16 := 0
  /-- What a good call gives back, in thousandths of a token. -/
  throttlePermille : UInt16 := 100
  deriving BEq, Inhabited

/-- How a channel spreads its calls over the addresses of its target. -/
inductive LoadBalancing where
  /-- The first address that answers. -/
  | pickFirst
  /-- All in turn. -/
  | roundRobin
  deriving Repr, BEq, DecidableEq, Inhabited

/-- How idempotent unary calls are made again while no answer has come; the first answer counts. -/
structure HedgingPolicy where
  /-- In all, at least 2. -/
  attempts : UInt8 := 2
  /-- Milliseconds before each further attempt; 0: all at once. -/
  delayMs : UInt32 := 0
  /-- Codes after which the next attempt goes out at once; empty: UNAVAILABLE. -/
  codes : Array StatusCode := #[]
  deriving BEq, Inhabited

/-- What can be chosen for a channel. -/
structure ChannelOptions where
  /-- TLS toward the server; none: plaintext. -/
  credentials : Option SslCredentials := none
  /-- Sent as `:authority` instead of the target's host. -/
  authority : String := ""
  /-- Put before gRPC's own user agent. -/
  userAgent : String := ""
  /-- How calls are spread. -/
  loadBalancing : LoadBalancing := .pickFirst
  /-- JSON as gRPC defines it; goes before `loadBalancing`, excludes `retry`. -/
  serviceConfig : String := ""
  /-- Of the calls' messages. -/
  compression : Compression := .inherit
  /-- Largest message to send; 0: the daemon's limit, which is also the most. -/
  maxSendMessage : UInt32 := 0
  /-- Largest message to receive; 0: likewise. -/
  maxReceiveMessage : UInt32 := 0
  /-- Largest metadata list; 0: likewise. -/
  maxMetadata : UInt32 := 0
  /-- Milliseconds of silence before a ping; 0: no pings. -/
  keepaliveTimeMs : UInt32 := 0
  /-- Milliseconds to wait for the answer to a ping. -/
  keepaliveTimeoutMs : UInt32 := 0
  /-- Whether to ping without calls. -/
  keepaliveWithoutCalls : Bool := false
  /-- Milliseconds for one attempt to connect. -/
  connectTimeoutMs : UInt32 := 0
  /-- Milliseconds between attempts to connect, at first. -/
  initialBackoffMs : UInt32 := 0
  /-- Milliseconds between attempts to connect, at most. -/
  maxBackoffMs : UInt32 := 0
  /-- Milliseconds without calls before connections are closed. -/
  idleTimeoutMs : UInt32 := 0
  /-- Least milliseconds between resolutions of the name. -/
  dnsIntervalMs : UInt32 := 0
  /-- When calls are tried again. -/
  retry : Option RetryPolicy := none
  /-- How idempotent calls are hedged; not together with `retry`. -/
  hedging : Option HedgingPolicy := none
  /-- Sent with each call as `authorization: Bearer …`; needs `credentials`. -/
  token : String := ""
  /-- Policies of the daemon's configuration that each call goes through, in this order. -/
  policies : Array String := #[]
  deriving BEq, Inhabited

end Legate
