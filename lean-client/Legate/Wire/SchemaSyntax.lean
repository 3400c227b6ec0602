import Legate.Wire.Elements

/-!
# The words of a schema

The names of slots and blocks, and `table%`, which makes the codec of a table out of its fields:

    def entry : Table Entry := table% { key "key" (required text), value "value" (required bytes) }
-/

namespace Legate.Wire

namespace Schema

/-- A number that is 0 when it is absent. -/
abbrev u8 : Slot UInt8 := .scalar .u8 0
/-- A truth value that is false when it is absent. -/
abbrev bool : Slot Bool := .scalar .bool false
/-- A number, with the value it has when it is absent. -/
abbrev u16 (default : UInt16 := 0) : Slot UInt16 := .scalar .u16 default
/-- A number, with the value it has when it is absent. -/
abbrev u32 (default : UInt32 := 0) : Slot UInt32 := .scalar .u32 default
/-- A number that is 0 when it is absent. -/
abbrev u64 : Slot UInt64 := .scalar .u64 0
/-- Something that may be absent. -/
abbrev optional (block : Block α) : Slot (Option α) := .optional block
/-- Something that must be there. -/
abbrev required (block : Block α) : Slot α := .required block
/-- A string. -/
abbrev text : Block Text := .text
/-- A byte vector. -/
abbrev bytes : Block ByteArray := .bytes
/-- A vector of strings. -/
abbrev texts : Block (Array Text) := Element.text.block
/-- A vector of tables. -/
abbrev vector (t : Table α) : Block (Array α) := t.element.block

end Schema

/-- One field of `table%`: the structure's name for it, the schema's, and its slot. -/
syntax tableField := ident str term:max

/-- The codec of a table, from its fields in the order of the schema. -/
syntax "table% " "{" tableField,* "}" : term

open Lean in
macro_rules
  | `(table% { $fields,* }) => do
    let mut slots ← `(Slots.done)
    let mut tuple ← `(())
    let mut pattern ← `(())
    let mut names : Array (TSyntax `ident) := #[]
    let value := mkIdent `value
    for field in fields.getElems.reverse do
      let `(tableField| $name:ident $key:str $slot:term) := field | Macro.throwUnsupported
      slots ← `(Slots.field $key $slot $slots)
      tuple ← `(($value.$name, $tuple))
      pattern ← `(($name, $pattern))
      names := names.push name
    let values := names
    `({ slots := $slots
        to := fun $value => $tuple
        of := fun x => match x with | $pattern => { $[$names:ident := $values:ident],* } })

end Legate.Wire
