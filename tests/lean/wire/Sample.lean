import Legate.Wire

/-!
# Random frames

Every type, every field absent and present, sizes around the edges. The same seed gives the same frames.
-/

open Legate.Wire

/-- A random choice; the state of a splitmix64. -/
abbrev Sample := StateM UInt64

namespace Sample

def next : Sample UInt64 := do
  let z ← modifyGet fun s => let s := s + 0x9e3779b97f4a7c15; (s, s)
  let z := (z ^^^ (z >>> 30)) * 0xbf58476d1ce4e5b9
  let z := (z ^^^ (z >>> 27)) * 0x94d049bb133111eb
  return z ^^^ (z >>> 31)

def below (n : Nat) : Sample Nat := return (← next).toNat % n
def oneIn (n : Nat) : Sample Bool := return (← below n) == 0

def pick {α : Type} [Inhabited α] (choices : Array α) : Sample α := return choices[← below choices.size]!

def u64 : Sample UInt64 := do pick #[0, 1, 255, 65536, 0x100000000, 0xffffffffffffffff, ← next, ← next]
def u32 : Sample UInt32 := return (← u64).toUInt32
def u16 : Sample UInt16 := return (← u64).toUInt16
def u8 : Sample UInt8 := return (← u64).toUInt8
def bool : Sample Bool := oneIn 2

def array {α : Type} (most : Nat) (item : Sample α) : Sample (Array α) := do
  let mut items := #[]
  for _ in [0 : ← below (most + 1)] do items := items.push (← item)
  return items

def bytes (most : Nat := 12) : Sample ByteArray := return ⟨← array most (return (← next).toUInt8)⟩

def text : Sample Text := do
  if ← oneIn 6 then return ⟨← bytes⟩  -- as a remote side may send it
  pick #["", "a", "ab", "abc", "abcd", "x-trace", "/pkg.Service/Method", "héllo \"w\\rld\"\n", "\u0000", "日本"]

def optional {α : Type} (item : Sample α) : Sample (Option α) := do
  if ← oneIn 3 then return none else return some (← item)

def entries : Sample (Array Entry) := array 4 (return { key := ← text, value := ← bytes })

def tls : Sample Tls :=
  return ⟨← optional text, ← optional text, ← optional text, ← optional text⟩

def identity : Sample Identity :=
  return ⟨← optional text, ← optional (array 3 text), ← optional text⟩

def serverTls : Sample ServerTls := return ⟨← text, ← text, ← optional text, ← u8⟩

def hedging : Sample Hedging := return ⟨← u8, ← u32, ← optional bytes⟩

def listenOptions : Sample ListenOptions :=
  return { tls := ← optional serverTls, compression := ← u8, maxSendMessage := ← u32
           maxReceiveMessage := ← u32, maxMetadata := ← u32, maxConnections := ← u32
           maxConcurrentStreams := ← u32, memory := ← u64, keepaliveTimeMs := ← u32
           keepaliveTimeoutMs := ← u32, minPingIntervalMs := ← u32, pingWithoutCalls := ← bool
           maxConnectionIdleMs := ← u32, maxConnectionAgeMs := ← u32, maxConnectionAgeGraceMs := ← u32
           sticky := ← optional text, policies := ← optional (array 3 text), health := ← u8
           reflection := ← u8, channelz := ← u8 }

def retry : Sample Retry :=
  return { attempts := ← u8, initialBackoffMs := ← u32, maxBackoffMs := ← u32, multiplierPercent := ← u16
           codes := ← optional bytes, throttleTokens := ← u16, throttlePermille := ← u16 }

