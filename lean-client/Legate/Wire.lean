import Legate.Wire.Decoder

/-!
# The legated IPC protocol

The codec of the protocol between a process and the daemon (`ipc-schema/PROTOCOL.md`): pure, without
I/O or clock. `Types.lean` has the values, `Frame.lean` and `Decoder.lean` what encodes and decodes
them, the other files what these are made of.
-/
