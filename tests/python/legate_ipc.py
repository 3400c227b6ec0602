"""A client and worker of the legated IPC protocol, written from PROTOCOL.md and legate.fbs alone.

It shares no code with the project: it is the test that the page suffices. Threads and blocking calls, one connection:

    conn = Connection(path, roles=("client", "worker"))
    channel = conn.open_channel("dns:///localhost:50051")
    call = conn.start("/pkg.Svc/Method", channel.id, shape="unary", message=b"hi", end=True, timeout=2)
    call.headers(), call.read(), call.status()
"""

import collections
import json
import socket
import struct
import threading

from legate_frames import (END_STREAM, ERROR_CODES, MSG_BEGIN, MSG_END, NAMES, NO_COMPRESS, SCHEMA, TYPES, WHOLE,
                           ConnectionFailed, Decoder, Frame)

WAIT = 20.0  # seconds any wait of a test may take


def entries(metadata):
    """A metadata list from pairs; values are bytes or text."""
    return [{"key": key, "value": value.encode() if isinstance(value, str) else value} for key, value in metadata]


def pairs(meta, field):
    return [(entry["key"], entry["value"]) for entry in meta.get(field, [])]


class Status:
    def __init__(self, meta):
        self.code = meta["code"]
        self.message = meta.get("message", "")
        self.details = meta.get("details")
        self.trailers = pairs(meta, "trailers")
        self.origin = {number: name for name, number in SCHEMA.enums["Origin"].items()}[meta["origin"]]
        self.elapsed_us = meta["elapsed_us"]

    def __repr__(self):
        return f"Status({self.code}, {self.message!r}, origin={self.origin})"


class _Message:
    def __init__(self, total):
        self.total, self.parts, self.got, self.returned = total, [], 0, 0
        self.complete = False


class Call:
    """One call or request, from either side. Methods block up to WAIT seconds."""

    def __init__(self, conn, call_id, start=None):
        self.conn, self.id, self.start = conn, call_id, start
        self.send_credit = conn.limits["call_window"]
        self.inbox = collections.deque()  # of _Message
        self.owed = 0                     # call credit taken but not yet returned
        self.half_closed = False          # the other side has sent END_STREAM
        self.cancelled = threading.Event()
        self.cancel_code = None
        self.got_headers = None
        self.got_status = None
        self.answer = None                # CHANNEL_OPENED, LISTENING or LEASE of a request
        self.retired = []                 # RETIREs of a lease
        self.sent_status = False

    # ---- Sending ----------------------------------------------------------------------------

    def send(self, message, end=False, compress=True):
        """One message, split as credit and max_frame ask for it."""
        self.conn._send_message(self, message, end, compress=compress)

    def half_close(self):
        self.conn._post(Frame("DATA", self.id, END_STREAM))

    def send_headers(self, metadata=(), compression=0):
        self.conn._post(Frame("HEADERS", self.id, meta={"metadata": entries(metadata), "compression": compression}))

    def send_status(self, code=0, message=None, details=None, trailers=()):
        meta = {"code": code, "trailers": entries(trailers)}
        if message is not None:
            meta["message"] = message
        if details is not None:
            meta["details"] = details
        with self.conn.changed:
            if self.sent_status:
                return
            self.sent_status = True
        self.conn._post(Frame("STATUS", self.id, meta=meta))
        self.conn._end(self)

    def accept(self):
        self.conn._post(Frame("ACCEPT", self.id))

    def reject(self):
        with self.conn.changed:
            self.sent_status = True
        self.conn._post(Frame("REJECT", self.id))
        self.conn._end(self)

    def cancel(self, code=0):
        self.conn._post(Frame("CANCEL", self.id, aux=code))

    # ---- Receiving --------------------------------------------------------------------------

    def headers(self):
        """The initial metadata, or None when the call ended without."""
        self.conn._wait(lambda: self.got_headers is not None or self.got_status is not None)
        return self.got_headers

    def read(self):
        """The next message, or None after the last."""
        ended = lambda: self.got_status is not None or self.half_closed or self.cancelled.is_set()
        ready = lambda: self.inbox and self.inbox[0].complete
        with self.conn.changed:
            self.conn._wait(lambda: ready() or ended())
            if not ready():
                return None
            message = self.inbox.popleft()
            self.conn._owe(self, message.got - message.returned)
            self.conn._return_oldest(self)
            return b"".join(message.parts)

    def status(self):
        self.conn._wait(lambda: self.got_status is not None)
        return self.got_status

    def result(self):
        """The answer of a request: its meta; or its Status when it failed or has no other answer."""
        self.conn._wait(lambda: self.answer is not None or self.got_status is not None)
        return self.answer if self.answer is not None else self.got_status

    def __iter__(self):
        while (message := self.read()) is not None:
            yield message


