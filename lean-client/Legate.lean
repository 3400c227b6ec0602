import Legate.CallEnd
import Legate.CallOptions
import Legate.Channel
import Legate.ChannelOptions
import Legate.Client.BidiStream
import Legate.Client.ClientStream
import Legate.Client.Interceptors
import Legate.Client.ServerStream
import Legate.Client.Unary
import Legate.Connection
import Legate.ConnectivityState
import Legate.Credentials
import Legate.Daemon
import Legate.GrpcError
import Legate.Log
import Legate.Message
import Legate.Metadata
import Legate.MethodPath
import Legate.Origin
import Legate.Server.Builder
import Legate.Server.Context
import Legate.Server.Handler
import Legate.Server.Interceptors
import Legate.Server.Server
import Legate.Server.WorkerOptions
import Legate.ServerOptions
import Legate.Status
import Legate.StatusCode
import Legate.TraceContext
import Legate.Transport.Memory

/-!
# Legate: gRPC for Lean, through the daemon legated

A program makes calls on a `Channel` and serves them with a `Server`; the daemon owns every gRPC connection and
port. docs/lean.md is the guide.
-/