def channelOptions : Sample ChannelOptions :=
  return { tls := ← optional tls, authority := ← optional text, userAgent := ← optional text
           loadBalancing := ← optional text, serviceConfig := ← optional text, compression := ← u8
           maxSendMessage := ← u32, maxReceiveMessage := ← u32, maxMetadata := ← u32
           keepaliveTimeMs := ← u32, keepaliveTimeoutMs := ← u32, keepaliveWithoutCalls := ← bool
           connectTimeoutMs := ← u32, initialBackoffMs := ← u32, maxBackoffMs := ← u32
           idleTimeoutMs := ← u32, dnsIntervalMs := ← u32, retry := ← optional retry
           policies := ← optional (array 3 text), token := ← optional text, hedging := ← optional hedging }

def limits : Sample Limits :=
  return ⟨← u32, ← u32, ← u32, ← u32, ← u32, ← u32, ← u32, ← u64⟩

def body : Sample Body := do
  match ← below 32 with
  | 0 => return .hello { versionMin := ← u16, versionMax := ← u16, features := ← u32, roles := ← u8
                         name := ← optional text, instanceName := ← optional text, build := ← optional text
                         maxFrame := ← u32, callWindow := ← u32, connectionWindow := ← u32 }
  | 1 => return .helloAck { version := ← u16, features := ← u32, roles := ← u8, session := ← u32
                            epoch := ← optional text, build := ← optional text, heartbeatMs := ← u32
                            limits := ← limits }
  | 2 => return .error { code := ← u8, message := ← text, frameType := ← u8 }
  | 3 => return .ping
  | 4 => return .pong
  | 5 => return .goaway { final := ← bool, lastId := ← u32, graceMs := ← u32, epoch := ← optional text
                          reason := ← optional text }
  | 6 => return .window
  | 7 => return .unsupported
  | 8 => return .start { method := ← text, metadata := ← optional entries, timeoutUs := ← u64, channel := ← u32
                         shape := ← u8, waitForReady := ← bool, lease := ← u32, authority := ← optional text
                         peer := ← optional text, queuedUs := ← u64, compression := ← u8
                         maxSendMessage := ← u32, maxReceiveMessage := ← u32, idempotent := ← bool
                         identity := ← optional identity }
  | 9 => return .headers { metadata := ← optional entries, compression := ← u8 }
  | 10 => return .data
  | 11 => return .status { code := ← u16, message := ← optional text, details := ← optional bytes
                           trailers := ← optional entries, origin := ← u8, elapsedUs := ← u64
                           attempts := ← u32 }
  | 12 => return .cancel
  | 13 => return .accept
  | 14 => return .reject
  | 15 => return .openChannel { target := ← text, options := ← optional channelOptions, watch := ← bool }
  | 16 => return .channelOpened { shared := ← bool, state := ← u8 }
  | 17 => return .closeChannel
  | 18 => return .channelState
  | 19 => return .connect
  | 20 => return .listen { address := ← text, options := ← optional listenOptions }
  | 21 => return .listening { port := ← u32, address := ← optional text, shared := ← bool }
  | 22 => return .register { server := ← u32, methods := ← array 3 text, slots := ← u32
                             weight := ← u16, generation := ← optional text, share := ← u16 }
  | 23 => return .lease
  | 24 => return .serve
  | 25 => return .unregister
  | 26 => return .query { what := ← text }
  | 27 => return .describe
  | 28 => return .setHealth { server := ← u32, service := ← optional text, health := ← u8 }
  | 29 => return .retire { reason := ← u8, message := ← optional text }
  | 30 => return .command { what := ← text, session := ← u32, call := ← u32, server := ← optional text }
  | _ => return .unknown (← pick #[0, 9, 15, 200, 255])

/-- A frame that is in order. -/
def frame : Sample Frame := do
  let body ← body
  let kind := Kind.ofType? body.type
  let critical := if kind.isSome && (← oneIn 4) then Flag.critical else 0
  let flags := (kind.map (·.flags)).getD 0 &&& (← u8)
  let payload ← if kind.all (·.payload) then bytes 40 else pure .empty
  return { body, flags := flags ||| critical, callId := ← u32, aux := ← u32, payload }

end Sample
