import Legate

/-!
# The greeter's messages

`HelloRequest` and `HelloReply` of examples/greeter/greeter.proto, by hand. A protobuf library's types need the
same: an instance of `Legate.Message`.
-/

namespace Greeting
open Legate

/-- `HelloRequest`. -/
structure HelloRequest where
  /-- Who is greeted. -/
  name : String
  /-- How often, by `ListHellos`. -/
  count : Nat := 0

/-- `HelloReply`. -/
structure HelloReply where
  /-- The greeting. -/
  message : String

private def varint (n : Nat) : ByteArray :=
  if n < 128 then .mk #[n.toUInt8] else .mk #[(n % 128 + 128).toUInt8] ++ varint (n / 128)
termination_by n

/-- A string field: its tag, its length, its bytes. -/
private def text (field : Nat) (value : String) : ByteArray :=
  if value.isEmpty then .empty else varint (field * 8 + 2) ++ varint value.utf8ByteSize ++ value.toUTF8

/-- The varint at a position, and where it ends. -/
private def varintAt (bytes : ByteArray) (position : Nat) : Except String (Nat × Nat) :=
  if h : position < bytes.size then
    let byte := bytes[position].toNat
    if byte < 128 then .ok (byte, position + 1)
    else do
      let (high, after) ← varintAt bytes (position + 1)
      return (high * 128 + byte % 128, after)
  else .error "a number is cut off"
termination_by bytes.size - position

/-- The fields, each with its number and its bytes or its value. -/
private def fields (bytes : ByteArray) : Except String (Array (Nat × Nat × ByteArray)) := do
  let mut found := #[]
  let mut position := 0
  while position < bytes.size do
    let (tag, start) ← varintAt bytes position
    let (value, after) ← varintAt bytes start
    match tag % 8 with
    | 0 =>
      found := found.push (tag / 8, value, .empty)
      position := after
    | 2 =>
      unless after + value ≤ bytes.size do throw "a field is cut off"
      found := found.push (tag / 8, 0, bytes.extract after (after + value))
      position := after + value
    | kind => throw s!"a field has wire type {kind}"
  return found

private def string (bytes : ByteArray) : Except String String :=
  match String.fromUTF8? bytes with
  | some string => .ok string
  | none => .error "a string is not UTF-8"

instance : Message HelloRequest where
  encode request :=
    text 1 request.name ++ if request.count == 0 then .empty else varint 16 ++ varint request.count
  decode bytes := do
    let mut request : HelloRequest := { name := "" }
    for (field, value, bytes) in ← fields bytes do
      if field == 1 then request := { request with name := ← string bytes }
      if field == 2 then request := { request with count := value }
    return request

instance : Message HelloReply where
  encode reply := text 1 reply.message
  decode bytes := do
    let mut reply : HelloReply := { message := "" }
    for (field, _, bytes) in ← fields bytes do
      if field == 1 then reply := { message := ← string bytes }
    return reply

/-- A value of bytes, in a program that has nothing to do without it. -/
def decode {α : Type} [Message α] (bytes : ByteArray) : IO α := IO.ofExcept (Message.decode bytes)

/-- The paths of the methods. -/
def sayHello := method!"/legated.greeter.v1.Greeter/SayHello"
@[inherit_doc sayHello]
def collectHellos := method!"/legated.greeter.v1.Greeter/CollectHellos"
@[inherit_doc sayHello]
def listHellos := method!"/legated.greeter.v1.Greeter/ListHellos"
@[inherit_doc sayHello]
def chat := method!"/legated.greeter.v1.Greeter/Chat"

end Greeting
