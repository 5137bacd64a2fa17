"""Each proxy merely forwards: no log, no rewrite, no header of its own.

It says what a proxy's machinery costs by itself. Ours has one route without plugins, and its metrics
are still on. wrk asks for a small answer over keep-alive connections.
"""

from ..bench import Bench
from ..peers import BARE

PEERS = ("gateway", "gateway-pgo", "pingora", "nginx", "haproxy", "envoy")
CASE = "bare"


def run(bench: Bench) -> None:
    """As in `full`, without the work."""
    with bench.stage() as stage:
        stage.upstream()
        running = stage.all(bench.peers(*PEERS), BARE)
        for peer in running.values():
            bench.warm_up(peer)
        bench.in_turns(CASE, {name: lambda peer=peer: bench.wrk(peer) for name, peer in running.items()})
