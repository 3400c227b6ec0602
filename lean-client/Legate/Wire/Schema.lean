import Legate.Wire.SchemaSyntax
import Legate.Wire.Types

/-!
# The meta tables of `legate.fbs`

One codec for each table, fields in the order of the schema. A field that is appended there is one
line in its structure (`Tables.lean`) and one here.
-/

namespace Legate.Wire.Schema

/-- `Entry`. -/
def entry : Table Entry := table% { key "key" (required text), value "value" (required bytes) }

/-- A metadata list. -/
abbrev metadata : Block (Array Entry) := vector entry

/-- `Hello`. -/
def hello : Table Hello := table% {
  versionMin "version_min" (u16 1),
  versionMax "version_max" (u16 1),
  features "features" u32,
  roles "roles" u8,
  name "name" (optional text),
  instanceName "instance" (optional text),
  build "build" (optional text),
  maxFrame "max_frame" (u32 65536),
  callWindow "call_window" (u32 262144),
  connectionWindow "connection_window" (u32 4194304) }

/-- `Limits`. -/
def limits : Table Limits := table% {
  maxFrame "max_frame" u32,
  maxMeta "max_meta" u32,
  callWindow "call_window" u32,
  connectionWindow "connection_window" u32,
  maxMessage "max_message" u32,
  maxMetadata "max_metadata" u32,
  maxCalls "max_calls" u32,
  memoryBudget "memory_budget" u64 }

/-- `HelloAck`. -/
def helloAck : Table HelloAck := table% {
  version "version" u16,
  features "features" u32,
  roles "roles" u8,
  session "session" u32,
  epoch "epoch" (optional text),
  build "build" (optional text),
  heartbeatMs "heartbeat_ms" u32,
  limits "limits" (required limits.block) }

/-- `Error`. -/
def error : Table Error := table% {
  code "code" u8,
  message "message" (required text),
  frameType "frame_type" u8 }

/-- `Goaway`. -/
def goaway : Table Goaway := table% {
  final "final" bool,
  lastId "last_id" u32,
  graceMs "grace_ms" u32,
  epoch "epoch" (optional text),
  reason "reason" (optional text) }

/-- `Identity`. -/
def identity : Table Identity := table% {
  subject "subject" (optional text),
  names "names" (optional texts),
  certificate "certificate" (optional text) }

/-- `Start`. -/
def start : Table Start := table% {
  method "method" (required text),
  metadata "metadata" (optional metadata),
  timeoutUs "timeout_us" u64,
  channel "channel" u32,
  shape "shape" u8,
  waitForReady "wait_for_ready" bool,
  lease "lease" u32,
  authority "authority" (optional text),
  peer "peer" (optional text),
  queuedUs "queued_us" u64,
  compression "compression" u8,
  maxSendMessage "max_send_message" u32,
  maxReceiveMessage "max_receive_message" u32,
  idempotent "idempotent" bool,
  identity "identity" (optional identity.block) }

/-- `Headers`. -/
def headers : Table Headers := table% {
  metadata "metadata" (optional metadata),
  compression "compression" u8 }

/-- `Status`. -/
def status : Table Status := table% {
  code "code" u16,
  message "message" (optional text),
  details "details" (optional bytes),
  trailers "trailers" (optional metadata),
  origin "origin" u8,
  elapsedUs "elapsed_us" u64,
  attempts "attempts" u32 }

/-- `Tls`. -/
def tls : Table Tls := table% {
  roots "roots" (optional text),
  certificate "certificate" (optional text),
  key "key" (optional text),
  serverName "server_name" (optional text) }

/-- `Retry`. -/
def retry : Table Retry := table% {
  attempts "attempts" u8,
  initialBackoffMs "initial_backoff_ms" (u32 100),
  maxBackoffMs "max_backoff_ms" (u32 1000),
  multiplierPercent "multiplier_percent" (u16 200),
  codes "codes" (optional bytes),
  throttleTokens "throttle_tokens" u16,
  throttlePermille "throttle_permille" (u16 100) }

