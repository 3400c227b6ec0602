/-!
# Credentials

TLS toward a server, and of a server. All PEM text, never a path.
-/

namespace Legate

/-- TLS toward a server, whose certificate and name are always verified. -/
structure SslCredentials where
  /-- Authorities to trust, PEM; empty: the system's. -/
  rootCerts : String := ""
  /-- Private key of `certChain`, PEM; both or neither. -/
  privateKey : String := ""
  /-- The chain to present, own certificate first, PEM. -/
  certChain : String := ""
  /-- Looked for in the server's certificate instead of the target's host. -/
  sslTargetNameOverride : String := ""
  deriving BEq, Inhabited

/-- What a server asks of its clients' certificates. -/
inductive ClientAuthType where
  /-- Nothing. -/
  | none
  /-- A client may show a certificate; one that it shows must verify. -/
  | request
  /-- A client must show a certificate that verifies. -/
  | require
  deriving Repr, BEq, DecidableEq, Inhabited

/-- TLS of a server. -/
structure SslServerCredentials where
  /-- The chain to present, own certificate first, PEM. -/
  serverCert : String
  /-- Private key of `serverCert`, PEM. -/
  serverKey : String
  /-- Authorities that clients' certificates must come from, PEM. -/
  rootCerts : String := ""
  /-- What is asked of clients. -/
  clientAuth : ClientAuthType := .none
  deriving BEq, Inhabited

end Legate
