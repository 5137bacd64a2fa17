"""100, 10,000 and 100,000 routes with trace id and a regex rewrite; requests go to 4,096 of them in turn.

Memory is resident memory after load, of a process that was started with so many routes; memory per
route is the difference to 100 routes. nginx has the same as locations, up to 10,000. The rewrite has
the same regex in all routes; once more each route of 10,000 has its own.

Then changes: the gateway has 100,000 routes in etcd, and requests come at a fixed, moderate rate while
1,000 routes a second are changed, in batches of 100. It is compared with the same writes to keys that
are none of the gateway's, so that etcd and the writer are as busy on the load's CPU. The gateway
compiles on a thread of its own, which here has the same CPU as its requests.
"""

from .. import store
from ..bench import Bench, Figures, Stage
from ..etcd import PREFIX, changes
from ..measurements import Measurements
from ..peers import FULL, OURS, Running

PEERS = ("gateway", "gateway-pgo", "nginx")
COUNTS = (100, 10_000, 100_000)
NGINX_MOST = 10_000
CHANGES = 1_000
RATE = 2_000
OWN_REWRITES = "10,000 routes, each with its own regex"
QUIET, CHANGING = "100,000 routes, changes elsewhere", "100,000 routes, 1,000 changes/s"


def case(count: int) -> str:
    """The name of a step of the sweep."""
    return f"{count:,} routes"


def run(bench: Bench) -> None:
    """The sweep, then the changes."""
    for count in COUNTS:
        sweep(bench, case(count), count)
    sweep(bench, OWN_REWRITES, COUNTS[1], own_rewrites=True)
    for name in bench.peers(*OURS):
        under_changes(bench, name)


def sweep(bench: Bench, step: str, count: int, own_rewrites: bool = False) -> None:
    """One step of it, with processes of its own."""
    with bench.stage() as stage:
        stage.upstream()
        names = [name for name in bench.peers(*PEERS) if name in OURS or count <= NGINX_MOST]
        running = {name: start(stage, name, count, own_rewrites) for name in names}
        for peer in running.values():
            bench.warm_up(peer, None, count)
        bench.in_turns(step, {name: lambda peer=peer: ask(bench, peer, count) for name, peer in running.items()})


def start(stage: Stage, name: str, count: int, own_rewrites: bool) -> Running:
    """With so many routes, or locations."""
    locations = "\n".join(location(number, own_rewrites) for number in range(count)) if name == "nginx" else ""
    return stage.peer(name, FULL, entries=store.many_routes(count, own_rewrites), locations=locations)


def location(number: int, own_rewrite: bool) -> str:
    """What nginx has for a route."""
    prefix = store.prefix_of(number)
    regex = f"^{prefix}" if own_rewrite else store.SHARED_REWRITE
    return f"location {prefix} {{ rewrite {regex}(.*)$ /$1 break; proxy_pass http://hello; }}"


def ask(bench: Bench, peer: Running, count: int) -> Figures:
    """One round."""
    figures = bench.wrk(peer, None, count)
    few = bench.measurements.median(case(COUNTS[0]), peer.name, "rss_mib")
    if few is not None and count > COUNTS[0]:
        figures["route_bytes"] = (figures["rss_mib"] - few) * 2**20 / (count - COUNTS[0])
    return figures


def under_changes(bench: Bench, name: str) -> None:
    """A B A B of changes that concern the gateway, and of those that do not."""
    count = COUNTS[-1]
    with bench.stage() as stage:
        stage.upstream()
        peer = stage.peer(name, FULL, entries=store.many_routes(count), etcd=stage.etcd())
        for _ in range(bench.settings.rounds):
            for case_name, prefix in ((QUIET, "/elsewhere/"), (CHANGING, PREFIX)):
                bench.record(case_name, name, changing(bench, peer, count, prefix))


def changing(bench: Bench, peer: Running, count: int, prefix: str) -> Figures:
    """One round."""
    with changes(count, CHANGES, prefix) as writer:
        figures = bench.rate(peer, RATE, "/api/v0/service-0/hello/world")
        written = writer.written
    # The second is that of the warm-up.
    return {**figures, "changes": written / (bench.settings.seconds + 1)}


def p99_under_changes(m: Measurements, name: str) -> float | None:
    """Times as long as while nothing changes for the gateway."""
    changing, quiet = (m.median(case_name, name, "p99_ms") for case_name in (CHANGING, QUIET))
    return changing / quiet if changing is not None and quiet else None
