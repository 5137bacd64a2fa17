"""Single HTTP requests: whether a peer is there, and what it answers. Load has tools of its own."""

import http.client
import json
import time
from typing import NamedTuple

from .errors import BenchmarkError
from .processes import Process

TOKEN = "benchmark-token-only-on-loopback"


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(port: int, path: str, method: str = "GET", content: object = None) -> Answer:
    """One request on a connection of its own; what is sent is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, {"X-Api-Token": TOKEN, "Content-Type": "application/json"})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def wait_for(process: Process, port: int, path: str, patience: float = 30) -> Answer:
    """Until a started process answers 200: load on one that is not ready would count as errors."""
    deadline, last = time.monotonic() + patience, "nothing listens"
    while time.monotonic() < deadline:
        process.must_run()
        try:
            answer = ask(port, path)
            if answer.status == 200:
                return answer
            last = f"{answer.status} {answer.body[:200]!r}"
        except (OSError, http.client.HTTPException) as e:
            last = str(e)
        time.sleep(0.05)
    raise BenchmarkError(f"{process.name}: 127.0.0.1:{port}{path} does not answer: {last}\n{process.last_words()}")
