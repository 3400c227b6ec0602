"""A gRPC client of bare HTTP/2 frames, for what no gRPC library lets a test see or do. One unary call a connection."""

import socket
import struct

from harness import WAIT

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT)
        self.buffer = b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))

    def call(self, path, message, compressed=False, headers=()):
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"legated"),
                  (b"te", b"trailers"), (b"content-type", b"application/grpc"), *headers]
        body = struct.pack(">BI", compressed, len(message)) + message
        self.socket.sendall(frame(HEADERS, END_HEADERS, 1, b"".join(literal(*field) for field in fields))
                            + frame(DATA, END_STREAM, 1, body))

    def next(self):
        """(kind, flags, stream, payload) of the next frame; None at the end of the connection."""
        def at_least(size):
            while len(self.buffer) < size:
                more = self.socket.recv(65_536)
                if not more:
                    return False
                self.buffer += more
            return True

        if not at_least(9):
            return None
        length, kind, flags, stream = struct.unpack(">IBBI", b"\0" + self.buffer[:9])
        if not at_least(9 + length):
            return None
        payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
        return kind, flags, stream, payload

    def answer(self):
        """The frames of the call up to its end."""
        frames = []
        while (came := self.next()) is not None:
            kind, flags, stream, _ = came
            if stream == 1 and kind in (DATA, HEADERS, RST_STREAM):
                frames.append(came)
                if kind == RST_STREAM or flags & END_STREAM:
                    break
        return frames

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def messages(frames):
    """(compressed, bytes on the wire) of each message of an answer."""
    body = b"".join(payload for kind, _, _, payload in frames if kind == DATA)
    found = []
    while body:
        compressed, length = struct.unpack(">BI", body[:5])
        found.append((bool(compressed), body[5:5 + length]))
        body = body[5 + length:]
    return found
