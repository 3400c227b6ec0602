import Legate.CallEnd
import Legate.CallOptions

/-!
# Client interceptors

What a program does around every call of a channel. The first interceptor of a channel is the outermost: it
sees a call first, and its end last.
-/

namespace Legate

/-- How many messages go each way. -/
inductive CallShape where
  /-- One each way. -/
  | unary
  /-- Any number of requests, one answer. -/
  | clientStreaming
  /-- One request, any number of answers. -/
  | serverStreaming
  /-- Any number each way. -/
  | bidiStreaming
  deriving Repr, BEq, DecidableEq, Inhabited

/-- What a unary call gives. -/
structure UnaryResponse where
  /-- The message. -/
  data : ByteArray
  /-- The headers. -/
  headers : Metadata
  /-- The trailers. -/
  trailers : Metadata
  deriving Inhabited

/-- A call that is about to start. -/
structure CallInfo where
  /-- "/package.Service/Method". -/
  method : String
  /-- Its options, as the interceptors before have left them. -/
  options : CallOptions
  /-- How many messages go each way. -/
  shape : CallShape
  /-- The target of its channel. -/
  target : String

/-- What an interceptor makes of a call. -/
inductive Decision where
  /-- It goes on, with these options. `ended` is called once with its end, by any task; it should not block
  for long. -/
  | proceed (options : CallOptions) (ended : CallEnd → IO Unit := fun _ => pure ())
  /-- It ends here, with this error. -/
  | refuse (error : GrpcError)
  /-- It ends here, with this answer; for unary calls only. -/
  | respond (response : UnaryResponse)

/-- What a program does around every call of a channel. -/
structure ClientInterceptor where
  /-- For the log. -/
  name : String
  /-- Called before each call. What it throws ends the call INTERNAL. -/
  intercept : CallInfo → IO Decision

namespace ClientInterceptor

/-- What became of a call in a channel's interceptors. -/
inductive Outcome where
  /-- It goes on; `ended` is to be called with its end. -/
  | proceed (options : CallOptions) (ended : CallEnd → BaseIO Unit)
  /-- It is over. -/
  | over (result : GrpcResult UnaryResponse)

/-- Lets a call go through interceptors, the first one first. -/
def runAll (interceptors : Array ClientInterceptor) (info : CallInfo) : BaseIO Outcome := do
  let mut options := info.options
  let mut ended : CallEnd → BaseIO Unit := fun _ => pure ()
  for interceptor in interceptors do
    match ← (interceptor.intercept { info with options }).toBaseIO with
    | .ok (.proceed changed onEnd) =>
      options := changed
      let outer := ended
      -- The innermost sees the end first.
      ended := fun ending => do
        discard (onEnd ending).toBaseIO
        outer ending
    | .ok (.refuse error) =>
      ended { status := { code := error.code, message := error.message, details := error.details },
              trailers := error.trailers, origin := .app }
      return .over (.error error)
    | .ok (.respond response) =>
      if info.shape == .unary then
        ended { status := .ok, trailers := response.trailers, origin := .app }
        return .over (.ok response)
      let error := GrpcError.simple .internal
        s!"interceptor {interceptor.name} answered a call that streams; it can only refuse one"
      ended { status := .make error.code error.message, origin := .app }
      return .over (.error error)
    | .error thrown =>
      let error := GrpcError.simple .internal s!"interceptor {interceptor.name}: {thrown}"
      ended { status := .make error.code error.message, origin := .app }
      return .over (.error error)
  return .proceed options ended

end ClientInterceptor
end Legate