class Connection:
    def __init__(self, path, roles=("client",), name="stranger", on_dispatch=None, hello=None,
                 call_window=262_144, connection_window=4_194_304, max_frame=65_536):
        self.changed = threading.Condition(threading.RLock())
        self.calls = {}
        self.next_id = 1
        self.highest_dispatch = 0
        self.on_dispatch = on_dispatch
        self.failure = None      # ConnectionFailed or OSError, once the connection is over
        self.goaways = []
        self.unsupported = []
        self.pongs = []
        self.hello_ack = None
        self.auto_read = True    # return connection credit as bytes arrive
        self.own_call_window, self.own_window = call_window, connection_window
        self.owed = 0
        self.control, self.data = collections.deque(), collections.deque()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.decoder = Decoder(max_frame)
        role_bits = sum(SCHEMA.enums["Role"][role] for role in roles)
        greeting = {"version_min": 1, "version_max": 1, "roles": role_bits, "name": name,
                    "instance": "1", "build": "legate_ipc.py", "max_frame": max_frame,
                    "call_window": call_window, "connection_window": connection_window}
        greeting.update(hello or {})
        self.threads = [threading.Thread(target=self._read_loop, daemon=True),
                        threading.Thread(target=self._write_loop, daemon=True)]
        for thread in self.threads:
            thread.start()
        self._post(Frame("HELLO", meta=greeting))
        self._wait(lambda: self.hello_ack is not None)
        self.limits = self.hello_ack["limits"]
        self.send_credit = self.limits["connection_window"]
        self.roles = {name for name, bit in SCHEMA.enums["Role"].items() if self.hello_ack["roles"] & bit}

    def close(self):
        with self.changed:
            if self.failure is None:
                self.failure = ConnectionFailed("closed", 0, "by this side")
            self.changed.notify_all()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for thread in self.threads:
            thread.join(WAIT)
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- Requests ---------------------------------------------------------------------------

    def request(self, kind, aux=0, meta=None):
        with self.changed:
            call = self._new_call()
            self._post(Frame(kind, call.id, aux=aux, meta=meta))
        return call

    def open_channel(self, target):
        """The request, at once; its `id` is the channel's, its `result()` the answer."""
        return self.request("OPEN_CHANNEL", meta={"target": target})

    def listen(self, address, options=None):
        return self.request("LISTEN", meta={"address": address, **({"options": options} if options else {})})

    def register(self, server, methods, slots=64, **more):
        return self.request("REGISTER", meta={"server": server, "methods": methods, "slots": slots, **more})

    def command(self, what, **more):
        """The request: a call of messages of progress."""
        return self.request("COMMAND", meta={"what": what, **more})

    def query(self, what):
        call = self.request("QUERY", meta={"what": what})
        messages = list(call)
        return call.status(), [json.loads(message) for message in messages]

    def serve(self, server):
        return self.request("SERVE", aux=server).result()

    def start(self, method, channel=0, *, shape="bidi", metadata=(), timeout=0, wait_for_ready=False,
              message=None, end=False):
        """Opens a call; `timeout` in seconds. What of `message` fits one frame travels with it."""
        meta = {"method": method, "metadata": entries(metadata), "timeout_us": int(timeout * 1e6),
                "channel": channel, "shape": SCHEMA.enums["Shape"][shape], "wait_for_ready": wait_for_ready}
        with self.changed:
            call = self._new_call()
            first = Frame("START", call.id, END_STREAM if end and message is None else 0, meta=meta)
            rest = None
            if message is not None:
                size = min(len(message), self.limits["max_frame"], call.send_credit, self.send_credit)
                if size > 0 or not message:
                    whole = size == len(message)
                    first.flags = MSG_BEGIN | (MSG_END if whole else 0) | (END_STREAM if end and whole else 0)
                    first.aux, first.payload = len(message), message[:size]
                    call.send_credit -= size
                    self.send_credit -= size
                    rest = None if whole else (message, size)
                else:
                    rest = (message, 0)
            self._post(first)
        if rest:
            self._send_message(call, rest[0], end, sent=rest[1])
        return call

    def ping(self, aux):
        self._post(Frame("PING", aux=aux))
        self._wait(lambda: aux in self.pongs)

    def send_raw(self, data):
        """Bytes as they are, for tests of what a peer must not send."""
        self._post(data)

    def wait_failure(self):
        """How the daemon ended the connection."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.failure is not None, WAIT), "the connection goes on"
            return self.failure

    # ---- Inside -----------------------------------------------------------------------------

    def _new_call(self):
        call = Call(self, self.next_id)
        self.calls[call.id] = call
        self.next_id += 2
        return call

    def _end(self, call):
        with self.changed:
            self.calls.pop(call.id, None)
            self.changed.notify_all()

    def _wait(self, condition):
        with self.changed:
            done = self.changed.wait_for(lambda: condition() or self.failure is not None, WAIT)
            if not condition():
                raise self.failure if done else TimeoutError("nothing came of it")

    def _post(self, frame):
        data = frame if isinstance(frame, bytes) else frame.encode()
        urgent = not isinstance(frame, bytes) and frame.kind in ("PING", "PONG", "WINDOW")
        with self.changed:
            (self.control if urgent else self.data).append(data)
            self.changed.notify_all()

    def _send_message(self, call, message, end, sent=0, compress=True):
        begun = sent > 0
        while True:
            with self.changed:
                left = len(message) - sent
                over = lambda: call.got_status is not None or call.cancelled.is_set() or call.sent_status
                if left:
                    self._wait(lambda: (call.send_credit > 0 and self.send_credit > 0) or over())
                if over():
                    return
                size = min(left, self.limits["max_frame"], call.send_credit, self.send_credit)
                last = size == left
                flags = (0 if begun else MSG_BEGIN) | (MSG_END if last else 0) | (END_STREAM if last and end else 0)
                flags |= 0 if begun or compress else NO_COMPRESS
                call.send_credit -= size
                self.send_credit -= size
                self._post(Frame("DATA", call.id, flags, 0 if begun else len(message),
                                 payload=message[sent:sent + size]))
            begun, sent = True, sent + size
            if last:
                return

    def _owe(self, call, count):
        """Call credit to be returned, half a window at a time."""
        call.owed += count
        if call.owed >= self.own_call_window // 2 and call.id in self.calls:
            self._post(Frame("WINDOW", call.id, aux=call.owed))
            call.owed = 0

    def _return_oldest(self, call):
        """The exception for a message longer than the window: the oldest returns its bytes as they arrive."""
        if not call.inbox:
            return
        oldest = call.inbox[0]
        if not oldest.complete and oldest.total > self.own_call_window:
            count, oldest.returned = oldest.got - oldest.returned, oldest.got
            self._owe(call, count)

    def _write_loop(self):
        try:
            while True:
                with self.changed:
                    self.changed.wait_for(lambda: self.control or self.data or self.failure is not None)
                    if self.failure is not None:
                        return
                    data = b"".join(self.control) + b"".join(self.data)
                    self.control.clear()
                    self.data.clear()
                self.socket.sendall(data)
        except OSError as error:
            # What the daemon said last is still to be read; the reader tells how it ended.
            self.write_error = error

    def _read_loop(self):
        failure = ConnectionFailed("closed", 0, "by the daemon without an ERROR")
        try:
            while data := self.socket.recv(1 << 16):
                with self.changed:
                    for frame in self.decoder.feed(data):
                        self._take(frame)
                    self.changed.notify_all()
        except ConnectionFailed as error:
            failure = error
        except OSError as error:
            failure = ConnectionFailed("closed", 0, str(error))
        with self.changed:
            self.failure = self.failure or failure
            for call in self.calls.values():
                call.cancelled.set()
            self.changed.notify_all()

    def _take(self, frame):
        kind = frame.kind
        if kind == "HELLO_ACK":
            self.hello_ack = frame.meta
        elif kind == "ERROR":
            number = frame.meta["frame_type"]
            raise ConnectionFailed(ERROR_CODES[frame.meta["code"]], NAMES.get(number, number), frame.meta["message"])
        elif kind == "PING":
            self._post(Frame("PONG", aux=frame.aux))
        elif kind == "PONG":
            self.pongs.append(frame.aux)
        elif kind == "GOAWAY":
            self.goaways.append(frame.meta)
        elif kind == "UNSUPPORTED":
            self.unsupported.append((frame.call_id, frame.aux))
        elif kind == "WINDOW" and frame.call_id == 0:
            self.send_credit += frame.aux
        elif isinstance(kind, int):
            reply = struct.pack("<IIBBHI", 0, frame.call_id, TYPES["UNSUPPORTED"][0], 0, 0, kind)
            self._post(reply)
        else:
            self._take_call(frame)

    def _take_call(self, frame):
        if frame.payload and self.auto_read:
            self.owed += len(frame.payload)
            if self.owed >= self.own_window // 2:
                self._post(Frame("WINDOW", 0, aux=self.owed))
                self.owed = 0
        if frame.kind == "START":
            if frame.call_id % 2 or frame.call_id <= self.highest_dispatch:
                raise ConnectionFailed("call_id", "START", f"{frame.call_id} from the daemon")
            self.highest_dispatch = frame.call_id
            self.calls[frame.call_id] = Call(self, frame.call_id, frame.meta)
        call = self.calls.get(frame.call_id)
        if call is None:
            highest = self.next_id if frame.call_id % 2 else self.highest_dispatch + 2
            if frame.call_id >= highest:
                raise ConnectionFailed("call_id", frame.kind, f"{frame.call_id} was never opened")
            return  # late
        if frame.kind in ("START", "DATA"):
            self._take_part(call, frame)
        if frame.kind == "START" and self.on_dispatch:
            threading.Thread(target=self.on_dispatch, args=(call,), daemon=True).start()
        elif frame.kind == "HEADERS":
            call.got_headers = pairs(frame.meta, "metadata")
        elif frame.kind == "STATUS":
            call.got_status = Status(frame.meta)
            self.calls.pop(call.id)
        elif frame.kind == "CANCEL":
            call.cancel_code = frame.aux
            call.cancelled.set()
        elif frame.kind == "WINDOW":
            call.send_credit += frame.aux
        elif frame.kind == "RETIRE":
            call.retired.append(frame.meta)
        elif frame.kind in ("CHANNEL_OPENED", "LISTENING", "LEASE"):
            call.answer = frame.meta or {}

    def _take_part(self, call, frame):
        def require(holds, what):
            if not holds:
                raise ConnectionFailed("message_framing", frame.kind, what)

        require(not call.half_closed, "after END_STREAM")
        begun = call.inbox and not call.inbox[-1].complete
        if frame.has(MSG_BEGIN):
            require(not begun, "MSG_BEGIN within a message")
            call.inbox.append(_Message(frame.aux))
            begun = True
        if begun and (frame.payload or frame.flags & WHOLE):
            message = call.inbox[-1]
            message.parts.append(frame.payload)
            message.got += len(frame.payload)
            message.complete = frame.has(MSG_END)
            require(message.complete <= (message.got == message.total), "parts do not add up")
            self._return_oldest(call)
        else:
            require(not frame.payload and not frame.has(MSG_END), "outside of a message")
            require(frame.kind == "START" or frame.has(END_STREAM), "an empty DATA")
        call.half_closed = frame.has(END_STREAM)
