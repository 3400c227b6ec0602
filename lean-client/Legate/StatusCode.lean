/-!
# Status codes

The codes a gRPC call ends with, in gRPC's order.
-/

namespace Legate

/-- How a gRPC call ended, in gRPC's order: `toNat` is the number on the wire. -/
inductive StatusCode where
  /-- No error. -/
  | ok
  /-- The caller cancelled. -/
  | cancelled
  /-- An error nothing is known of. -/
  | unknown
  /-- The request is wrong whatever the state of the system. -/
  | invalidArgument
  /-- The time was over before the call was done. -/
  | deadlineExceeded
  /-- There is no such thing. -/
  | notFound
  /-- There is such a thing already. -/
  | alreadyExists
  /-- The caller is known, but may not. -/
  | permissionDenied
  /-- A limit, a quota or a memory is used up. -/
  | resourceExhausted
  /-- The system is not in the state that the request needs. -/
  | failedPrecondition
  /-- A conflict; to be tried again from further up. -/
  | aborted
  /-- Past the valid range. -/
  | outOfRange
  /-- The method does not exist, or is not supported. -/
  | unimplemented
  /-- An invariant is broken. -/
  | internal
  /-- The service can't be reached now; to be tried again. -/
  | unavailable
  /-- Data is lost or corrupted. -/
  | dataLoss
  /-- The caller is not known. -/
  | unauthenticated
  deriving Repr, BEq, DecidableEq, Inhabited, Hashable, Ord

namespace StatusCode

/-- All codes, in gRPC's order. -/
def all : Array StatusCode :=
  #[ok, cancelled, unknown, invalidArgument, deadlineExceeded, notFound, alreadyExists,
    permissionDenied, resourceExhausted, failedPrecondition, aborted, outOfRange, unimplemented,
    internal, unavailable, dataLoss, unauthenticated]

/-- The number on the wire. -/
def toNat (code : StatusCode) : Nat := code.ctorIdx

/-- The code of a number; what gRPC does not define is `unknown`. -/
def fromNat (number : Nat) : StatusCode := all.getD number unknown

/-- What people read: "Invalid Argument". -/
def description : StatusCode → String
  | ok => "OK"
  | cancelled => "Cancelled"
  | unknown => "Unknown"
  | invalidArgument => "Invalid Argument"
  | deadlineExceeded => "Deadline Exceeded"
  | notFound => "Not Found"
  | alreadyExists => "Already Exists"
  | permissionDenied => "Permission Denied"
  | resourceExhausted => "Resource Exhausted"
  | failedPrecondition => "Failed Precondition"
  | aborted => "Aborted"
  | outOfRange => "Out of Range"
  | unimplemented => "Unimplemented"
  | internal => "Internal"
  | unavailable => "Unavailable"
  | dataLoss => "Data Loss"
  | unauthenticated => "Unauthenticated"

instance : ToString StatusCode := ⟨description⟩

theorem fromNat_toNat (code : StatusCode) : fromNat code.toNat = code := by
  cases code <;> rfl

end StatusCode
end Legate
