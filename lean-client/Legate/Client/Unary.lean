import Legate.Client.Start

/-!
# Unary calls
-/

namespace Legate

/-- Makes a unary call, without waiting for its answer. -/
def unaryCallTask (channel : Channel) (method : String) (message : ByteArray) (options : CallOptions := {}) :
    IO (Task (GrpcResult UnaryResponse)) :=
  channel.unaryTask method message options

/-- Makes a unary call: one message each way. -/
def unaryCall (channel : Channel) (method : String) (message : ByteArray) (options : CallOptions := {}) :
    IO (GrpcResult UnaryResponse) := do
  IO.wait (← unaryCallTask channel method message options)

/-- Makes a unary call, and gives the answer's bytes alone. -/
def unaryCallData (channel : Channel) (method : String) (message : ByteArray) (options : CallOptions := {}) :
    IO (GrpcResult ByteArray) := do
  return (← unaryCall channel method message options).map (·.data)

end Legate
