"""Calls of gRPC's C library, the one below C++, Python, Ruby and PHP. Prints a line of JSON for each."""
import json
import sys

import grpc

channel = grpc.insecure_channel(
    f"unix:{sys.argv[1]}",
    options=[("grpc.max_receive_message_length", -1), ("grpc.keepalive_time_ms", 200), ("grpc.keepalive_permit_without_calls", 1)],
)


def say(name, **found):
    print(json.dumps({"name": name, **found}), flush=True)


def unary(method, request, **options):
    return channel.unary_unary(f"/test.Suite/{method}")(request, **options)


for size in (0, 1, 70000, 1 << 20):
    say("echo", size=size, same=unary("Echo", b"z" * size) == b"z" * size)
say("large", size=len(unary("Large", b"9000000")))
say("header", value=unary("Header", b"x-test", metadata=(("x-test", "v" * 5000),)).decode() == "v" * 5000)
try:
    unary("Fail", "a\u4e2d\n%\U0001f600".encode())
except grpc.RpcError as error:
    say("fail", code=error.code().name, details=error.details())
try:
    unary("Missing", b"")
except grpc.RpcError as error:
    say("missing", code=error.code().name)
try:
    unary("Wait", b"", timeout=0.2)
except grpc.RpcError as error:
    say("deadline", code=error.code().name)
try:
    unary("Echo", b"x" * 1000, compression=grpc.Compression.Gzip)
except grpc.RpcError as error:
    say("gzip", code=error.code().name)
count = channel.unary_stream("/test.Suite/Count")
say("count", values=[int(value) for value in count(b"200")] == list(range(200)))
waiting = channel.unary_unary("/test.Suite/Wait").future(b"")
waiting.cancel()
say("cancelled", code=waiting.code().name)
futures = [channel.unary_unary("/test.Suite/Echo").future(str(at).encode()) for at in range(500)]
say("many", same=[future.result() for future in futures] == [str(at).encode() for at in range(500)])
