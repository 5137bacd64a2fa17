"""The full work of a request, as a gateway has it.

Prefix route, regex rewrite, trace id in both directions, X-Real-IP, X-Forwarded-For,
X-Forwarded-Proto, round robin over two nodes, and a JSON line in the access log. wrk asks for a
small answer over keep-alive connections, as fast as it gets it. The bare Pingora proxy does none of
this: it is the floor under ours.

Then the p99 at 70 percent of capacity, with an open loop (latency counts from when a request should
have been sent): once at 70 percent of each proxy's own requests/s above, which is the goal's figure,
and once at the same rate for all, 70 percent of what the slowest of gateway and nginx can do.
"""

from ..bench import Bench
from ..peers import ALL, FULL, OURS, Running

PEERS = ("gateway", "gateway-pgo", "pingora", "nginx", "haproxy", "envoy")
CASE = "full"
OWN_RATE = "full, 70 % of own capacity"
SAME_RATE = "full, the same rate for all"


def run(bench: Bench) -> None:
    """Capacity first: the rates come from it."""
    names = bench.peers(*PEERS)
    with bench.stage() as stage:
        stage.upstream()
        running = stage.all(names, FULL)
        for peer in running.values():
            bench.warm_up(peer)
        bench.in_turns(CASE, {name: lambda peer=peer: bench.wrk(peer) for name, peer in running.items()})
        for name, peer in running.items():
            ALL[name].check_log(peer)
        at_own_rate(bench, running)
        at_same_rate(bench, running)


def at_own_rate(bench: Bench, running: dict[str, Running]) -> None:
    """Each as busy as the other ones."""
    actions = {}
    for name, peer in running.items():
        rate = round(0.7 * bench.measurements.known(CASE, name, "rps"))
        actions[name] = lambda peer=peer, rate=rate: bench.rate(peer, rate)
    bench.in_turns(OWN_RATE, actions)


def at_same_rate(bench: Bench, running: dict[str, Running]) -> None:
    """Each with as much to do. Who could hardly do it is left out: it would only show a queue."""
    capacity = {name: bench.measurements.known(CASE, name, "rps") for name in running}
    compared = [rps for name, rps in capacity.items() if name in (*OURS, "nginx")]
    rate = round(0.7 * min(compared or capacity.values()))
    able = [name for name in running if capacity[name] * 0.9 > rate]
    bench.in_turns(SAME_RATE, {name: lambda name=name: bench.rate(running[name], rate) for name in able})
