/-!
# Base64

The text form of binary metadata (RFC 4648, section 4).
-/

namespace Legate.Base64

private def alphabet : ByteArray :=
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".toUTF8

private def letter (sextet : Nat) : Char := Char.ofNat (alphabet.get! sextet).toNat

/-- Bytes as text, with padding. -/
def encode (bytes : ByteArray) : String := Id.run do
  let mut text := ""
  for group in [0 : (bytes.size + 2) / 3] do
    let at' (i : Nat) : Nat := if h : 3 * group + i < bytes.size then bytes[3 * group + i].toNat else 0
    let bits := (at' 0 <<< 16) ||| (at' 1 <<< 8) ||| at' 2
    let left := bytes.size - 3 * group
    text := text.push (letter (bits >>> 18)) |>.push (letter ((bits >>> 12) % 64))
    text := text.push (if left > 1 then letter ((bits >>> 6) % 64) else '=')
    text := text.push (if left > 2 then letter (bits % 64) else '=')
  return text

private def value? (char : Char) : Option Nat :=
  if 'A' ≤ char ∧ char ≤ 'Z' then some (char.toNat - 'A'.toNat)
  else if 'a' ≤ char ∧ char ≤ 'z' then some (char.toNat - 'a'.toNat + 26)
  else if '0' ≤ char ∧ char ≤ '9' then some (char.toNat - '0'.toNat + 52)
  else if char == '+' then some 62
  else if char == '/' then some 63
  else none

/-- The bytes of a text, with padding or without; none when it is not Base64. -/
def decode? (text : String) : Option ByteArray := do
  let mut bytes := ByteArray.empty
  let mut bits := 0
  let mut held := 0  -- how many bits of `bits` are still to be used
  let mut padding := 0
  for char in text.toList do
    if char == '=' then
      padding := padding + 1
    else
      guard (padding == 0)
      bits := (bits <<< 6 ||| (← value? char)) % (1 <<< 12)
      held := held + 6
      if held ≥ 8 then
        held := held - 8
        bytes := bytes.push (bits >>> held).toUInt8
  -- A lone letter is no byte; padding, if there is any, fills the last group of four.
  guard (held < 6 ∧ bits % (1 <<< held) == 0)
  guard (padding == 0 ∨ padding == held / 2)
  return bytes

end Legate.Base64
