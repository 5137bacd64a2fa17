"""A gRPC client, official grpcio: client.py ADDRESS CASE. Exits with 0 when the case holds."""

import queue
import sys
import threading
import time

import grpc

TIMEOUT = 60
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Service:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=OPTIONS)

    def __getattr__(self, name):
        kind = {
            "ServerStream": self.channel.unary_stream,
            "HalfThenFail": self.channel.unary_stream,
            "ClientStream": self.channel.stream_unary,
            "Bidi": self.channel.stream_stream,
        }.get(name, self.channel.unary_unary)
        return kind(f"/t.Service/{name}")


def equal(got, expected):
    assert got == expected, f"got {got!r}, expected {expected!r}"


def failure(call):
    try:
        result = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"no failure: {result!r}")


def unary(service):
    for size in (0, 1, 1000, 100_000):
        equal(service.Unary(b"x" * size, timeout=TIMEOUT), b"x" * size)


def trailers(service):
    reply, call = service.Unary.with_call(b"x", timeout=TIMEOUT)
    equal(reply, b"x")
    equal(call.code(), grpc.StatusCode.OK)
    sent = dict(call.trailing_metadata())
    equal(sent["x-trailer"], "at-the-end")
    equal(sent["x-binary-bin"], b"\x00\xff")


def metadata(service):
    pairs = (("x-mine", "1"), ("x-mine", "2"), ("x-data-bin", b"\x01\x02"))
    got = service.Metadata(b"", timeout=TIMEOUT, metadata=pairs).decode().split("\n")
    for expected in ("x-mine=1", "x-mine=2", "x-data-bin=b'\\x01\\x02'"):
        assert expected in got, got


def status(service):
    error = failure(lambda: service.Fail(b"", timeout=TIMEOUT))
    equal(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
    equal(error.details(), "no: 不行 50% \n done")
    equal(dict(error.trailing_metadata())["x-detail"], "more")


def unknown_method(service):
    error = failure(lambda: service.NoSuchMethod(b"", timeout=TIMEOUT))
    equal(error.code(), grpc.StatusCode.UNIMPLEMENTED)


def server_stream(service):
    got = [int(m) for m in service.ServerStream(b"10000", timeout=TIMEOUT)]
    equal(got, list(range(10_000)))


def half_then_fail(service):
    stream = service.HalfThenFail(b"", timeout=TIMEOUT)
    equal(next(stream), b"first")
    error = failure(lambda: next(stream))
    equal(error.code(), grpc.StatusCode.DATA_LOSS)


def client_stream(service):
    messages = (b"x" * 1000 for _ in range(5_000))
    equal(service.ClientStream(messages, timeout=TIMEOUT), b"5000 5000000")


def client_stream_small(service):
    messages = (b"x" for _ in range(5_000))
    equal(service.ClientStream(messages, timeout=TIMEOUT), b"5000 5000")


def bidi(service):
    """Ping-pong: each message only after the answer to the one before."""
    outbox = queue.Queue()
    stream = service.Bidi(iter(outbox.get, None), timeout=TIMEOUT)
    for i in range(500):
        outbox.put(str(i).encode())
        equal(next(stream), str(i).encode())
    outbox.put(None)
    equal(list(stream), [])


def idle(service):
    """Longer than every timeout of the test's gateway."""
    outbox = queue.Queue()
    stream = service.Bidi(iter(outbox.get, None), timeout=TIMEOUT)
    for message in (b"one", b"two"):
        outbox.put(message)
        equal(next(stream), message)
        time.sleep(3)
    outbox.put(None)
    equal(list(stream), [])


def bidi_small(service):
    """T16: thousands of small frames, both ways at once, and beside it a call that must survive."""
    for size in (1, 60, 200):
        sent = [b"%0*d" % (size, i) if size > 4 else b"x" for i in range(5_000)]
        equal(list(service.Bidi(iter(sent), timeout=TIMEOUT)), sent)
        equal(service.Unary(b"still", timeout=TIMEOUT), b"still")


def slow_reader(service):
    """T16: a client that reads late, so that small frames pile up in the gateway."""
    sent = [b"x" * 60] * 5_000
    stream = service.Bidi(iter(sent), timeout=TIMEOUT)
    time.sleep(2)
    equal(list(stream), sent)


def many_at_once(service):
    failures = []

    def work(i):
        try:
            equal(service.Unary(str(i).encode(), timeout=TIMEOUT), str(i).encode())
        except Exception as error:  # told below
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(failures[:3], [])


def large(service):
    message = bytes(range(256)) * (20 * 4096)
    assert len(message) == 20 << 20
    assert service.Unary(message, timeout=TIMEOUT) == message, "20 MiB came back otherwise"
    equal(list(service.Bidi(iter([message, b"x"]), timeout=TIMEOUT))[1], b"x")


def cancel(service):
    future = service.Hang.future(b"", timeout=TIMEOUT)
    time.sleep(1)
    future.cancel()


def deadline(service):
    error = failure(lambda: service.Hang(b"", timeout=1))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)


def unavailable(service):
    """The gateway answers itself: no node of the service can be reached."""
    error = failure(lambda: service.Unary(b"", timeout=TIMEOUT))
    equal(error.code(), grpc.StatusCode.UNAVAILABLE)
    assert error.details() and "http2" not in error.details().lower(), error.details()


def no_route(service):
    error = failure(lambda: service.Unary(b"", timeout=TIMEOUT))
    equal(error.code(), grpc.StatusCode.UNIMPLEMENTED)
    equal(error.details(), "no route")


def main():
    _, address, case = sys.argv
    service = Service(address)
    grpc.channel_ready_future(service.channel).result(timeout=TIMEOUT)
    globals()[case](service)
    print("ok")


if __name__ == "__main__":
    main()
