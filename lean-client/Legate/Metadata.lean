import Legate.Base64

/-!
# Metadata

Headers and trailers: pairs of key and value, in order; duplicates are kept. Keys are lower-case. A key
that ends in `-bin` has a binary value, which is kept here as Base64 text: the library turns it into
bytes on its way out, and bytes into text on their way in. `addBinary` and `getBinary` speak bytes.
-/

namespace Legate

/-- Headers or trailers: keys and values in order. -/
abbrev Metadata := Array (String × String)

namespace Metadata

/-- No entries. -/
def empty : Metadata := #[]

/-- The entries of a list. -/
def ofList (pairs : List (String × String)) : Metadata := pairs.toArray

/-- Adds an entry after the others, also when the key is there already. -/
def add (metadata : Metadata) (key value : String) : Metadata := metadata.push (key, value)

/-- The first value of a key. -/
def get? (metadata : Metadata) (key : String) : Option String :=
  (metadata.find? (·.1 == key)).map (·.2)

/-- All values of a key, in order. -/
def getAll (metadata : Metadata) (key : String) : Array String :=
  metadata.filterMap fun (k, value) => if k == key then some value else none

/-- Whether a key is there. -/
def contains (metadata : Metadata) (key : String) : Bool := metadata.any (·.1 == key)

/-- Without the entries of a key. -/
def remove (metadata : Metadata) (key : String) : Metadata := metadata.filter (·.1 != key)

/-- The entries of both, `metadata`'s first. -/
def merge (metadata other : Metadata) : Metadata := metadata ++ other

/-- The entries as a list. -/
def toListPairs (metadata : Metadata) : List (String × String) := metadata.toList

/-- Whether the value of a key is bytes rather than text. -/
def isBinary (key : String) : Bool := key.endsWith "-bin"

private def binaryKey (key : String) : String := if isBinary key then key else key ++ "-bin"

/-- Adds a binary value; a key that does not end in `-bin` gets that ending. -/
def addBinary (metadata : Metadata) (key : String) (value : ByteArray) : Metadata :=
  metadata.add (binaryKey key) (Base64.encode value)

/-- The first binary value of a key, whose `-bin` may be left out. -/
def getBinary (metadata : Metadata) (key : String) : Option ByteArray :=
  (metadata.get? (binaryKey key)).bind Base64.decode?

/-- All binary values of a key, in order. -/
def getAllBinary (metadata : Metadata) (key : String) : Array ByteArray :=
  (metadata.getAll (binaryKey key)).filterMap Base64.decode?

instance : ToString Metadata where
  toString metadata :=
    "[" ++ ", ".intercalate (metadata.toList.map fun (key, value) => s!"{key}: {value}") ++ "]"

end Metadata
end Legate
