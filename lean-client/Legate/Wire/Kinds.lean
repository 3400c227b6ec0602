import Legate.Wire.Schema

/-!
# Frame types

What each type of frame may carry: section 4 of PROTOCOL.md. A new type is a constructor of `Body`, a
line in `Kind.ofType?` and one in `Body.pack`.
-/

namespace Legate.Wire

/-- What a frame of one type is. -/
structure Kind where
  /-- The name PROTOCOL.md uses. -/
  name : String
  /-- Flags that are allowed besides CRITICAL. -/
  flags : UInt8 := 0
  /-- Whether it carries message bytes. -/
  payload : Bool := false
  /-- Whether it has a meta table. -/
  hasMeta : Bool
  /-- What it says, with the meta that it has. -/
  read : ByteArray → Option Body

namespace Kind

/-- A type without a meta. -/
def bare (name : String) (body : Body) : Kind where
  name := name
  hasMeta := false
  read _ := some body

/-- A type whose meta is a table. -/
def table (name : String) (t : Table α) (body : α → Body) : Kind where
  name := name
  hasMeta := true
  read b := (t.readRoot b).map body

/-- A type that carries parts of messages. -/
def withMessages (kind : Kind) : Kind :=
  { kind with
    payload := true
    flags := Flag.endStream ||| Flag.msgBegin ||| Flag.msgEnd ||| Flag.noCompress }

open Schema in
/-- What the type of a number is; `none` for one of a later version. -/
def ofType? (type : UInt8) : Option Kind :=
  match type with
  | 1 => some (table "HELLO" hello .hello)
  | 2 => some (table "HELLO_ACK" helloAck .helloAck)
  | 3 => some (table "ERROR" error .error)
  | 4 => some (bare "PING" .ping)
  | 5 => some (bare "PONG" .pong)
  | 6 => some (table "GOAWAY" goaway .goaway)
  | 7 => some (bare "WINDOW" .window)
  | 8 => some (bare "UNSUPPORTED" .unsupported)
  | 16 => some (table "START" start .start).withMessages
  | 17 => some (table "HEADERS" headers .headers)
  | 18 => some (bare "DATA" .data).withMessages
  | 19 => some (table "STATUS" status .status)
  | 20 => some (bare "CANCEL" .cancel)
  | 21 => some (bare "ACCEPT" .accept)
  | 22 => some (bare "REJECT" .reject)
  | 32 => some (table "OPEN_CHANNEL" openChannel .openChannel)
  | 33 => some (table "CHANNEL_OPENED" channelOpened .channelOpened)
  | 34 => some (bare "CLOSE_CHANNEL" .closeChannel)
  | 35 => some (bare "CHANNEL_STATE" .channelState)
  | 36 => some (bare "CONNECT" .connect)
  | 48 => some (table "LISTEN" listen .listen)
  | 49 => some (table "LISTENING" listening .listening)
  | 50 => some (table "REGISTER" register .register)
  | 51 => some (bare "LEASE" .lease)
  | 52 => some (bare "SERVE" .serve)
  | 53 => some (bare "UNREGISTER" .unregister)
  | 54 => some (bare "DESCRIBE" .describe)
  | 55 => some (table "SET_HEALTH" setHealth .setHealth)
  | 56 => some (table "RETIRE" retire .retire)
  | 64 => some (table "QUERY" query .query)
  | 65 => some (table "COMMAND" command .command)
  | _ => none

/-- The name of a type; `type N` for one of a later version. -/
def nameOf (type : UInt8) : String :=
  match ofType? type with
  | some kind => kind.name
  | none => s!"type {type}"

end Kind

/-- What of a body goes into a frame. -/
structure Packed where
  /-- Number of the type. -/
  type : UInt8
  /-- The meta; empty for a type without. -/
  bytes : ByteArray := .empty
  /-- What reading it will cost. -/
  cost : Budget := .none
  /-- The meta as JSON; `-` for a type without. -/
  json : Unit → String := fun _ => "-"

