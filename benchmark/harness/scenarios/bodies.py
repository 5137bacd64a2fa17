"""Long bodies and long connections: 1 GiB down, 1 GiB up, 100,000 server-sent events, WebSocket echo.

All bytes and events are counted at the other end. What counts is the proxy's CPU time for each GiB,
event or message (there and back), and that its memory stays flat: how much the highest resident
memory meanwhile was above what it was before. nginx streams here (proxy_request_buffering off, for
events proxy_buffering off, no temporary files).
"""

from collections.abc import Callable

from ..bench import Bench, Figures
from ..measurements import Measurements
from ..peers import BARE, Running

PEERS = ("gateway", "gateway-pgo", "pingora", "nginx", "haproxy")
DOWN, UP, EVENTS, WEBSOCKET = "1 GiB down", "1 GiB up", "100,000 events", "WebSocket echo"
CASES = (DOWN, UP, EVENTS, WEBSOCKET)
GIB = 1 << 30
EVENT_COUNT = 100_000
MESSAGES, CONNECTIONS, MESSAGE_SIZE = 5_000, 16, 64


def run(bench: Bench) -> None:
    """Each kind of body in turns of the peers."""
    with bench.stage() as stage:
        stage.upstream()
        running = stage.all(bench.peers(*PEERS), BARE)
        for case, action in ((DOWN, down), (UP, up), (EVENTS, events), (WEBSOCKET, websocket)):
            bench.in_turns(case, {name: lambda p=peer, a=action: a(bench, p) for name, peer in running.items()})


def measured(peer: Running, action: Callable[[], dict]) -> tuple[float, dict, Figures]:
    """CPU seconds of an action, what it says, and what memory did meanwhile."""
    peer.process.forget_peak()
    rss, cpu = peer.process.rss_mib(), peer.process.cpu_seconds()
    done = action()
    peak = peer.process.peak_rss_mib()
    return peer.process.cpu_seconds() - cpu, done, {"peak_mib": peak, "growth_mib": peak - rss}


def down(bench: Bench, peer: Running) -> Figures:
    """One connection, one body."""
    options = {"url": peer.url(f"/bytes/{GIB}"), "bytes": GIB, "connections": 1}
    cpu, done, memory = measured(peer, lambda: bench.tool("download", **options))
    return {"cpu_s_gib": cpu, "mib_s": 1024 / done["seconds"], **memory}


def up(bench: Bench, peer: Running) -> Figures:
    """One connection, one body."""
    options = {"url": peer.url("/sink"), "bytes": GIB, "connections": 1}
    cpu, done, memory = measured(peer, lambda: bench.tool("upload", **options))
    return {"cpu_s_gib": cpu, "mib_s": 1024 / done["seconds"], **memory}


def events(bench: Bench, peer: Running) -> Figures:
    """One stream; every event is a chunk and a write of its own at the node."""
    options = {"url": peer.url(f"/events/{EVENT_COUNT}"), "connections": 1}
    cpu, done, memory = measured(peer, lambda: bench.tool("events", **options))
    return {"cpu_us_event": cpu * 1e6 / EVENT_COUNT, "events_s": done["events_per_s"], **memory}


def websocket(bench: Bench, peer: Running) -> Figures:
    """Small messages; the next is sent when the last has come back."""
    options = {"url": peer.url("/ws"), "messages": MESSAGES, "connections": CONNECTIONS, "size": MESSAGE_SIZE}
    cpu, done, memory = measured(peer, lambda: bench.tool("websocket", **options))
    count = MESSAGES * CONNECTIONS
    latency = {"p99_ms": done["latency_us"]["p99"] / 1000}
    return {"cpu_us_message": cpu * 1e6 / count, "messages_s": done["messages_per_s"], **latency, **memory}


def growth(m: Measurements, name: str) -> float | None:
    """The most that memory grew by in any round of any of them."""
    return max((mib for case in CASES for mib in m.values(case, name, "growth_mib")), default=None)
