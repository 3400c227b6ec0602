import Legate.Credentials
import Legate.Daemon
import Legate.Server.Handler
import Legate.Server.WorkerOptions

/-!
# Server builder

Ports and handlers of a server. A port is bound at once, and answers nothing before the server starts.
-/

namespace Legate

namespace Server

/-- A port of a server. It lives in the daemon, and so outlives a session of this process. -/
structure Port where
  /-- With the real port in it. -/
  address : String
  /-- How it is bound. -/
  listen : Wire.Listen
  /-- The session that has bound it last, by number, and the id it has there. -/
  bound : IO.Ref (Nat × UInt32)

/-- Binds an address in a session. -/
def Port.bind (session : Session) (listen : Wire.Listen) :
    BaseIO (Except CallEnd (UInt32 × UInt32 × String)) := do
  let (id, answer) ← session.ask .server (.listen listen)
  match ← IO.wait answer with
  | .listening port address _ => return .ok (id, port, address)
  | .refused ending => return .error ending
  | _ => return .error (.ofLibrary .internal "LISTEN had another answer than LISTENING")

end Server

/-- Ports and handlers of a server that is not built yet. -/
structure ServerBuilder where
  private mk ::
  /-- The connection to the daemon. -/
  connection : Connection
  /-- What this process says of itself. -/
  worker : WorkerOptions
  /-- What is bound. -/
  ports : Std.Mutex (Array Server.Port)
  /-- By method path, in order of registration. -/
  handlers : Std.Mutex (Array (String × Handler))
  /-- What reflection shows of the services, a serialized `FileDescriptorSet`; empty: nothing. -/
  descriptors : Std.Mutex ByteArray
  /-- The outermost first. -/
  interceptors : Std.Mutex (Array ServerInterceptor)

namespace ServerBuilder

/-- A builder without ports and handlers. -/
def new (connection : Option Connection := none) (worker : Option WorkerOptions := none) :
    IO ServerBuilder := do
  let connection ← match connection with
    | some connection => pure connection
    | none => Connection.default
  let worker ← match worker with
    | some worker => pure worker
    | none => WorkerOptions.ofEnvironment
  worker.check
  return { connection, worker, ports := ← Std.Mutex.new #[], handlers := ← Std.Mutex.new #[],
           descriptors := ← Std.Mutex.new .empty, interceptors := ← Std.Mutex.new #[] }

private def bind (builder : ServerBuilder) (listen : Wire.Listen) : IO UInt32 := do
  let fail {α : Type} (ending : CallEnd) : IO α :=
    throw (IO.userError s!"can't listen at {listen.address.toString}: {ending.status}")
  match ← builder.connection.session with
  | .error ending => fail ending
  | .ok session =>
    match ← Server.Port.bind session listen with
    | .error ending => fail ending
    | .ok (id, port, address) =>
      let real := if address.isEmpty then listen.address.toString else address
      let port' : Server.Port := {
        address := real
        -- Bound again it must have the same port; a server of the configuration keeps its name.
        listen := if listen.address.toString.startsWith "legated:" then listen
          else { listen with address := .ofString real }
        bound := ← IO.mkRef (session.serial, id) }
      builder.ports.atomically (modify (·.push port'))
      return port

/-- Binds a port and gives its number, the real one also for ":0"; 0 for a Unix socket. It throws when it can't be
bound. "legated:///NAME" is a server of the daemon's configuration, which has its options there. -/
def addPort (builder : ServerBuilder) (address : String) (options : ServerOptions := {}) : IO UInt32 :=
  builder.bind { address, options := if options == {} then none else some (Session.toListenOptions options) }

/-- Binds a plaintext port; else as `addPort`. -/
def addInsecurePort (builder : ServerBuilder) (address : String) : IO UInt32 := builder.addPort address

/-- Binds a port with TLS; else as `addPort`. -/
def addSecurePort (builder : ServerBuilder) (address : String) (credentials : SslServerCredentials) : IO UInt32 :=
  builder.addPort address { credentials := some credentials }

/-- Describes the services for reflection, by a serialized `google.protobuf.FileDescriptorSet` with all that
they import (`protoc --include_imports --descriptor_set_out`). -/
def describe (builder : ServerBuilder) (descriptors : ByteArray) : IO Unit :=
  builder.descriptors.atomically (set descriptors)

private def add (builder : ServerBuilder) (path : String) (handler : Handler) : IO Unit :=
  builder.handlers.atomically do
    unless (← get).any (·.1 == path) do modify (·.push (path, handler))

/-- Registers a unary handler for "/package.Service/Method", for all other methods of a service,
"/package.Service/*", or for all others, "*". The first registration of a path wins. -/
def registerUnary (builder : ServerBuilder) (path : String) (handler : UnaryHandler) : IO Unit :=
  builder.add path (.ofUnary handler)

/-- Registers a client-streaming handler; the first registration of a path wins. -/
def registerClientStreaming (builder : ServerBuilder) (path : String)
    (handler : ClientStreamingHandler) : IO Unit :=
  builder.add path (.ofClientStreaming handler)

/-- Registers a server-streaming handler; the first registration of a path wins. -/
def registerServerStreaming (builder : ServerBuilder) (path : String)
    (handler : ServerStreamingHandler) : IO Unit :=
  builder.add path (.ofServerStreaming handler)

/-- Registers a bidirectional handler; the first registration of a path wins. -/
def registerBidiStreaming (builder : ServerBuilder) (path : String)
    (handler : BidiStreamingHandler) : IO Unit :=
  builder.add path (.ofBidiStreaming handler)

/-- Puts an interceptor around all handlers, inside of those that were added before. -/
def addInterceptor (builder : ServerBuilder) (interceptor : ServerInterceptor) : IO Unit :=
  builder.interceptors.atomically (modify (·.push interceptor))

end ServerBuilder
end Legate
