import Legate

/-!
# What programs written for Legate rely on

Every name of the old interface with its old type, argument order, field order and default. It is enough
that this file is accepted.
-/

open Legate

/-! ## Values -/

example : List StatusCode := [.ok, .cancelled, .unknown, .invalidArgument, .deadlineExceeded, .notFound, .alreadyExists,
  .permissionDenied, .resourceExhausted, .failedPrecondition, .aborted, .outOfRange, .unimplemented, .internal,
  .unavailable, .dataLoss, .unauthenticated]
example : Nat → StatusCode := StatusCode.fromNat
example : StatusCode → Nat := StatusCode.toNat
example : StatusCode → String := StatusCode.description
#guard (List.range 17).map (fun n => (StatusCode.fromNat n).toNat) == List.range 17
#guard StatusCode.fromNat 17 == .unknown && StatusCode.fromNat 99 == .unknown
#guard toString StatusCode.deadlineExceeded == "Deadline Exceeded"
#guard (List.range 17).map (fun n => toString (StatusCode.fromNat n)) == ["OK", "Cancelled", "Unknown",
  "Invalid Argument", "Deadline Exceeded", "Not Found", "Already Exists", "Permission Denied", "Resource Exhausted",
  "Failed Precondition", "Aborted", "Out of Range", "Unimplemented", "Internal", "Unavailable", "Data Loss",
  "Unauthenticated"]

example : GrpcError := { code := .notFound, message := "no such thing" }
example : GrpcError := { code := .notFound, message := "no such thing", details := some .empty }
example (error : GrpcError) : StatusCode × String × Option ByteArray := (error.code, error.message, error.details)
example : StatusCode → String → GrpcError := GrpcError.simple
example : GrpcError → Bool := GrpcError.isOk
#guard toString (GrpcError.simple .notFound "gone") == "GrpcError(Not Found: gone)"

example : Type → Type := GrpcResult
example (a : GrpcResult Nat) : Except GrpcError Nat := a
example : GrpcResult Nat → Bool := GrpcResult.isOk
example : GrpcResult Nat → Nat → Nat := GrpcResult.getD
example : (Nat → String) → GrpcResult Nat → GrpcResult String := GrpcResult.map
example : GrpcResult Nat → (Nat → GrpcResult String) → GrpcResult String := GrpcResult.bind
example : GrpcResult Nat := do
  let a ← (pure 1 : GrpcResult Nat)
  try throw (GrpcError.simple .aborted "x") catch error => return a + error.code.toNat

example : Status := { code := .ok }
example (s : Status) : StatusCode × String × Option ByteArray := (s.code, s.message, s.details)
example : Status := Status.ok
example : Status := Status.make .internal "broken"
example : Status → Bool := Status.isOk
example : Status → Bool := Status.isError
example : Status → GrpcError := Status.toError
example : Status → GrpcResult Unit := Status.toResult
#guard toString Status.ok == "OK"
#guard toString (Status.make .internal "broken") == "Internal: broken"

example : Metadata := ({} : Metadata)
example (m : Metadata) : Array (String × String) := m
example : Metadata := Metadata.empty
example : List (String × String) → Metadata := Metadata.ofList
example : Metadata → String → String → Metadata := Metadata.add
example : Metadata → String → Option String := Metadata.get?
example : Metadata → String → Array String := Metadata.getAll
example : Metadata → String → Bool := Metadata.contains
example : Metadata → String → Metadata := Metadata.remove
example : Metadata → Metadata → Metadata := Metadata.merge
example : Metadata → List (String × String) := Metadata.toListPairs
example (a b : Metadata) : Metadata := a ++ b
#guard toString (Metadata.ofList [("k", "v"), ("k2", "v2")]) == "[k: v, k2: v2]"

