"""User instructions per request (full work) and per unary gRPC call (merely forwarded), counted by valgrind's callgrind.

Each proxy is started afresh under callgrind and answers N requests on 16 connections; then once more
with a larger N. What both have alike (start, warm-up, end) goes away when one count is subtracted
from the other, and what is left, divided by the difference in requests, is exact to about 1 percent
on any machine under any load. The kernel's part is not in it.
"""

import re
from collections.abc import Callable
from pathlib import Path

from .. import load, machine
from ..bench import Bench, Stage
from ..errors import BenchmarkError
from ..peers import BARE, FULL, Running

PEERS = ("gateway", "gateway-pgo", "pingora", "nginx")
CASE, GRPC = "instructions", "instructions, gRPC"
FEW, MANY = 1_000, 9_000
CONNECTIONS = 16
# gRPC calls: connections, and calls at once on each.
GRPC_CONNECTIONS, STREAMS = 4, 8
# Reading the system's certificate authorities takes ten seconds under callgrind, and concerns no request here.
NO_AUTHORITIES = ["/usr/bin/env", "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/nonexistent"]


def run(bench: Bench) -> None:
    """One after the other: nothing here depends on time."""
    with bench.stage() as stage:
        stage.upstream()
        for case, work, load_up in ((CASE, FULL, requests), (GRPC, BARE, calls)):
            for name in bench.peers(*PEERS):
                few, many = (counted(bench, stage, name, work, load_up, number) for number in (FEW, MANY))
                bench.record(case, name, {"instructions": (many - few) / (MANY - FEW)})


def counted(bench: Bench, stage: Stage, name: str, work: str, load_up: Callable, number: int) -> int:
    """All user instructions of one life of a proxy that answers so many."""
    out = stage.folder / f"callgrind-{name}-{work}-{number}"
    callgrind = [machine.program("valgrind") or "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    # One process: else the requests would be counted in nginx's worker and the file in its master.
    running = stage.peer(name, work, [*NO_AUTHORITIES, *callgrind], changes={"MASTER": "off"})
    load_up(bench, running, number)
    stage.stop(running)
    return collected(out)


def requests(_: Bench, running: Running, number: int) -> None:
    """So many requests over HTTP/1.1."""
    load.h2load(running.url(), number, CONNECTIONS)


def calls(bench: Bench, running: Running, number: int) -> None:
    """So many unary calls."""
    address = f"127.0.0.1:{running.ports.h2c}"
    bench.tool("grpc", address=address, calls=number, connections=GRPC_CONNECTIONS, streams=STREAMS, patience=300)


def collected(out: Path) -> int:
    """The sum that callgrind writes at its end."""
    match = re.search(r"^(?:totals|summary): (\d+)", out.read_text(errors="replace") if out.exists() else "", re.MULTILINE)
    if not match:
        raise BenchmarkError(f"callgrind wrote no sum into {out}")
    return int(match[1])
