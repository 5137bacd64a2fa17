"""A gRPC server without generated code: messages are plain bytes.

Prints its port, then a line for each thing a test waits for.
"""

import sys
import threading
from concurrent import futures

import grpc


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "at-the-end"), ("x-binary-bin", b"\x00\xff")))
    return request


def metadata(request, context):
    """Answers with what reached it."""
    pairs = sorted(f"{key}={value}" for key, value in context.invocation_metadata())
    return "\n".join(pairs).encode()


def fail(request, context):
    context.set_trailing_metadata((("x-detail", "more"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: 不行 50% \n done")


def server_stream(request, context):
    for i in range(int(request)):
        yield str(i).encode()


def client_stream(requests, context):
    count = size = 0
    for request in requests:
        count += 1
        size += len(request)
    return f"{count} {size}".encode()


def bidi(requests, context):
    for request in requests:
        yield request


def half_then_fail(request, context):
    yield b"first"
    context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")


def hang(request, context):
    """Never ends by itself; says when it was cancelled."""
    done = threading.Event()
    context.add_callback(done.set)
    print("called", flush=True)
    deadline = context.time_remaining()
    print("deadline" if deadline is not None and deadline < 3600 else "no deadline", flush=True)
    done.wait(60)
    print("cancelled", flush=True)
    return b""


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "HalfThenFail": grpc.unary_stream_rpc_method_handler(half_then_fail),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
}


def main():
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Service", HANDLERS),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(main())
