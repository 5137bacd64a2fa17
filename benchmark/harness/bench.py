"""One run: what is started for a scenario, measured in turns, and ended after it."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import client, load, machine, peers, ports
from .errors import BenchmarkError
from .machine import Noise
from .measurements import Measurements
from .peers import Order, Running
from .processes import Process, Processes
from .settings import Settings

Figures = dict[str, float]


def say(text: str) -> None:
    """What a person who waits wants to know."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def make_certificate(folder: Path) -> Path:
    """ECDSA P-256 for localhost: what most servers have today."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    done = subprocess.run([*make, *names, "-keyout", key, "-out", certificate], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"openssl makes no certificate: {done.stderr}")
    (folder / "both.pem").write_text(certificate.read_text() + key.read_text())
    return folder


class Stage:
    """What runs during one scenario, in a folder of its own."""

    def __init__(self, bench: "Bench", processes: Processes, folder: Path):
        self._bench = bench
        self._processes = processes
        self.folder = folder
        self._count = 0

    def launch(self, name: str, command: list, cpus: set[int], folder: Path, **options: object) -> Process:
        """Starts any program."""
        return self._processes.start(name, command, cpus, folder, **options)

    def etcd(self) -> str:
        """An etcd of its own, on the CPUs of the load; where it is."""
        ports.must_be_free(ports.ETCD, ports.ETCD_PEER)
        own, peer = f"http://127.0.0.1:{ports.ETCD}", f"http://127.0.0.1:{ports.ETCD_PEER}"
        command = [machine.program("etcd") or "etcd", "--data-dir", self.folder / "etcd", "--log-level", "error"]
        command += ["--listen-client-urls", own, "--advertise-client-urls", own, "--listen-peer-urls", peer]
        command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
        process = self.launch("etcd", command, self._bench.cpus.load, self.folder)
        client.wait_for(process, ports.ETCD, "/health")
        return own

    def stop(self, running: Running) -> None:
        """Ends a peer before the others."""
        self._processes.stop(running.process)

    def upstream(self, *more: str, threads: int = 1, cpus: set[int] | None = None) -> Process:
        """The nodes behind all proxies, on the CPUs of the load if no others are named."""
        ports.must_be_free(ports.NODE1, ports.NODE2, ports.GRPC)
        binary = self._bench.settings.upstream
        nodes = [f"127.0.0.1:{ports.NODE1}", f"127.0.0.1:{ports.NODE2}", *more]
        command = [binary, "--http", ",".join(nodes), "--grpc", f"127.0.0.1:{ports.GRPC}", "--threads", threads]
        process = self.launch("upstream", command, cpus or self._bench.cpus.load, self.folder)
        client.wait_for(process, ports.NODE1, "/hello/world")
        return process

    def peer(
        self,
        name: str,
        work: str,
        wrapper: list[str] | None = None,
        cpus: set[int] | None = None,
        **order: object,
    ) -> Running:
        """Starts a peer, on the proxy's CPU if no others are named."""
        self._count += 1
        folder = self.folder / f"{self._count}-{name}"
        folder.mkdir()
        certificates = self._bench.certificates

        def launch(name: str, command: list, folder: Path, stop_signal: object) -> Process:
            return self.launch(name, command, cpus or self._bench.cpus.proxy, folder, stop_signal=stop_signal)

        request = Order(work, folder, certificates, self._bench.settings, **order)
        return peers.ALL[name].start(request, launch, wrapper)

    def all(self, names: Iterable[str], work: str) -> dict[str, Running]:
        """Several peers at once: only one of them is under load at a time."""
        return {name: self.peer(name, work) for name in names}


@dataclass
class Bench:
    """The run as a whole."""

    settings: Settings
    selected: list[str]
    certificates: Path
    measurements: Measurements = field(default_factory=Measurements)
    noise: Noise = field(default_factory=Noise)
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cpus = machine.cpus()

    def peers(self, *able: str) -> list[str]:
        """Those of the selected peers that a scenario can measure."""
        return [name for name in self.selected if name in able]

    @contextmanager
    def stage(self):
        """A folder and processes; both are gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, Processes() as processes:
            yield Stage(self, processes, Path(folder))

    def remark(self, text: str) -> None:
        """Something the reader of the figures must know."""
        say(text)
        self.remarks.append(text)

    def in_turns(self, case: str, actions: dict[str, Callable[[], Figures]], rounds: int | None = None) -> None:
        """A B A B: what else happens on the machine meets all peers alike."""
        for number in range(rounds or self.settings.rounds):
            self.noise.look()
            for name, action in actions.items():
                self.record(case, name, action(), f"round {number + 1}")

    def record(self, case: str, name: str, figures: Figures, what: str = "") -> None:
        """Keeps figures, and shows them to who waits."""
        self.measurements.add(case, name, **figures)
        shown = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
        say(f"{case}: {name} {what}: {shown}")

    def wrk(self, running: Running, connections: int | None = None, *arguments: object) -> Figures:
        """One round of plain load on a peer; the arguments are those of wrk.lua."""
        before = running.process.cpu_seconds()
        done = load.wrk(running.url(), connections or self.settings.connections, self.settings.seconds, *arguments)
        used = running.process.cpu_seconds() - before
        return {
            "rps": done.rps,
            "p50_ms": done.p50_ms,
            "p99_ms": done.p99_ms,
            "cpu_us": used * 1e6 / done.requests,
            "rss_mib": running.process.rss_mib(),
        }

    def rate(self, running: Running, rate: int, path: str | None = None) -> Figures:
        """One round of requests at fixed times; their latency counts from when they were due."""
        seconds, warm_up = self.settings.seconds, 1
        before = running.process.cpu_seconds()
        options = {
            "url": running.url(path),
            "rate": rate,
            "connections": self.settings.connections,
            "seconds": seconds,
            "warmup": warm_up,
        }
        done = self.tool("rate", patience=2 * seconds, **options)
        used = running.process.cpu_seconds() - before
        if done["unsent"]:
            self.remark(f"{running.name} fell behind at {rate}/s: {done['unsent']} requests were not sent")
        latency = done["latency_us"]
        return {
            "rate": rate,
            "rps": done["achieved"],
            "p50_ms": latency["p50"] / 1000,
            "p99_ms": latency["p99"] / 1000,
            "cpu_us": used * 1e6 / (done["sent"] + rate * warm_up),
        }

    def warm_up(self, running: Running, connections: int | None = None, *arguments: object) -> None:
        """Connections, pools and caches fill before anything counts."""
        load.wrk(running.url(), connections or self.settings.connections, 1, *arguments)

    def tool(self, what: str, *flags: str, patience: float = 60, **options: object) -> dict:
        """Our own load generator."""
        return load.tool(self.settings.load, what, *flags, patience=patience, **options)
