/-!
# The messages of tests/peers/peer.proto

By hand, as far as the tests need them: the library sees bytes, and so do they.
-/

namespace Peer

/-- `Command`: what the server is to do. -/
structure Command where
  payload : ByteArray := .empty
  responseSize : Nat := 0
  responseCount : Nat := 0
  statusCode : Nat := 0
  statusMessage : String := ""
  statusDetails : ByteArray := .empty
  headers : List (String × ByteArray) := []
  trailers : List (String × ByteArray) := []
  delayMs : Nat := 0
  headersFirst : Bool := false
  echoMetadata : Bool := false
  hang : Bool := false

/-- `Reply`. -/
structure Reply where
  payload : ByteArray := .empty
  index : Nat := 0
  cancelledSeen : Nat := 0
  messagesReceived : Nat := 0

private def varint (n : Nat) : ByteArray := Id.run do
  let mut bytes := ByteArray.empty
  let mut rest := n
  while rest ≥ 128 do
    bytes := bytes.push (rest % 128 + 128).toUInt8
    rest := rest / 128
  return bytes.push rest.toUInt8

private def number (field n : Nat) : ByteArray :=
  if n == 0 then .empty else varint (field * 8) ++ varint n

private def bytes (field : Nat) (value : ByteArray) : ByteArray :=
  if value.isEmpty then .empty else varint (field * 8 + 2) ++ varint value.size ++ value

private def header (field : Nat) (entry : String × ByteArray) : ByteArray :=
  bytes field (bytes 1 entry.1.toUTF8 ++ bytes 2 entry.2)

private def join (parts : List ByteArray) : ByteArray := parts.foldl (· ++ ·) .empty

def Command.encode (c : Command) : ByteArray := join [
  bytes 1 c.payload, number 2 c.responseSize, number 3 c.responseCount, number 4 c.statusCode,
  bytes 5 c.statusMessage.toUTF8, bytes 6 c.statusDetails, join (c.headers.map (header 7)),
  join (c.trailers.map (header 8)), number 9 c.delayMs, number 10 c.headersFirst.toNat,
  number 11 c.echoMetadata.toNat, number 12 c.hang.toNat]

def Reply.encode (r : Reply) : ByteArray := join [
  bytes 1 r.payload, number 2 r.index, number 3 r.cancelledSeen, number 4 r.messagesReceived]

/-- A varint at `at`, and where it ends. -/
private def varintAt (input : ByteArray) (start : Nat) : Option (Nat × Nat) := Id.run do
  let mut value := 0
  for i in [0:10] do
    if h : start + i < input.size then
      let byte := input[start + i].toNat
      value := value + (byte % 128) * 128 ^ i
      if byte < 128 then return some (value, start + i + 1)
  return none

/-- The fields in their order: a number, or the bytes of a length-delimited one. -/
def fields (input : ByteArray) : Option (List (Nat × Nat × ByteArray)) := Id.run do
  let mut found := #[]
  let mut position := 0
  while position < input.size do
    let some (tag, next) := varintAt input position | return none
    let some (value, next) := varintAt input next | return none
    if tag % 8 == 0 then
      found := found.push (tag / 8, value, .empty)
      position := next
    else if tag % 8 == 2 && next + value ≤ input.size then
      found := found.push (tag / 8, 0, input.extract next (next + value))
      position := next + value
    else return none
  return some found.toList

private def entry (input : ByteArray) : Option (String × ByteArray) := do
  let mut result := ("", .empty)
  for (field, _, value) in ← fields input do
    if field == 1 then result := ((← String.fromUTF8? value), result.2)
    if field == 2 then result := (result.1, value)
  return result

def Command.decode? (input : ByteArray) : Option Command := do
  let mut c : Command := {}
  for (field, n, value) in ← fields input do
    match field with
    | 1 => c := { c with payload := value }
    | 2 => c := { c with responseSize := n }
    | 3 => c := { c with responseCount := n }
    | 4 => c := { c with statusCode := n }
    | 5 => c := { c with statusMessage := ← String.fromUTF8? value }
    | 6 => c := { c with statusDetails := value }
    | 7 => c := { c with headers := c.headers ++ [← entry value] }
    | 8 => c := { c with trailers := c.trailers ++ [← entry value] }
    | 9 => c := { c with delayMs := n }
    | 10 => c := { c with headersFirst := n != 0 }
    | 11 => c := { c with echoMetadata := n != 0 }
    | 12 => c := { c with hang := n != 0 }
    | _ => pure ()
  return c

def Reply.decode? (input : ByteArray) : Option Reply := do
  let mut r : Reply := {}
  for (field, n, value) in ← fields input do
    match field with
    | 1 => r := { r with payload := value }
    | 2 => r := { r with index := n }
    | 3 => r := { r with cancelledSeen := n }
    | 4 => r := { r with messagesReceived := n }
    | _ => pure ()
  return r

/-- Full names of the methods. -/
def unary := "/legate.test.v1.Peer/Unary"
def clientStream := "/legate.test.v1.Peer/ClientStream"
def serverStream := "/legate.test.v1.Peer/ServerStream"
def bidi := "/legate.test.v1.Peer/Bidi"

/-- Byte i is i mod 251, as in every peer; in doubling steps, since this is interpreted. -/
def pattern (size : Nat) : ByteArray := Id.run do
  let mut block := ByteArray.empty
  for i in [0:min size 251] do block := block.push i.toUInt8
  while block.size < size do block := block ++ block.extract 0 (min block.size (size - block.size))
  return block

end Peer
