import Legate.GrpcError

/-!
# Status

The one end of a call.
-/

namespace Legate

/-- How a call ended. -/
structure Status where
  /-- The code. -/
  code : StatusCode
  /-- For people. -/
  message : String := ""
  /-- The bytes of `grpc-status-details-bin`, if there were any. -/
  details : Option ByteArray := none
  deriving BEq, Inhabited

namespace Status

/-- The call succeeded. -/
def ok : Status := { code := .ok }

/-- A status without details. -/
def make (code : StatusCode) (message : String := "") : Status := { code, message }

/-- Whether the call succeeded. -/
def isOk (status : Status) : Bool := status.code == .ok

/-- Whether the call failed. -/
def isError (status : Status) : Bool := !status.isOk

/-- The status as an error, whatever its code. -/
def toError (status : Status) : GrpcError :=
  { code := status.code, message := status.message, details := status.details }

/-- Nothing, or how the call failed. -/
def toResult (status : Status) : GrpcResult Unit :=
  if status.isOk then .ok () else .error status.toError

instance : ToString Status where
  toString status :=
    if status.message.isEmpty then status.code.description
    else s!"{status.code.description}: {status.message}"

instance : Repr Status where
  reprPrec status _ := toString status

end Status
end Legate
