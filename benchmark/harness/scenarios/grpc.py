"""Unary gRPC calls over HTTP/2 without TLS on both sides: 4 connections with 8 calls at a time on each.

Every call's message, status and grpc-status are checked. `grpc` is what the goal is about: each proxy
merely forwards. `grpc, full` adds trace id, forwarded headers and the access log; the bare Pingora
proxy has none of them.
"""

from ..bench import Bench, Figures
from ..peers import BARE, FULL, Running

PEERS = ("gateway", "gateway-pgo", "pingora", "nginx", "haproxy", "envoy")
CASE, FULL_CASE = "grpc", "grpc, full"
WARM_UP = 4_000


def run(bench: Bench) -> None:
    """Both kinds of work."""
    for case, work in ((CASE, BARE), (FULL_CASE, FULL)):
        with bench.stage() as stage:
            stage.upstream()
            running = stage.all(bench.peers(*PEERS), work)
            actions = {}
            for name, peer in running.items():
                per_second = calls(bench, peer, WARM_UP)["rps"]
                number = max(WARM_UP, round(per_second * bench.settings.seconds))
                actions[name] = lambda peer=peer, number=number: calls(bench, peer, number)
            bench.in_turns(case, actions)


def calls(bench: Bench, peer: Running, number: int) -> Figures:
    """One round of so many calls."""
    before = peer.process.cpu_seconds()
    address = f"127.0.0.1:{peer.ports.h2c}"
    done = bench.tool("grpc", address=address, calls=number, connections=4, streams=8, patience=120)
    used = peer.process.cpu_seconds() - before
    latency = done["latency_us"]
    return {
        "rps": done["calls_per_s"],
        "p50_ms": latency["p50"] / 1000,
        "p99_ms": latency["p99"] / 1000,
        "cpu_us": used * 1e6 / number,
        "rss_mib": peer.process.rss_mib(),
    }
