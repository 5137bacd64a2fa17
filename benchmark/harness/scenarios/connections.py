"""What connections cost: the full work over 16, 100 and 1,000 busy ones, and the memory of 10,000 idle ones.

Memory is read after each round, from processes that have never had more connections than that.
An idle connection's share is what resident memory grew by from none to 10,000, divided by 10,000:
once of connections that never asked for anything, and once of those that had one answer.
"""

import time

from .. import load
from ..bench import Bench, Figures
from ..peers import FULL, Running

PEERS = ("gateway", "gateway-pgo", "pingora", "nginx", "haproxy")
# HAProxy would need more files than a process usually may have.
IDLE_PEERS = ("gateway", "gateway-pgo", "pingora", "nginx")
COUNTS = (16, 100, 1_000)
IDLE = 10_000
# nginx sets memory aside for all connections that it may ever have.
ENOUGH = {"CONNECTIONS": 16_384}
ASKED, NEVER_ASKED = "idle connections after an answer", "idle connections, never used"


def case(count: int) -> str:
    """The name of a step of the sweep."""
    return f"{count:,} connections"


def run(bench: Bench) -> None:
    """Few connections first: memory that was once needed is not always given back."""
    with bench.stage() as stage:
        stage.upstream()
        running = stage.all(bench.peers(*PEERS), FULL)
        for count in COUNTS:
            for peer in running.values():
                bench.warm_up(peer, count)
            actions = {name: lambda peer=peer: bench.wrk(peer, count) for name, peer in running.items()}
            bench.in_turns(case(count), actions)
    for name in bench.peers(*IDLE_PEERS):
        for ask, what in ((False, NEVER_ASKED), (True, ASKED)):
            with bench.stage() as stage:
                stage.upstream()
                peer = stage.peer(name, FULL, changes=ENOUGH)
                bench.record(what, name, idle(bench, peer, ask))


def idle(bench: Bench, peer: Running, ask: bool) -> Figures:
    """Opens them, waits until nothing moves, and reads the memory."""
    bench.warm_up(peer)
    before = peer.process.rss_mib()
    options = {"address": f"127.0.0.1:{peer.ports.http}", "connections": IDLE}
    if ask:
        options["ask"] = peer.hello
    with load.idle(bench.settings.load, **options):
        time.sleep(1)
        after = peer.process.rss_mib()
    return {"kib_connection": (after - before) * 1024 / IDLE, "rss_mib": after}
