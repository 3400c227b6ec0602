#!/usr/bin/python3
"""Calls the scriptable Peer service of tests/peers/peer.proto with grpcio.

Prints one line of JSON for each call, in the form of the Go peer-client, and exits 0 when every
call ended with a status, whatever the status. grpcio knows the codes 0 to 16 only and shows any
other as 2, UNKNOWN.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import grpc
from google.protobuf import json_format

PEER_PROTO = pathlib.Path(__file__).resolve().parent.parent / "peer.proto"
METHODS = {
    "unary": "/legate.test.v1.Peer/Unary",
    "client": "/legate.test.v1.Peer/ClientStream",
    "server": "/legate.test.v1.Peer/ServerStream",
    "bidi": "/legate.test.v1.Peer/Bidi",
}
DETAILS_KEY = "grpc-status-details-bin"


def load_messages():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["protoc", f"--proto_path={PEER_PROTO.parent}", f"--python_out={folder}",
                        PEER_PROTO.name], check=True)
        sys.path.insert(0, folder)
        import peer_pb2
        return peer_pb2


def pattern(size):
    """Byte i is i mod 251, as in every peer."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def seconds(text):
    """A duration as Go writes it: 150ms, 2s, 1m."""
    match = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 150ms or 2s")
    return float(match[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[match[2]]


def header(text):
    """key:value; the value of a "-bin" key is given in base64."""
    key, colon, value = text.partition(":")
    if not key or not colon:
        raise argparse.ArgumentTypeError("want key:value")
    value = value.removeprefix(" ")
    return key, base64.b64decode(value, validate=True) if key.endswith("-bin") else value


def printable(metadata):
    out = {}
    for key, value in metadata or ():
        text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        out.setdefault(key, []).append(text)
    return out


class Call:
    def __init__(self, args, command, channel):
        self.args = args
        self.command = command
        self.channel = channel
        self.replied = threading.Semaphore(0)
        self.over = threading.Event()
        self.replies = []

    def requests(self):
        pause = self.args.send_interval
        message = self.command
        for index in range(self.args.send):
            if index and pause:
                self.over.wait(pause)
            if index and self.args.lockstep:
                self.replied.acquire()
            if self.over.is_set():
                return
            yield message
            message = type(self.command)(payload=self.command.payload)
        if self.args.keep_open:
            self.over.wait()

    def add(self, reply):
        entry = {
            "size": len(reply.payload),
            "sha256": hashlib.sha256(reply.payload).hexdigest(),
            "index": reply.index,
            "cancelled_seen": reply.cancelled_seen,
            "messages_received": reply.messages_received,
            "at_ms": self.elapsed_ms(),
        }
        if len(reply.payload) <= 256:
            entry["payload_b64"] = base64.b64encode(reply.payload).decode()
        self.replies.append(entry)
        self.replied.release()

    def elapsed_ms(self):
        return round((time.monotonic() - self.start) * 1000, 3)

    def begin(self, reply_type):
        shape = self.args.shape
        kind = {"unary": self.channel.unary_unary, "client": self.channel.stream_unary,
                "server": self.channel.unary_stream, "bidi": self.channel.stream_stream}[shape]
        method = kind(self.args.service_method or METHODS[shape],
                      request_serializer=type(self.command).SerializeToString,
                      response_deserializer=reply_type.FromString)
        invoke = method.future if shape in ("unary", "client") else method
        request = self.requests() if shape in ("client", "bidi") else self.command
        return invoke(request, timeout=self.args.timeout, metadata=self.args.metadata,
                      wait_for_ready=self.args.wait_for_ready)

    def receive(self, call):
        try:
            if self.args.shape in ("unary", "client"):
                self.add(call.result())
                return
            while True:
                if self.args.read_delay:
                    time.sleep(self.args.read_delay)
                self.add(next(call))
                if len(self.replies) == self.args.cancel_after_replies:
                    call.cancel()
        except (StopIteration, grpc.RpcError, grpc.FutureCancelledError):
            pass  # the status says how it ended

    def run(self, reply_type):
        self.start = time.monotonic()
        call = self.begin(reply_type)
        timer = None
        if self.args.cancel_after:
            timer = threading.Timer(self.args.cancel_after, call.cancel)
            timer.start()
        self.receive(call)
        code = call.code()
        elapsed = self.elapsed_ms()
        self.over.set()
        self.replied.release()
        if timer:
            timer.cancel()
        trailers = call.trailing_metadata()
        details = [value for key, value in trailers or () if key == DETAILS_KEY]
        return {
            "code": code.value[0],
            "message": call.details() or "",
            "details_b64": base64.b64encode(details[0]).decode() if details else "",
            "headers": printable(call.initial_metadata()),
            "trailers": printable(trailers),
            "replies": self.replies,
            "elapsed_ms": elapsed,
        }


def parse_arguments():
    parser = argparse.ArgumentParser(description="Call the scriptable Peer service with grpcio.")
    parser.add_argument("--target", required=True, help="HOST:PORT or unix:PATH of the server")
    parser.add_argument("--shape", choices=sorted(METHODS), default="unary")
    parser.add_argument("--service-method", help="/SERVICE/METHOD to call instead of Peer's own")
    parser.add_argument("--count", type=int, default=1, help="calls, all at the same time")
    parser.add_argument("--timeout", type=seconds, help="deadline of each call, such as 500ms")
    parser.add_argument("--cancel-after", type=seconds, help="cancel each call after this time")
    parser.add_argument("--cancel-after-replies", type=int, default=0)
    parser.add_argument("--wait-for-ready", action="store_true")
    parser.add_argument("-H", dest="metadata", type=header, action="append", default=[],
                        help="request metadata key:value, repeated; base64 for -bin keys")
    parser.add_argument("--command", default="{}", help="the first Command, as protobuf JSON")
    parser.add_argument("--payload-size", type=int, help="payload of each message, in bytes")
    parser.add_argument("--send", type=int, default=1,
                        help="messages to send in the client and bidi shapes")
    parser.add_argument("--send-interval", type=seconds, default=0.0)
    parser.add_argument("--read-delay", type=seconds, default=0.0,
                        help="pause before each read in the server and bidi shapes")
    parser.add_argument("--keep-open", action="store_true",
                        help="do not half-close after the last message")
    parser.add_argument("--lockstep", action="store_true",
                        help="send the next message only after a reply")
    return parser.parse_args()


def main():
    args = parse_arguments()
    pb = load_messages()
    command = json_format.Parse(args.command, pb.Command())
    if args.payload_size is not None:
        command.payload = pattern(args.payload_size)

    printing = threading.Lock()
    failures = []

    def run(index, channel):
        try:
            result = Call(args, command, channel).run(pb.Reply)
        except Exception as error:  # grpcio refuses some requests without making a call
            failures.append(error)
            return
        with printing:
            print(json.dumps({"call": index, **result}), flush=True)

    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
               ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(args.target, options=options) as channel:
        threads = [threading.Thread(target=run, args=(i, channel)) for i in range(args.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        print(f"peer_client.py: {failures[0]!r}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
