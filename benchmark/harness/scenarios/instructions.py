"""User instructions per request, full work, counted by valgrind's callgrind.

Each proxy is started afresh under callgrind and answers N requests on 16 connections; then once more
with a larger N. What both have alike (start, warm-up, end) goes away when one count is subtracted
from the other, and what is left, divided by the difference in requests, is exact to about 1 percent
on any machine under any load. The kernel's part is not in it.
"""

import re
from pathlib import Path

from .. import load, machine
from ..bench import Bench, Stage
from ..errors import BenchmarkError
from ..peers import FULL

PEERS = ("gateway", "gateway-pgo", "pingora", "nginx")
CASE = "instructions"
FEW, MANY = 1_000, 9_000
CONNECTIONS = 16
# Reading the system's certificate authorities takes ten seconds under callgrind, and concerns no request here.
NO_AUTHORITIES = ["/usr/bin/env", "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/nonexistent"]


def run(bench: Bench) -> None:
    """One after the other: nothing here depends on time."""
    with bench.stage() as stage:
        stage.upstream()
        for name in bench.peers(*PEERS):
            bench.record(CASE, name, {"instructions": per_request(stage, name)})


def per_request(stage: Stage, name: str) -> float:
    """The difference of two runs."""
    few, many = (counted(stage, name, requests) for requests in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def counted(stage: Stage, name: str, requests: int) -> int:
    """All user instructions of one life of a proxy that answers so many requests."""
    out = stage.folder / f"callgrind-{name}-{requests}"
    callgrind = [machine.program("valgrind") or "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    # One process: else the requests would be counted in nginx's worker and the file in its master.
    running = stage.peer(name, FULL, [*NO_AUTHORITIES, *callgrind], changes={"MASTER": "off"})
    load.h2load(running.url(), requests, CONNECTIONS)
    stage.stop(running)
    return collected(out)


def collected(out: Path) -> int:
    """The sum that callgrind writes at its end."""
    match = re.search(r"^(?:totals|summary): (\d+)", out.read_text(errors="replace") if out.exists() else "", re.MULTILINE)
    if not match:
        raise BenchmarkError(f"callgrind wrote no sum into {out}")
    return int(match[1])
