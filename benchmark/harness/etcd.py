"""Writes to etcd by its JSON gateway: keys and values are base64 there."""

import base64
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from . import ports, store
from .errors import BenchmarkError

PREFIX = "/my/cloud/"
BATCH = 100


def put_of(key: str, fields: dict) -> dict:
    """A put as etcd's JSON has it."""
    encode = lambda text: base64.b64encode(text.encode()).decode()  # noqa: E731
    return {"key": encode(key), "value": encode(json.dumps(fields))}


class Etcd:
    """One connection that is kept."""

    def __init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", ports.ETCD, timeout=30)

    def call(self, path: str, body: dict) -> None:
        """Returns when it is committed."""
        self._connection.request("POST", path, json.dumps(body))
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise BenchmarkError(f"etcd: {response.status} {answer!r}")

    def put(self, entry: store.Entry, prefix: str = PREFIX) -> None:
        """One object."""
        self.call("/v3/kv/put", put_of(prefix + entry[0], entry[1]))

    def put_all(self, entries: list[store.Entry], prefix: str = PREFIX) -> None:
        """Some objects in one transaction."""
        puts = [{"requestPut": put_of(prefix + key, fields)} for key, fields in entries]
        self.call("/v3/kv/txn", {"success": puts})


class Writer:
    """Changes routes, a batch at a time, at a steady rate."""

    def __init__(self, routes: int, per_second: int, prefix: str):
        self.written = 0
        self._routes, self._interval, self._prefix = routes, BATCH / per_second, prefix
        self._end = threading.Event()
        self._failure: Exception | None = None

    def run(self) -> None:
        """Until it is told to stop; what goes wrong is told then."""
        etcd, due, turn = Etcd(), time.monotonic(), 0
        try:
            while not self._end.wait(max(0.0, due - time.monotonic())):
                numbers = [(turn * BATCH + i) * 7919 % self._routes for i in range(BATCH)]
                entries = {number: store.one_of_many(number, remark=f"change {turn}") for number in numbers}
                etcd.put_all(list(entries.values()), self._prefix)
                self.written += len(entries)
                turn, due = turn + 1, due + self._interval
        except (OSError, http.client.HTTPException, BenchmarkError) as e:
            self._failure = e

    def stop(self) -> None:
        """No more changes."""
        self._end.set()
        if self._failure:
            raise BenchmarkError(f"changes could not be written: {self._failure}")


@contextmanager
def changes(routes: int, per_second: int, prefix: str) -> Iterator[Writer]:
    """Changes arrive as long as the context is."""
    writer = Writer(routes, per_second, prefix)
    thread = threading.Thread(target=writer.run, daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        writer.stop()
        thread.join(30)