/-- `Hedging`. -/
def hedging : Table Hedging := table% {
  attempts "attempts" u8,
  delayMs "delay_ms" u32,
  codes "codes" (optional bytes) }

/-- `ChannelOptions`. -/
def channelOptions : Table ChannelOptions := table% {
  tls "tls" (optional tls.block),
  authority "authority" (optional text),
  userAgent "user_agent" (optional text),
  loadBalancing "load_balancing" (optional text),
  serviceConfig "service_config" (optional text),
  compression "compression" u8,
  maxSendMessage "max_send_message" u32,
  maxReceiveMessage "max_receive_message" u32,
  maxMetadata "max_metadata" u32,
  keepaliveTimeMs "keepalive_time_ms" u32,
  keepaliveTimeoutMs "keepalive_timeout_ms" u32,
  keepaliveWithoutCalls "keepalive_without_calls" bool,
  connectTimeoutMs "connect_timeout_ms" u32,
  initialBackoffMs "initial_backoff_ms" u32,
  maxBackoffMs "max_backoff_ms" u32,
  idleTimeoutMs "idle_timeout_ms" u32,
  dnsIntervalMs "dns_interval_ms" u32,
  retry "retry" (optional retry.block),
  policies "policies" (optional texts),
  token "token" (optional text),
  hedging "hedging" (optional hedging.block) }

/-- `OpenChannel`. -/
def openChannel : Table OpenChannel := table% {
  target "target" (required text),
  options "options" (optional channelOptions.block),
  watch "watch" bool }

/-- `ChannelOpened`. -/
def channelOpened : Table ChannelOpened := table% { shared "shared" bool, state "state" u8 }

/-- `ServerTls`. -/
def serverTls : Table ServerTls := table% {
  certificate "certificate" (required text),
  key "key" (required text),
  roots "roots" (optional text),
  clientAuth "client_auth" u8 }

/-- `ListenOptions`. -/
def listenOptions : Table ListenOptions := table% {
  tls "tls" (optional serverTls.block),
  compression "compression" u8,
  maxSendMessage "max_send_message" u32,
  maxReceiveMessage "max_receive_message" u32,
  maxMetadata "max_metadata" u32,
  maxConnections "max_connections" u32,
  maxConcurrentStreams "max_concurrent_streams" u32,
  memory "memory" u64,
  keepaliveTimeMs "keepalive_time_ms" u32,
  keepaliveTimeoutMs "keepalive_timeout_ms" u32,
  minPingIntervalMs "min_ping_interval_ms" u32,
  pingWithoutCalls "ping_without_calls" bool,
  maxConnectionIdleMs "max_connection_idle_ms" u32,
  maxConnectionAgeMs "max_connection_age_ms" u32,
  maxConnectionAgeGraceMs "max_connection_age_grace_ms" u32,
  sticky "sticky" (optional text),
  policies "policies" (optional texts),
  health "health" u8,
  reflection "reflection" u8,
  channelz "channelz" u8 }

/-- `Listen`. -/
def listen : Table Listen := table% {
  address "address" (required text),
  options "options" (optional listenOptions.block) }

/-- `Listening`. -/
def listening : Table Listening := table% {
  port "port" u32,
  address "address" (optional text),
  shared "shared" bool }

/-- `Register`. -/
def register : Table Register := table% {
  server "server" u32,
  methods "methods" (required texts),
  slots "slots" (u32 64),
  weight "weight" (u16 100),
  generation "generation" (optional text),
  share "share" (u16 100) }

/-- `Retire`. -/
def retire : Table Retire := table% { reason "reason" u8, message "message" (optional text) }

/-- `SetHealth`. -/
def setHealth : Table SetHealth := table% {
  server "server" u32,
  service "service" (optional text),
  health "health" u8 }

/-- `Query`. -/
def query : Table Query := table% { what "what" (required text) }

/-- `Command`. -/
def command : Table Command := table% {
  what "what" (required text),
  session "session" u32,
  call "call" u32,
  server "server" (optional text) }

end Legate.Wire.Schema
