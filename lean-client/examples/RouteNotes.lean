import Legate

/-!
# Streams in both roles

A walker records a route by client streaming, asks for the sights along it by server streaming, and exchanges
notes by a bidirectional call. Server and client are one program here; the calls between them go through the daemon
all the same. Messages are text, since the library does not care.
-/

open Legate

/-- A place on the map. -/
structure Place where
  x : Int
  y : Int
  deriving BEq, Repr

instance : ToString Place := ⟨fun place => s!"{place.x} {place.y}"⟩

def Place.ofString? (text : String) : Option Place := do
  let [x, y] := text.splitOn " " | none
  return { x := ← x.toInt?, y := ← y.toInt? }

def Place.distance (a b : Place) : Nat := (a.x - b.x).natAbs + (a.y - b.y).natAbs

def text (bytes : ByteArray) : String := (String.fromUTF8? bytes).getD ""

def sights : Array (Place × String) := #[(⟨1, 1⟩, "fountain"), (⟨2, 5⟩, "tower"), (⟨9, 9⟩, "harbour")]

/-- Places in, the length of the way out. -/
def recordRoute : ClientStreamingHandler := fun _ receive => do
  let mut last : Option Place := none
  let mut length := 0
  repeat
    let some message ← receive | break
    let some place := Place.ofString? (text message)
      | return .error (.simple .invalidArgument s!"no place: {text message}")
    if let some before := last then length := length + before.distance place
    last := some place
  return .ok ((toString length).toUTF8, #[], #[("x-unit", "steps")])

/-- A place in, the sights within five steps out. -/
def listSights : ServerStreamingHandler := fun _ message send => do
  let some here := Place.ofString? (text message)
    | return .error (.simple .invalidArgument s!"no place: {text message}")
  for (place, name) in sights do
    if here.distance place ≤ 5 then send name.toUTF8
  return .ok (#[], #[])

/-- Notes in, and for each one those that were left before at the same place. -/
def exchangeNotes (notes : IO.Ref (Array (String × String))) : BidiStreamingHandler := fun _ receive send => do
  repeat
    let some message ← receive | break
    let place :: words := (text message).splitOn ": " | continue
    for (other, note) in ← notes.get do
      if other == place then send note.toUTF8
    notes.modify (·.push (place, ": ".intercalate words))
  return .ok (#[], #[])

def serve : IO (Server × UInt32) := do
  let builder ← ServerBuilder.new
  let port ← builder.addInsecurePort "127.0.0.1:0"
  builder.registerClientStreaming "/example.Route/Record" recordRoute
  builder.registerServerStreaming "/example.Route/ListSights" listSights
  builder.registerBidiStreaming "/example.Route/ExchangeNotes" (exchangeNotes (← IO.mkRef #[]))
  let server ← builder.build
  server.start
  return (server, port)

def walk (channel : Channel) : IO Unit := do
  let writer ← GrpcResult.get (← clientStreamingCall channel "/example.Route/Record")
  for place in [Place.mk 0 0, ⟨1, 1⟩, ⟨2, 4⟩] do
    GrpcResult.get (← writer.write (toString place).toUTF8)
  let route ← GrpcResult.get (← writer.finish)
  IO.eprintln s!"the way was {text route.data} {(route.trailers.get? "x-unit").getD ""} long"

  for name in ← GrpcResult.get (← serverStreamingCall channel "/example.Route/ListSights" "2 4".toUTF8) do
    IO.eprintln s!"a {text name} is near"

  let stream ← GrpcResult.get (← bidiStreamingCall channel "/example.Route/ExchangeNotes")
  for note in ["2 5: the door is open", "1 1: cold water", "2 5: closed at noon", "2 5: open again"] do
    GrpcResult.get (← stream.write note.toUTF8)
  for note in ← GrpcResult.get (← stream.readAll) do
    IO.eprintln s!"somebody wrote: {text note}"

def main : IO UInt32 := do
  let (server, port) ← serve
  let channel ← Channel.createInsecure s!"127.0.0.1:{port}"
  walk channel
  channel.close
  server.shutdown
  return 0
