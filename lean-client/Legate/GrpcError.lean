import Legate.Metadata
import Legate.Origin
import Legate.StatusCode

/-!
# Errors and results

What an operation gives that can fail as a gRPC call does.
-/

namespace Legate

/-- How a call failed. -/
structure GrpcError where
  /-- The code; not `ok` in an error that this library makes. -/
  code : StatusCode
  /-- For people: problem, cause and what to do. -/
  message : String
  /-- The bytes of `grpc-status-details-bin`, if there were any. -/
  details : Option ByteArray := none
  /-- The headers that came before the error. -/
  headers : Metadata := #[]
  /-- The trailers that came with the error; for a handler's error, those to send. -/
  trailers : Metadata := #[]
  /-- Which side failed. -/
  origin : Origin := .app
  deriving BEq, Inhabited

namespace GrpcError

/-- An error without details. -/
def simple (code : StatusCode) (message : String) : GrpcError := { code, message }

/-- Whether the code is `ok`. -/
def isOk (error : GrpcError) : Bool := error.code == .ok

instance : ToString GrpcError where
  toString error := s!"GrpcError({error.code.description}: {error.message})"

instance : Repr GrpcError where
  reprPrec error _ := toString error

/-- The error as an exception of `IO`. -/
def toIOError (error : GrpcError) : IO.Error := IO.userError (toString error)

end GrpcError

/-- A value, or how its call failed. -/
abbrev GrpcResult (α : Type) := Except GrpcError α

namespace GrpcResult

variable {α β : Type}

/-- Whether there is a value. -/
def isOk : GrpcResult α → Bool
  | .ok _ => true
  | .error _ => false

/-- The value, or another one. -/
def getD (result : GrpcResult α) (default : α) : α :=
  match result with
  | .ok value => value
  | .error _ => default

/-- Applies a function to the value. -/
def map (f : α → β) : GrpcResult α → GrpcResult β
  | .ok value => .ok (f value)
  | .error error => .error error

/-- Goes on with the value. -/
def bind (result : GrpcResult α) (f : α → GrpcResult β) : GrpcResult β :=
  match result with
  | .ok value => f value
  | .error error => .error error

/-- The value; an error is thrown. -/
def get (result : GrpcResult α) : IO α :=
  match result with
  | .ok value => pure value
  | .error error => throw error.toIOError

end GrpcResult
end Legate
