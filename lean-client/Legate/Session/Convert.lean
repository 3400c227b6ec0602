import Legate.CallEnd
import Legate.ChannelOptions
import Legate.ServerOptions
import Legate.Wire

/-!
# Between the library's values and those of the wire
-/

namespace Legate.Session

/-- Metadata for the wire; the error names the key whose binary value is not Base64. -/
def toEntries (metadata : Metadata) : Except String (Array Wire.Entry) :=
  metadata.mapM fun (key, value) =>
    if Metadata.isBinary key then
      match Base64.decode? value with
      | some bytes => .ok { key, value := bytes }
      | none => .error s!"metadata \"{key}\": the value of a \"-bin\" key must be Base64 text; \
          Metadata.addBinary makes it from bytes"
    else .ok { key, value := value.toUTF8 }

/-- Metadata from the wire. -/
def ofEntries (entries : Option (Array Wire.Entry)) : Metadata :=
  (entries.getD #[]).map fun { key, value } =>
    let key := key.toString
    (key, if Metadata.isBinary key then Base64.encode value else (Wire.Text.mk value).toString)

/-- Absent when empty. -/
def text? (string : String) : Option Wire.Text := if string.isEmpty then none else some string

/-- Text that may be absent. -/
def ofText (text : Option Wire.Text) : String := (text.map (·.toString)).getD ""

/-- A number that a later version may have added is the daemon's. -/
def ofOrigin (origin : Wire.Origin) : Origin :=
  match origin.toNat with
  | 0 => .app
  | 1 => .remote
  | 3 => .ipc
  | _ => .daemon

/-- The end that a STATUS tells. -/
def ofStatus (status : Wire.Status) : CallEnd where
  status := {
    code := .fromNat status.code.toNat
    message := ofText status.message
    details := status.details }
  trailers := ofEntries status.trailers
  origin := ofOrigin status.origin
  elapsedUs := status.elapsedUs
  attempts := status.attempts

/-- The STATUS that tells a status with its trailers; the error names a trailer that can't be sent. -/
def toStatus (status : Status) (trailers : Metadata := #[]) : Except String Wire.Status := do
  let entries ← toEntries trailers
  return {
    code := status.code.toNat.toUInt16
    message := text? status.message
    details := status.details
    trailers := if entries.isEmpty then none else some entries }

/-- The number of a compression. -/
def toCompression : Compression → Wire.Compression
  | .inherit => Wire.Compression.inherit
  | .identity => Wire.Compression.identity
  | .deflate => Wire.Compression.deflate
  | .gzip => Wire.Compression.gzip

private def toTls (credentials : SslCredentials) : Wire.Tls where
  roots := text? credentials.rootCerts
  certificate := text? credentials.certChain
  key := text? credentials.privateKey
  serverName := text? credentials.sslTargetNameOverride

private def toRetry (retry : RetryPolicy) : Wire.Retry where
  attempts := retry.attempts
  initialBackoffMs := retry.initialBackoffMs
  maxBackoffMs := retry.maxBackoffMs
  multiplierPercent := retry.multiplierPercent
  codes := if retry.codes.isEmpty then none else some ⟨retry.codes.map (·.toNat.toUInt8)⟩
  throttleTokens := retry.throttleTokens
  throttlePermille := retry.throttlePermille

private def toHedging (hedging : HedgingPolicy) : Wire.Hedging where
  attempts := hedging.attempts
  delayMs := hedging.delayMs
  codes := if hedging.codes.isEmpty then none else some ⟨hedging.codes.map (·.toNat.toUInt8)⟩

/-- Names of policies for the wire. -/
private def toPolicies (policies : Array String) : Option (Array Wire.Text) :=
  if policies.isEmpty then none else some (policies.map (Wire.Text.ofString ·))

/-- Channel options for the wire. -/
def toChannelOptions (options : ChannelOptions) : Wire.ChannelOptions where
  tls := options.credentials.map toTls
  authority := text? options.authority
  userAgent := text? options.userAgent
  loadBalancing := match options.loadBalancing with
    | .pickFirst => none
    | .roundRobin => some "round_robin"
  serviceConfig := text? options.serviceConfig
  compression := toCompression options.compression
  maxSendMessage := options.maxSendMessage
  maxReceiveMessage := options.maxReceiveMessage
  maxMetadata := options.maxMetadata
  keepaliveTimeMs := options.keepaliveTimeMs
  keepaliveTimeoutMs := options.keepaliveTimeoutMs
  keepaliveWithoutCalls := options.keepaliveWithoutCalls
  connectTimeoutMs := options.connectTimeoutMs
  initialBackoffMs := options.initialBackoffMs
  maxBackoffMs := options.maxBackoffMs
  idleTimeoutMs := options.idleTimeoutMs
  dnsIntervalMs := options.dnsIntervalMs
  retry := options.retry.map toRetry
  policies := toPolicies options.policies
  token := text? options.token
  hedging := options.hedging.map toHedging

private def toServerTls (credentials : SslServerCredentials) : Wire.ServerTls where
  certificate := .ofString credentials.serverCert
  key := .ofString credentials.serverKey
  roots := text? credentials.rootCerts
  clientAuth := match credentials.clientAuth with
    | .none => Wire.ClientAuth.none
    | .request => Wire.ClientAuth.request
    | .require => Wire.ClientAuth.require

private def toSwitch : Option Bool → Wire.Switch
  | none => Wire.Switch.inherit
  | some false => Wire.Switch.off
  | some true => Wire.Switch.on

/-- Server options for the wire. -/
def toListenOptions (options : ServerOptions) : Wire.ListenOptions where
  tls := options.credentials.map toServerTls
  compression := toCompression options.compression
  maxSendMessage := options.maxSendMessage
  maxReceiveMessage := options.maxReceiveMessage
  maxMetadata := options.maxMetadata
  maxConnections := options.maxConnections
  maxConcurrentStreams := options.maxConcurrentStreams
  memory := options.memory
  keepaliveTimeMs := options.keepaliveTimeMs
  keepaliveTimeoutMs := options.keepaliveTimeoutMs
  minPingIntervalMs := options.minPingIntervalMs
  pingWithoutCalls := options.pingWithoutCalls
  maxConnectionIdleMs := options.maxConnectionIdleMs
  maxConnectionAgeMs := options.maxConnectionAgeMs
  maxConnectionAgeGraceMs := options.maxConnectionAgeGraceMs
  sticky := text? options.sticky
  policies := toPolicies options.policies
  health := toSwitch options.health
  reflection := toSwitch options.reflection
  channelz := toSwitch options.channelz

end Legate.Session