/-- A type whose meta is a table. -/
def Table.pack (t : Table α) (type : UInt8) (v : α) : Packed :=
  ⟨type, t.writeRoot v, t.cost v, fun _ => t.render v⟩

/-- What goes into a frame. -/
def Body.pack : Body → Packed
  | .hello v => Schema.hello.pack 1 v
  | .helloAck v => Schema.helloAck.pack 2 v
  | .error v => Schema.error.pack 3 v
  | .ping => { type := 4 }
  | .pong => { type := 5 }
  | .goaway v => Schema.goaway.pack 6 v
  | .window => { type := 7 }
  | .unsupported => { type := 8 }
  | .start v => Schema.start.pack 16 v
  | .headers v => Schema.headers.pack 17 v
  | .data => { type := 18 }
  | .status v => Schema.status.pack 19 v
  | .cancel => { type := 20 }
  | .accept => { type := 21 }
  | .reject => { type := 22 }
  | .openChannel v => Schema.openChannel.pack 32 v
  | .channelOpened v => Schema.channelOpened.pack 33 v
  | .closeChannel => { type := 34 }
  | .channelState => { type := 35 }
  | .connect => { type := 36 }
  | .listen v => Schema.listen.pack 48 v
  | .listening v => Schema.listening.pack 49 v
  | .register v => Schema.register.pack 50 v
  | .lease => { type := 51 }
  | .serve => { type := 52 }
  | .unregister => { type := 53 }
  | .describe => { type := 54 }
  | .setHealth v => Schema.setHealth.pack 55 v
  | .retire v => Schema.retire.pack 56 v
  | .query v => Schema.query.pack 64 v
  | .command v => Schema.command.pack 65 v
  | .unknown type => { type }

/-- Number of the type. -/
def Body.type (body : Body) : UInt8 := body.pack.type

/-- What a packed body of a known type must be for reading to give it back. -/
structure Packed.Lawful (packed : Packed) (kind : Kind) (body : Body) : Prop where
  /-- A meta is where it must be, and nowhere else. -/
  hasMeta : kind.hasMeta = decide (0 < packed.bytes.size)
  /-- Metas come in words. -/
  words : packed.bytes.size % 8 = 0
  /-- The meta is read back. -/
  read : packed.bytes.size < 2 ^ 31 → packed.cost.within .ofMeta → kind.read packed.bytes = some body

theorem lawful_bare (name : String) (body : Body) (type : UInt8) :
    Packed.Lawful { type } (.bare name body) body := ⟨rfl, rfl, fun _ _ => rfl⟩

theorem lawful_table (name : String) (t : Table α) (v : α) (body : α → Body) (type : UInt8) :
    Packed.Lawful (t.pack type v) (.table name t body) (body v) where
  hasMeta := by simp [Kind.table, Table.pack, t.size_writeRoot v]
  words := (t.size_writeRoot v).2
  read small cost := by simp [Kind.table, Table.pack, t.readRoot_writeRoot v small cost]

theorem lawful_withMessages {packed : Packed} {kind : Kind} {body : Body} (h : packed.Lawful kind body) :
    packed.Lawful kind.withMessages body := ⟨h.hasMeta, h.words, h.read⟩

/-- Every body of a known type is lawful. -/
theorem Body.pack_lawful (body : Body) (known : ∀ type, body ≠ .unknown type) :
    ∃ kind, Kind.ofType? body.pack.type = some kind ∧ body.pack.Lawful kind body := by
  cases body with
  | unknown type => exact absurd rfl (known type)
  | start v => exact ⟨_, rfl, lawful_withMessages (lawful_table _ _ v .start _)⟩
  | data => exact ⟨_, rfl, lawful_withMessages (lawful_bare _ _ _)⟩
  | _ => exact ⟨_, rfl, by first | exact lawful_bare _ _ _ | exact lawful_table _ _ _ _ _⟩

end Legate.Wire
