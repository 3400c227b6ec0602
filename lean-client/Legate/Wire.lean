import Legate.Wire.Stream

/-!
# The legated IPC protocol

The codec of the protocol between a process and the daemon (`ipc-schema/PROTOCOL.md`): pure, without
I/O or clock. `Tables.lean` and `Types.lean` have the values, `Frame.lean` and `Decoder.lean` what
encodes and decodes them, the other files what these are made of.

What is proved: no reader reads outside its input (by the types of `get8` to `get64`); every number,
string, vector and table that is written is read back (`Table.read_write`, `Element.readAll_writeAll`,
and the law that each `Block` carries); so is every header (`Header.decode_encode`) and every frame
that could be encoded (`take_encode_at`); a stream may be cut anywhere (`Decoder.feed_append`), and one
of encoded frames gives just these (`Decoder.feed_encoded`).
-/
