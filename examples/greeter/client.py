#!/usr/bin/python3
"""Calls the greeter in all four shapes, as any Python program would: plain grpcio and greeter.proto.

    examples/greeter/client.py 127.0.0.1:PORT [NAME ...]

Needs protoc, grpc_python_plugin and grpcio; on Debian 12: apt-get install protobuf-compiler
protobuf-compiler-grpc python3-grpcio python3-protobuf.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import grpc

HERE = pathlib.Path(__file__).resolve().parent


def load_stubs():
    """Generates the Python code for greeter.proto into a temporary folder and imports it."""
    plugin = shutil.which("grpc_python_plugin")
    if not plugin or not shutil.which("protoc"):
        sys.exit("client.py: protoc or grpc_python_plugin is missing; on Debian 12: "
                 "apt-get install protobuf-compiler protobuf-compiler-grpc")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["protoc", f"--proto_path={HERE}", f"--python_out={folder}",
             f"--grpc_python_out={folder}", f"--plugin=protoc-gen-grpc_python={plugin}",
             "greeter.proto"],
            check=True)
        sys.path.insert(0, folder)
        import greeter_pb2
        import greeter_pb2_grpc
        return greeter_pb2, greeter_pb2_grpc


def greet(target, names, timeout):
    pb, pb_grpc = load_stubs()
    requests = [pb.HelloRequest(name=name) for name in names]
    with grpc.insecure_channel(target) as channel:
        greeter = pb_grpc.GreeterStub(channel)
        print("SayHello      ", greeter.SayHello(requests[0], timeout=timeout).message)
        print("CollectHellos ", greeter.CollectHellos(iter(requests), timeout=timeout).message)
        for reply in greeter.ListHellos(pb.HelloRequest(name=names[0], count=3), timeout=timeout):
            print("ListHellos    ", reply.message)
        for reply in greeter.Chat(iter(requests), timeout=timeout):
            print("Chat          ", reply.message)


def main():
    parser = argparse.ArgumentParser(description="Call the greeter in all four shapes.")
    parser.add_argument("target", help="HOST:PORT of the greeter")
    parser.add_argument("names", nargs="*", default=["Ada", "Grace", "Barbara"],
                        help="whom to greet")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for each call")
    args = parser.parse_args()
    try:
        greet(args.target, args.names, args.timeout)
    except grpc.RpcError as error:
        sys.exit(f"client.py: {error.code().name}: {error.details()}")


if __name__ == "__main__":
    main()
