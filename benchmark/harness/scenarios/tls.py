"""TLS 1.3 with an ECDSA P-256 certificate: handshakes, full and resumed by ticket, and bulk.

Each handshake is on a connection of its own that is closed after it, 8 at a time. A machine's own
limit is not reached when load and proxy share it, so what counts is the proxy's CPU time; handshakes a
CPU second are its inverse. Bulk is 1 MiB answers over 4 connections. The gateway, nginx and HAProxy
of Debian all use the system's OpenSSL.
"""

from ..bench import Bench, Figures
from ..load import wrk
from ..peers import BARE, Running

PEERS = ("gateway", "gateway-pgo", "nginx", "haproxy")
FULL_HANDSHAKES, RESUMED, BULK = "TLS handshakes, full", "TLS handshakes, resumed", "TLS bulk"
HANDSHAKES = 400  # for each second of a round
CONNECTIONS = 8
BODY = 1 << 20


def run(bench: Bench) -> None:
    """Handshakes first."""
    with bench.stage() as stage:
        stage.upstream()
        running = stage.all(bench.peers(*PEERS), BARE)
        for case, flags in ((FULL_HANDSHAKES, ()), (RESUMED, ("resume",))):
            actions = {
                name: lambda peer=peer, flags=flags: handshakes(bench, peer, flags) for name, peer in running.items()
            }
            bench.in_turns(case, actions)
        bench.in_turns(BULK, {name: lambda peer=peer: bulk(bench, peer) for name, peer in running.items()})


def handshakes(bench: Bench, peer: Running, flags: tuple[str, ...]) -> Figures:
    """One round; the certificate is verified."""
    count = HANDSHAKES * bench.settings.seconds
    before = peer.process.cpu_seconds()
    done = bench.tool(
        "tls",
        "handshake-only",
        *flags,
        address=f"127.0.0.1:{peer.ports.tls}",
        sni="localhost",
        ca=bench.certificates / "certificate.pem",
        handshakes=count,
        connections=CONNECTIONS,
        patience=120,
    )
    used = peer.process.cpu_seconds() - before
    return {
        "cpu_us_handshake": used * 1e6 / count,
        "per_cpu_second": count / used,
        "p99_ms": done["latency_us"]["p99"] / 1000,
    }


def bulk(bench: Bench, peer: Running) -> Figures:
    """One round of large answers."""
    before = peer.process.cpu_seconds()
    done = wrk(f"https://localhost:{peer.ports.tls}/bytes/{BODY}", 4, bench.settings.seconds)
    used = peer.process.cpu_seconds() - before
    gib = done.requests * BODY / 2**30
    return {"cpu_s_gib": used / gib, "mib_s": gib * 1024 / done.seconds}