example : CallOptions := {}
example : CallOptions := { timeoutMs := 100, metadata := #[("k", "v")], waitForReady := true }
example (o : CallOptions) : UInt64 × Metadata × Bool := (o.timeoutMs, o.metadata, o.waitForReady)
example : CallOptions := CallOptions.default
example : CallOptions → UInt64 → CallOptions := CallOptions.withTimeout
example : CallOptions → UInt64 → CallOptions := CallOptions.withTimeoutSeconds
example : CallOptions → Metadata → CallOptions := CallOptions.withMetadata
example : CallOptions → String → String → CallOptions := CallOptions.addMetadata
example (o : CallOptions) : CallOptions := o.withWaitForReady
example (o : CallOptions) : CallOptions := o.withWaitForReady false
#guard CallOptions.default.timeoutMs == 0 && CallOptions.default.metadata.isEmpty && !CallOptions.default.waitForReady
#guard (CallOptions.default.withTimeoutSeconds 2).timeoutMs == 2000

example : List ConnectivityState := [.idle, .connecting, .ready, .transientFailure, .shutdown]
#guard toString ConnectivityState.idle == "IDLE" && toString ConnectivityState.transientFailure == "TRANSIENT_FAILURE"

example : SslCredentials := {}
example : SslCredentials := { rootCerts := "", privateKey := "", certChain := "", sslTargetNameOverride := "" }
example : SslCredentials := ⟨"roots", "key", "chain", "name"⟩
example : SslServerCredentials := { serverCert := "cert", serverKey := "key" }
example : SslServerCredentials := { serverCert := "cert", serverKey := "key", rootCerts := "", clientAuth := .none }
example : SslServerCredentials := ⟨"cert", "key", "roots", .require⟩
example : List ClientAuthType := [.none, .request, .require]

/-! ## Client -/

example : String → IO Channel := Channel.createInsecure
example (target : String) : IO Channel := Channel.createSecure target
example : String → SslCredentials → IO Channel := @Channel.createSecure
example (channel : Channel) : IO ConnectivityState := channel.getState
example (channel : Channel) : IO ConnectivityState := channel.getState (tryToConnect := true)
example (channel : Channel) : IO Bool := channel.isReady
example (channel : Channel) : IO Bool := channel.waitForReady
example (channel : Channel) : IO Bool := channel.waitForReady (timeoutMs := 100)

example (channel : Channel) : IO (GrpcResult UnaryResponse) := unaryCall channel "/p.S/M" .empty
example (channel : Channel) : IO (GrpcResult UnaryResponse) := unaryCall channel "/p.S/M" .empty { timeoutMs := 5 }
example (channel : Channel) : IO (GrpcResult UnaryResponse) := unaryCall channel "/p.S/M" .empty (options := {})
example (r : UnaryResponse) : ByteArray × Metadata × Metadata := (r.data, r.headers, r.trailers)
example : Channel → String → ByteArray → CallOptions → IO (GrpcResult UnaryResponse) := @unaryCall
example : Channel → String → ByteArray → CallOptions → IO (GrpcResult ByteArray) := @unaryCallData

example : Channel → String → CallOptions → IO (GrpcResult ClientStreamWriter) := @clientStreamingCall
example (channel : Channel) : IO (GrpcResult ClientStreamWriter) := clientStreamingCall channel "/p.S/M"
example : ClientStreamWriter → ByteArray → IO (GrpcResult Unit) := ClientStreamWriter.write
example : ClientStreamWriter → IO (GrpcResult Unit) := ClientStreamWriter.writesDone
example : ClientStreamWriter → IO (GrpcResult ClientStreamResponse) := ClientStreamWriter.finish
example : ClientStreamWriter → IO Metadata := ClientStreamWriter.getHeaders
example : ClientStreamWriter → IO Unit := ClientStreamWriter.cancel
example : ClientStreamWriter → Array ByteArray → IO (GrpcResult Unit) := ClientStreamWriter.writeAll
example (r : ClientStreamResponse) : ByteArray × Metadata × Metadata × Status :=
  (r.data, r.headers, r.trailers, r.status)

example : Channel → String → ByteArray → CallOptions → IO (GrpcResult ServerStreamReader) := @serverStreamingCall
example (channel : Channel) : IO (GrpcResult ServerStreamReader) := serverStreamingCall channel "/p.S/M" .empty
example : ServerStreamReader → IO (GrpcResult (Option ByteArray)) := ServerStreamReader.read
example : ServerStreamReader → IO Metadata := ServerStreamReader.getHeaders
example : ServerStreamReader → IO Metadata := ServerStreamReader.getTrailers
example : ServerStreamReader → IO Status := ServerStreamReader.getStatus
example : ServerStreamReader → IO (GrpcResult (Array ByteArray)) := ServerStreamReader.readAll
example (r : ServerStreamReader) : IO (GrpcResult Unit) := r.forEach fun _ => pure ()
example (r : ServerStreamReader) : IO (GrpcResult Nat) := r.fold 0 fun n _ => pure (n + 1)
example : ServerStreamReader → IO Unit := ServerStreamReader.cancel

example : Channel → String → CallOptions → IO (GrpcResult BidiStream) := @bidiStreamingCall
example (channel : Channel) : IO (GrpcResult BidiStream) := bidiStreamingCall channel "/p.S/M"
example : BidiStream → ByteArray → IO (GrpcResult Unit) := BidiStream.write
example : BidiStream → IO (GrpcResult Unit) := BidiStream.writesDone
example : BidiStream → IO (GrpcResult (Option ByteArray)) := BidiStream.read
example : BidiStream → IO Status := BidiStream.getStatus
example : BidiStream → IO Metadata := BidiStream.getHeaders
example : BidiStream → IO Metadata := BidiStream.getTrailers
example : BidiStream → Array ByteArray → IO (GrpcResult Unit) := BidiStream.writeAll
example : BidiStream → IO (GrpcResult (Array ByteArray)) := BidiStream.readAll
example : BidiStream → IO Unit := BidiStream.cancel

/-! ## Server -/

example (context : ServerContext) : String × Metadata × String := (context.method, context.metadata, context.peer)
example (context : ServerContext) : IO Bool := context.call.isCancelled
example (context : ServerContext) : IO (Option UInt64) := context.call.deadlineRemainingMs
example (context : ServerContext) (headers : Metadata) : IO Unit := do
  let _ ← context.call.sendInitialMetadata headers

example : UnaryHandler := fun _ request => return .ok (request, #[], #[])
example : UnaryHandler := fun _ _ => return .error (.simple .notFound "no such thing")
example (h : ServerContext → ByteArray → IO (GrpcResult (ByteArray × Metadata × Metadata))) : UnaryHandler := h
example (h : ServerContext → IO (Option ByteArray) → IO (GrpcResult (ByteArray × Metadata × Metadata))) :
    ClientStreamingHandler := h
example (h : ServerContext → ByteArray → (ByteArray → IO Unit) → IO (GrpcResult (Metadata × Metadata))) :
    ServerStreamingHandler := h
example (h : ServerContext → IO (Option ByteArray) → (ByteArray → IO Unit) → IO (GrpcResult (Metadata × Metadata))) :
    BidiStreamingHandler := h
example : ClientStreamingHandler := fun _ recv => do
  let mut all := ByteArray.empty
  repeat
    let some message ← recv | break
    all := all ++ message
  return .ok (all, #[], #[])
example : BidiStreamingHandler := fun _ recv send => do
  repeat
    let some message ← recv | break
    send message
  return .ok (#[], #[])

example : IO ServerBuilder := ServerBuilder.new
example : ServerBuilder → String → IO UInt32 := ServerBuilder.addInsecurePort
example : ServerBuilder → String → SslServerCredentials → IO UInt32 := ServerBuilder.addSecurePort
example : ServerBuilder → String → UnaryHandler → IO Unit := ServerBuilder.registerUnary
example : ServerBuilder → String → ClientStreamingHandler → IO Unit := ServerBuilder.registerClientStreaming
example : ServerBuilder → String → ServerStreamingHandler → IO Unit := ServerBuilder.registerServerStreaming
example : ServerBuilder → String → BidiStreamingHandler → IO Unit := ServerBuilder.registerBidiStreaming
example : ServerBuilder → IO Server := ServerBuilder.build
example : Server → IO Unit := Server.start
example : Server → IO Unit := Server.wait
example : Server → IO Unit := Server.run
example : Server → IO Unit := Server.shutdown
example : Server → IO Unit := Server.shutdownNow
example (address : String) (register : ServerBuilder → IO Unit) : IO Unit := runServer address register
example (address : String) (credentials : SslServerCredentials) (register : ServerBuilder → IO Unit) : IO Unit :=
  runSecureServer address credentials register
