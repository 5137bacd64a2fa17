"""How soon a change is seen by requests: from when the store has answered the writer until the first response
that shows it. There are 10,000 routes, and at least 60 ms of quiet before each change.

A route is turned on and off (200 and 404), through the Admin API into the embedded store, and straight
into etcd. One client polls the data port without pause, on the load's CPU; its last request is part of
the time, some 0.3 ms. So is waiting for the CPU when poller, store and gateway share two of them.
"""

from collections.abc import Callable

from .. import client, poller, store
from ..bench import Bench
from ..errors import BenchmarkError
from ..etcd import Etcd
from ..peers import FULL, Running

PEERS = ("gateway", "gateway-pgo")
EMBEDDED, IN_ETCD = "change visible, embedded store", "change visible, etcd"
ROUTES = 10_000
TIMES = 100


def run(bench: Bench) -> None:
    """Each store with a gateway of its own."""
    for name in bench.peers(*PEERS):
        with bench.stage() as stage:
            stage.upstream()
            peer = stage.peer(name, FULL, entries=store.many_routes(ROUTES))
            measure(bench, EMBEDDED, peer, lambda on, peer=peer: save(peer, on))
        with bench.stage() as stage:
            stage.upstream()
            peer = stage.peer(name, FULL, entries=store.many_routes(ROUTES), etcd=stage.etcd())
            etcd = Etcd()
            measure(bench, IN_ETCD, peer, lambda on, etcd=etcd: etcd.put(probe(on)))


def probe(on: bool) -> store.Entry:
    """The route that comes and goes."""
    props = {"rewrite_url_regex": "^/visible/", "rewrite_replace": "/"}
    return store.route("visible", "/visible/*", "hello", plugins=["discovery", "rewrite"], props=props, status=int(on))


def save(peer: Running, on: bool) -> None:
    """As an operator does."""
    _, fields = probe(on)
    answer = client.ask(peer.ports.admin, "/admin/routes/save", "POST", {"key": "visible", **fields})
    if answer.body != b"ok":
        raise BenchmarkError(f"the Admin API refused a route: {answer.status} {answer.body.decode(errors='replace')}")


def measure(bench: Bench, case: str, peer: Running, change: Callable[[bool], None]) -> None:
    """Some changes to warm up, then those that count."""
    watcher = poller.Poller(peer, "/visible/hello/world")
    poller.milliseconds(watcher, change, 404, 4)
    bench.record(case, peer.name, poller.figures(poller.milliseconds(watcher, change, 404, TIMES)))
