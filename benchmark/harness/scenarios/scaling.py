"""From one worker thread to two: how much more the gateway can do.

With four CPUs or more it is measured: requests/s with two workers on the last two CPUs, against one on
the last, load and nodes on the others.

With fewer there is no room for the load, so it is computed from CPU time: with as much load as goes, two
workers can do 2 × (CPU per request of one worker) / (CPU per request of two). Proxy, load and nodes share
all CPUs in both. That sees what workers cost each other (locks, shared cache lines), not what the memory
bus would do at the limit; and two workers are disturbed by the load more than one is, for it has the other
CPU. So it is too low rather than too high.
"""

from .. import load
from ..bench import Bench, Figures
from ..peers import FULL, Running

PEERS = ("gateway", "gateway-pgo", "pingora")
ONE, TWO, TIMES = "scaling, one worker", "scaling, two workers", "scaling"
CONNECTIONS = 64


def run(bench: Bench) -> None:
    """One way or the other."""
    for name in bench.peers(*PEERS):
        if bench.cpus.count >= 4:
            measured(bench, name)
        else:
            computed(bench, name)


def computed(bench: Bench, name: str) -> None:
    """All CPUs are everyone's."""
    everywhere = bench.cpus.load | bench.cpus.proxy
    for _ in range(bench.settings.rounds):
        for case, workers in ((ONE, 1), (TWO, 2)):
            with bench.stage() as stage:
                stage.upstream(cpus=everywhere, threads=len(everywhere))
                peer = stage.peer(name, FULL, cpus=everywhere, changes={"WORKERS": workers})
                bench.warm_up(peer, CONNECTIONS)
                bench.record(case, name, throughput(bench, peer, everywhere))
    cost = {case: bench.measurements.known(case, name, "cpu_us") for case in (ONE, TWO)}
    bench.record(TIMES, name, {"scaling": 2 * cost[ONE] / cost[TWO]})


def measured(bench: Bench, name: str) -> None:
    """The CPUs of two workers stay free of load for one as well."""
    last = sorted(bench.cpus.load | bench.cpus.proxy)[-2:]
    others = (bench.cpus.load | bench.cpus.proxy) - set(last)
    for _ in range(bench.settings.rounds):
        for case, cpus in ((ONE, set(last[1:])), (TWO, set(last))):
            with bench.stage() as stage:
                stage.upstream(cpus=others, threads=len(others))
                peer = stage.peer(name, FULL, cpus=cpus, changes={"WORKERS": len(cpus)})
                bench.warm_up(peer, CONNECTIONS)
                bench.record(case, name, throughput(bench, peer, others))
    rps = {case: bench.measurements.known(case, name, "rps") for case in (ONE, TWO)}
    bench.record(TIMES, name, {"scaling": rps[TWO] / rps[ONE]})


def throughput(bench: Bench, peer: Running, cpus: set[int]) -> Figures:
    """One round, with as many threads of wrk as there are CPUs for it."""
    before = peer.process.cpu_seconds()
    done = load.wrk(peer.url(), CONNECTIONS, bench.settings.seconds, threads=len(cpus), cpus=cpus)
    used = peer.process.cpu_seconds() - before
    return {"rps": done.rps, "p99_ms": done.p99_ms, "cpu_us": used * 1e6 / done.requests}
