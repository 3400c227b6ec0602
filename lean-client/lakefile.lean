import Lake
open System Lake DSL

package legate where
  version := v!"0.1.0"
  description := "gRPC for Lean: client and server, through the daemon legated"
  keywords := #["grpc", "rpc", "network"]
  license := "Apache-2.0"
  leanOptions := #[⟨`linter.missingDocs, true⟩]

/-! ## The C under the library: a Unix socket, and nothing else -/

target legate_posix.o pkg : FilePath := do
  let source ← inputTextFile <| pkg.dir / "c" / "legate_posix.c"
  buildO (pkg.buildDir / "c" / "legate_posix.o") source #[] #["-std=c11", "-O2", "-fPIC"] "cc"

target legate_shim.o pkg : FilePath := do
  let source ← inputTextFile <| pkg.dir / "c" / "legate_shim.c"
  let weakArgs := #["-I", (← getLeanIncludeDir).toString]
  buildO (pkg.buildDir / "c" / "legate_shim.o") source weakArgs #["-O2", "-fPIC"] "cc" getLeanTrace

@[default_target]
lean_lib Legate where
  moreLinkObjs := #[legate_posix.o, legate_shim.o]

/-! ## Examples, and a benchmark -/

lean_lib Greeting where
  srcDir := "examples"

lean_exe greeter_server where
  srcDir := "examples"
  root := `GreeterServer

lean_exe greeter_client where
  srcDir := "examples"
  root := `GreeterClient

lean_exe route_notes where
  srcDir := "examples"
  root := `RouteNotes

lean_exe intercepted where
  srcDir := "examples"
  root := `Intercepted

lean_exe tls_client where
  srcDir := "examples"
  root := `TlsClient

lean_exe bench where
  srcDir := "bench"
  root := `Bench
