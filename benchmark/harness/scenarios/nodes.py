"""2, 100 and 10,000 nodes in one service: what a request costs, and how soon a change of one is seen.

The nodes are addresses of the loopback network (127.0.x.y), behind which one process answers. Round
robin reaches all of them, so the gateway keeps a connection to each: the pool is made large enough,
and a warm-up fills it. What grows with the number is therefore the price of many connections, in the
kernel too, as much as that of the choice; the choice alone is in `plugins`. Health checks are off.

For the change all 10,000 nodes have weight 0, and one is turned on and off through the Admin API (200
and 502); the time counts from the answer of the Admin API.
"""

from .. import client, poller, ports, store
from ..bench import Bench, Stage
from ..errors import BenchmarkError
from ..peers import FULL, Running

PEERS = ("gateway", "gateway-pgo")
COUNTS = (2, 100, 10_000)
CHANGE = "node change visible, 10,000 nodes"
TIMES = 50
SETTINGS = {"HEALTHCHECK": "null", "POOL": 16_384}


def case(count: int) -> str:
    """The name of a step of the sweep."""
    return f"{count:,} nodes"


def run(bench: Bench) -> None:
    """The sweep, then the changes."""
    names = bench.peers(*PEERS)
    for count in COUNTS[:-1]:
        sweep(bench, count, names)
    for name in names:
        # One after the other: the nodes' process may not have open what two gateways keep to all of them.
        sweep(bench, COUNTS[-1], [name])
    for name in names:
        change(bench, name)


def sweep(bench: Bench, count: int, names: list[str]) -> None:
    """One step of it."""
    with bench.stage() as stage:
        stage.upstream(f"0.0.0.0:{ports.MANY_NODES}")
        running = {name: start(stage, name, count) for name in names}
        for peer in running.values():
            bench.warm_up(peer)
        bench.in_turns(case(count), {n: lambda peer=peer: bench.wrk(peer) for n, peer in running.items()})


def start(stage: Stage, name: str, count: int, weight: int = 1) -> Running:
    """The route of the full work, to so many nodes."""
    entries = [entry for entry in store.full() if not entry[0].startswith("discovery/")]
    entries += store.many_nodes("hello", count, ports.MANY_NODES, weight)
    return stage.peer(name, FULL, entries=entries, changes=SETTINGS)


def change(bench: Bench, name: str) -> None:
    """One node of them all comes and goes."""
    with bench.stage() as stage:
        stage.upstream(f"0.0.0.0:{ports.MANY_NODES}")
        peer = start(stage, name, COUNTS[-1], weight=0)
        watcher = poller.Poller(peer, peer.hello)
        poller.milliseconds(watcher, lambda on: turn(peer, on), 502, 2)
        elapsed = poller.milliseconds(watcher, lambda on: turn(peer, on), 502, TIMES)
        bench.record(CHANGE, name, poller.figures(elapsed))


def turn(peer: Running, on: bool) -> None:
    """Gives the first node a weight, or none."""
    key, fields = next(store.many_nodes("hello", 1, ports.MANY_NODES, int(on)))
    answer = client.ask(peer.ports.admin, "/admin/services/save", "POST", {"key": key.partition("/")[2], **fields})
    if answer.body != b"ok":
        raise BenchmarkError(f"the Admin API refused a node: {answer.status} {answer.body.decode(errors='replace')}")
