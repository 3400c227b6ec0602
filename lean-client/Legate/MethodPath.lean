/-!
# Method paths

"/package.Service/Method". Functions that call or register a method take a `String`; a `MethodPath` is
one that has been looked at, and goes wherever a `String` does. `method!"/pkg.Service/Method"` is looked
at when the program is compiled.
-/

namespace Legate

/-- The path of a method: "/package.Service/Method". -/
structure MethodPath where
  /-- "package.Service". -/
  service : String
  /-- "Method". -/
  method : String
  deriving Repr, BEq, DecidableEq, Hashable, Inhabited

namespace MethodPath

private def isName (name : String) : Bool :=
  !name.isEmpty && name.all fun c => c.isAlphanum || c == '_' || c == '.' || c == '-'

/-- The path of a service's method; none when a name is empty or has a letter that no path has. -/
def of? (service method : String) : Option MethodPath :=
  if isName service && isName method then some { service, method } else none

/-- Takes "/package.Service/Method" apart; none when it is not of that form. -/
def ofString? (path : String) : Option MethodPath :=
  match path.splitOn "/" with
  | ["", service, method] => of? service method
  | _ => none

/-- "/package.Service/Method". -/
protected def toString (path : MethodPath) : String := s!"/{path.service}/{path.method}"

instance : ToString MethodPath := ⟨MethodPath.toString⟩
instance : Coe MethodPath String := ⟨MethodPath.toString⟩

end MethodPath

open Lean in
/-- `method!"/package.Service/Method"`: a method path that is checked when the program is compiled. -/
macro:max "method!" path:str : term =>
  match MethodPath.ofString? path.getString with
  | some { service, method } => `(MethodPath.mk $(quote service) $(quote method))
  | none =>
    Macro.throwErrorAt path s!"{path.getString.quote} is not the path of a method: it must be \"/package.Service/Method\""

end Legate
