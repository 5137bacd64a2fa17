"""How soon a change shows at the data port."""

import http.client
import math
import random
import time
from collections.abc import Callable

from .errors import BenchmarkError
from .peers import Running

# Longer than the gateway gathers changes for, so that each one comes after quiet.
QUIET = 0.06
PATIENCE = 10


class Poller:
    """Asks for a path again and again on one connection."""

    def __init__(self, running: Running, path: str):
        self._connection = http.client.HTTPConnection("127.0.0.1", running.ports.http, timeout=30)
        self._path = path

    def status(self) -> int:
        """Of one request."""
        self._connection.request("GET", self._path)
        response = self._connection.getresponse()
        response.read()
        return response.status

    def wait_for(self, status: int) -> None:
        """Until it is answered so."""
        deadline = time.monotonic() + PATIENCE
        while (seen := self.status()) != status:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self._path} answers {seen}, not {status}, {PATIENCE} s after the change")


def milliseconds(poller: Poller, change: Callable[[bool], None], off: int, times: int) -> list[float]:
    """Of each change, from when its store has answered until the first response that shows it.

    The time of that last request is part of it, some 0.3 ms.
    """
    elapsed = []
    for number in range(times):
        on = number % 2 == 0
        time.sleep(QUIET + random.uniform(0, 0.02))
        change(on)
        committed = time.perf_counter()
        poller.wait_for(200 if on else off)
        elapsed.append((time.perf_counter() - committed) * 1000)
    return elapsed


def percentile(values: list[float], percent: float) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def figures(values: list[float]) -> dict[str, float]:
    """For the report."""
    return {"p50_ms": percentile(values, 50), "p99_ms": percentile(values, 99), "max_ms": max(values)}
