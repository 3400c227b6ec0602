import Legate.Wire.Tables

/-!
# Frames of the legated IPC protocol

The values that travel: the meta tables (`Tables.lean`), and here the frame around them.
`ipc-schema/PROTOCOL.md` says what each means. Pure data; the codec is in the files beside this one:

* `Frame.encode : Frame → (limits : FrameLimits := {}) → Except WireError ByteArray`
* `Frame.encodeHead : Frame → (payloadLength : Nat) → (limits : FrameLimits := {}) →
  Except WireError ByteArray` gives header and meta alone (whatever `frame.payload` holds); the
  caller sends `payloadLength` bytes of payload after it from where they lie. `frameTooLarge`
  tells that the frame is above the limits of the other side.
* `Decoder.new : (limits : FrameLimits := {}) → Decoder`,
  `Decoder.feed : Decoder → ByteArray → Array Frame × Except WireError Decoder`. Bytes may be cut
  anywhere. Frames before a malformed one are given along with the error; `Decoder.wanted` tells
  how many bytes the frame under way has in all, as far as can be told.

**Text.** A string of the protocol is UTF-8 where this library writes it, but a status message, a
method or an address from a remote side arrives as it came. So strings are `Text`, bytes with a
`String` view: `text.toString` puts U+FFFD in place of what is not UTF-8. Where a `Text` (or an
`Option Text`) is expected a `String` may be written.

**Absent is not empty.** Strings, vectors and tables that the schema does not require are `Option`s.
-/

namespace Legate.Wire

/-- The 16 bytes before every frame. -/
structure Header where
  /-- Bytes after the header. -/
  bodyLength : UInt32
  /-- The call or request; 0 = the connection itself. -/
  callId : UInt32
  /-- Number of the type; section 4 of PROTOCOL.md. -/
  type : UInt8
  /-- Bits of `Flag`. -/
  flags : UInt8
  /-- Length of the meta table in 8-byte words. -/
  metaWords : UInt16
  /-- Meaning depends on the type. -/
  aux : UInt32
  deriving BEq, DecidableEq, Inhabited, Repr

namespace Header
/-- Bytes of an encoded header. -/
def size : Nat := 16
/-- Bytes of the meta table. -/
def metaLength (header : Header) : Nat := header.metaWords.toNat * 8
end Header

namespace Flag
/-- The sender's half of the call is closed after this frame. -/
def endStream : UInt8 := 0x01
/-- The payload begins a message of `aux` bytes. -/
def msgBegin : UInt8 := 0x02
/-- The payload ends the message. -/
def msgEnd : UInt8 := 0x04
/-- This message is sent as it is, on a call that compresses. -/
def noCompress : UInt8 := 0x08
/-- A receiver that does not know the type must fail the connection. -/
def critical : UInt8 := 0x80
/-- The payload is one whole message. -/
def wholeMessage : UInt8 := msgBegin ||| msgEnd
end Flag

/-- What a frame is: its type, with the meta table of types that have one. -/
inductive Body where
  /-- First frame of the peer. -/
  | hello (table : Hello)
  /-- First frame of the daemon. -/
  | helloAck (table : HelloAck)
  /-- Last frame of a connection that fails. -/
  | error (table : Error)
  /-- Asks for a PONG with the same `aux`. -/
  | ping
  /-- Answers a PING. -/
  | pong
  /-- The sender leaves. -/
  | goaway (table : Goaway)
  /-- `aux` bytes of credit for a call, or for the connection when the id is 0. -/
  | window
  /-- The type `aux` is not known to the sender. -/
  | unsupported
  /-- Opens or dispatches a call. -/
  | start (table : Start)
  /-- Initial metadata of the responder. -/
  | headers (table : Headers)
  /-- Part of a message. -/
  | data
  /-- The end of a call or request. -/
  | status (table : Status)
  /-- Asks for the end, with the status code `aux`. -/
  | cancel
  /-- The worker takes a dispatch up. -/
  | accept
  /-- The worker gives a dispatch back. -/
  | reject
  /-- Makes a channel. -/
  | openChannel (table : OpenChannel)
  /-- Answers OPEN_CHANNEL. -/
  | channelOpened (table : ChannelOpened)
  /-- Lets go of the channel `aux`. -/
  | closeChannel
  /-- A watched channel has the state `aux`. -/
  | channelState
  /-- Lets the channel `aux` connect. -/
  | connect
  /-- Makes a server. -/
  | listen (table : Listen)
  /-- Answers LISTEN. -/
  | listening (table : Listening)
  /-- Offers methods of a server. -/
  | register (table : Register)
  /-- Answers REGISTER. -/
  | lease
  /-- Starts the server `aux`. -/
  | serve
  /-- Ends the lease `aux`. -/
  | unregister
  /-- Describes what the lease `aux` offers: a descriptor set follows in DATA. -/
  | describe
  /-- Sets the health of a service. -/
  | setHealth (table : SetHealth)
  /-- Tells the holder of a lease that it gets no more calls. -/
  | retire (table : Retire)
  /-- Asks about the daemon. -/
  | query (table : Query)
  /-- Has the daemon do something. -/
  | command (table : Command)
  /-- A type of a later version: answer UNSUPPORTED with `aux` = the type. Its meta is dropped. -/
  | unknown (type : UInt8)
  deriving BEq, DecidableEq, Inhabited

/-- One frame. Header fields that follow from the rest are left to the codec. -/
structure Frame where
  /-- Type and meta table. -/
  body : Body
  /-- The call or request; 0 = the connection itself. -/
  callId : UInt32 := 0
  /-- Bits of `Flag`. -/
  flags : UInt8 := 0
  /-- Meaning depends on the type. -/
  aux : UInt32 := 0
  /-- Message bytes, on `start` and `data` alone. -/
  payload : ByteArray := .empty
  deriving BEq, DecidableEq, Inhabited

/-- Whether every one of `bits` is set. -/
def Frame.has (frame : Frame) (bits : UInt8) : Bool := frame.flags &&& bits == bits

/-- The sizes, in bytes, that one side holds the other to. -/
structure FrameLimits where
  /-- Largest payload of one frame. -/
  maxFrame : Nat := 65536
  /-- Largest meta table of one frame. -/
  maxMeta : Nat := 131072
  deriving BEq, DecidableEq, Inhabited, Repr

/-- A frame that can't be decoded: the connection must end. Or one that can't be encoded. -/
structure WireError where
  /-- What to tell in an ERROR frame. -/
  code : ErrorCode
  /-- Type of the offending frame. -/
  frameType : UInt8
  /-- Names the frame type and the reason. -/
  message : String
  deriving BEq, DecidableEq, Inhabited, Repr

instance : ToString WireError := ⟨WireError.message⟩

end Legate.Wire
