"""Frames of the legated IPC protocol, written from PROTOCOL.md and legate.fbs alone; see legate_ipc.py."""

import json
import re
import struct
from pathlib import Path

from fbs import Invalid, Schema

SCHEMA_FOLDER = Path(__file__).resolve().parents[2] / "ipc-schema"
SCHEMA = Schema((SCHEMA_FOLDER / "legate.fbs").read_text())

HEADER = struct.Struct("<IIBBHI")
END_STREAM, MSG_BEGIN, MSG_END, NO_COMPRESS, CRITICAL = 0x01, 0x02, 0x04, 0x08, 0x80
FLAGS = {END_STREAM: "END_STREAM", MSG_BEGIN: "MSG_BEGIN", MSG_END: "MSG_END", NO_COMPRESS: "NO_COMPRESS",
         CRITICAL: "CRITICAL"}
WHOLE = MSG_BEGIN | MSG_END
MAX_META = 131_072

# name: (number, meta table, whether a payload may follow)
TYPES = {
    "HELLO": (1, "Hello", False), "HELLO_ACK": (2, "HelloAck", False), "ERROR": (3, "Error", False),
    "PING": (4, None, False), "PONG": (5, None, False), "GOAWAY": (6, "Goaway", False),
    "WINDOW": (7, None, False), "UNSUPPORTED": (8, None, False),
    "START": (16, "Start", True), "HEADERS": (17, "Headers", False), "DATA": (18, None, True),
    "STATUS": (19, "Status", False), "CANCEL": (20, None, False), "ACCEPT": (21, None, False),
    "REJECT": (22, None, False),
    "OPEN_CHANNEL": (32, "OpenChannel", False), "CHANNEL_OPENED": (33, "ChannelOpened", False),
    "CLOSE_CHANNEL": (34, None, False), "CHANNEL_STATE": (35, None, False), "CONNECT": (36, None, False),
    "LISTEN": (48, "Listen", False), "LISTENING": (49, "Listening", False),
    "REGISTER": (50, "Register", False), "LEASE": (51, None, False), "SERVE": (52, None, False),
    "UNREGISTER": (53, None, False), "DESCRIBE": (54, None, False), "SET_HEALTH": (55, "SetHealth", False),
    "RETIRE": (56, "Retire", False), "QUERY": (64, "Query", False), "COMMAND": (65, "Command", False),
}
NAMES = {number: name for name, (number, _, _) in TYPES.items()}
ERROR_CODES = {number: name for name, number in SCHEMA.enums["ErrorCode"].items()}


class ConnectionFailed(Exception):
    """The connection ended by an error of either side: `code` as in ErrorCode, `frame_type` a name or number."""

    def __init__(self, code, frame_type, message=""):
        super().__init__(f"{code} frame {frame_type}: {message}")
        self.code, self.frame_type, self.message = code, frame_type, message


class Frame:
    def __init__(self, kind, call_id=0, flags=0, aux=0, meta=None, payload=b"", meta_words=0):
        self.kind, self.call_id, self.flags, self.aux = kind, call_id, flags, aux
        self.meta, self.payload, self.meta_words = meta, payload, meta_words

    def has(self, flag):
        return self.flags & flag != 0

    def encode(self):
        number, table, _ = TYPES[self.kind]
        meta = SCHEMA.encode(table, self.meta or {}) if table else b""
        return HEADER.pack(len(meta) + len(self.payload), self.call_id, number, self.flags,
                           len(meta) // 8, self.aux) + meta + self.payload

    def describe(self):
        """As in the files of golden/."""
        flags = "+".join(name for bit, name in FLAGS.items() if self.flags & bit) or "-"
        meta = "-" if self.meta is None else json.dumps(
            self.meta, separators=(",", ":"), ensure_ascii=False, default=lambda value: value.hex())
        meta = re.sub(r"\\[nrtbf]", lambda match: "\\u%04x" % ord(json.loads(f'"{match[0]}"')), meta)
        return (f"frame: type={self.kind} flags={flags} call_id={self.call_id} aux={self.aux}"
                f" meta_words={self.meta_words} payload={len(self.payload)}\n"
                f"meta: {meta}\npayload: {self.payload.hex() or '-'}\n")


class Decoder:
    """Splits bytes into frames; raises ConnectionFailed."""

    def __init__(self, max_frame=65_536, max_meta=MAX_META):
        self.max_frame, self.max_meta = max_frame, max_meta
        self.wanted = HEADER.size
        self.unread = bytearray()

    def feed(self, data):
        self.unread += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self):
        self.wanted = HEADER.size
        if len(self.unread) < HEADER.size:
            return None
        body, call_id, number, flags, words, aux = HEADER.unpack_from(self.unread)
        kind = NAMES.get(number, number)

        def fail(code, message):
            raise ConnectionFailed(code, kind, message)

        if words * 8 > body:
            fail("malformed_frame", "the meta does not fit the body")
        if words * 8 > self.max_meta or body - words * 8 > self.max_frame:
            fail("frame_too_large", f"{words * 8} bytes of meta, {body - words * 8} of payload")
        table = None
        if number in NAMES:
            _, table, carries_payload = TYPES[kind]
            allowed = CRITICAL
            if kind in ("START", "DATA"):
                allowed |= END_STREAM | MSG_BEGIN | MSG_END | NO_COMPRESS
            if flags & ~allowed:
                fail("malformed_frame", f"flags {flags:#x}")
            if body > words * 8 and not carries_payload:
                fail("malformed_frame", "a payload")
            if (words > 0) != (table is not None):
                fail("malformed_frame", "a meta too many or too few")
        elif flags & CRITICAL:
            fail("unsupported", "an unknown type that is critical")
        self.wanted = HEADER.size + body
        if len(self.unread) < self.wanted:
            return None
        raw = bytes(self.unread[HEADER.size:self.wanted])
        del self.unread[:self.wanted]
        meta = None
        if table:
            try:
                meta = SCHEMA.decode(table, raw[:words * 8])
            except Invalid as error:
                fail("meta_invalid", str(error))
        return Frame(kind, call_id, flags, aux, meta, raw[words * 8:], words)
