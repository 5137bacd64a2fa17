"""The load generators. Each checks every response, and a wrong one ends the run."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .errors import BenchmarkError

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Load:
    """What a load generator saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rps(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def confined(command: Iterable[object], cpus: set[int] | None = None) -> list[str]:
    """On the CPUs of the load, if no others are named."""
    return ["taskset", "-c", ",".join(map(str, sorted(cpus or machine.cpus().load))), *map(str, command)]


def run(command: list[str | Path], seconds: float, cpus: set[int] | None = None) -> str:
    """Runs a generator to its end; what is late by a minute hangs."""
    words = confined(command, cpus)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False)
    except subprocess.TimeoutExpired as e:
        raise BenchmarkError(f"no end after {seconds + 60:.0f} s: {' '.join(words)}") from e
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()[-2000:]
        raise BenchmarkError(f"code {done.returncode} from {' '.join(words[3:])}:\n{said}")
    return done.stdout


def wrk(
    url: str,
    connections: int,
    seconds: int,
    *arguments: object,
    threads: int = 1,
    cpus: set[int] | None = None,
) -> Load:
    """As many requests as the connections can carry, one after the other on each.

    The arguments are those of wrk.lua.
    """
    options = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", SCRIPT]
    command = ["wrk", *options, url, "--", *map(str, arguments)]
    output = run(command, seconds, cpus)
    match = re.search(r"^RESULT (\d+) (\S+) (\S+) (\S+) (\d+) (\d+)$", output, re.MULTILINE)
    if not match:
        raise BenchmarkError(f"no result from wrk: {output}")
    requests, wrong, broken = int(match[1]), int(match[5]), int(match[6])
    if wrong or broken or not requests:
        raise BenchmarkError(f"{url}: {wrong} of {requests} responses were not 2xx, {broken} socket errors")
    return Load(requests, float(match[2]), float(match[3]), float(match[4]))


def h2load(url: str, requests: int, connections: int) -> None:
    """An exact number of HTTP/1.1 requests."""
    command = ["h2load", "--h1", f"-c{connections}", "-t1", f"-n{requests}", url]
    output = run(command, 300)
    match = re.search(r"^status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx$", output, re.MULTILINE)
    if not match or int(match[1]) != requests:
        raise BenchmarkError(f"{url}: not all of {requests} responses were 2xx:\n{output}")


def command_of(binary: Path, what: str, flags: Iterable[str], options: dict[str, object]) -> list[str]:
    """The command line of bench-load."""
    words = [str(binary), what, *(f"--{flag}" for flag in flags)]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


def result_of(line: str, what: str) -> dict:
    """A line of JSON."""
    try:
        return json.loads(line)
    except ValueError as e:
        raise BenchmarkError(f"no result from bench-load {what}: {line!r}") from e


def tool(binary: Path, what: str, *flags: str, patience: float = 60, **options: object) -> dict:
    """Our own generator, bench-load: it fails by itself when a response is wrong."""
    return result_of(run(command_of(binary, what, flags, options), patience), what)


@contextmanager
def idle(binary: Path, **options: object) -> Iterator[dict]:
    """Connections that are open as long as the context is."""
    popen = subprocess.Popen(
        confined(command_of(binary, "idle", (), options)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = popen.stdout.readline()
        if not line:
            raise BenchmarkError(f"idle connections cannot be opened: {popen.stderr.read()}")
        yield result_of(line, "idle")
        said = popen.communicate(timeout=60)[1]
        if popen.returncode != 0:
            raise BenchmarkError(f"idle connections did not stay open: {said}")
    finally:
        popen.kill()
        popen.wait()
