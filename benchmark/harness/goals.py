"""The goals of issue 4 as data, and how a run is judged by them.

A gate must hold; an aim is what would make others take notice.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .measurements import FIGURES, Measurements
from .peers import OURS
from .scenarios import bodies, connections, full, grpc, instructions, plugins, routes, scaling, tls, visibility

PREFACE = (
    "`PGO` is the binary of `make release`, the other one is built without a profile. The first gateway "
    "(OpenResty) cannot be run here. Its gate, 0.75 times its CPU per request, is taken relative to nginx: the "
    "issue measured 29.0 µs against nginx's 16.0 with the same work, so the gate is 1.36 times nginx of this run. "
    "Ratios are of medians of this run; speed is the inverse of CPU time."
)

TIMES, US, MS, NS, KIB, MIB, THOUSAND = " x", " µs", " ms", " ns", " KiB", " MiB", "k"
PLAIN = ("gateway",)


@dataclass(frozen=True)
class Value:
    """A figure of ours by itself."""

    case: str
    figure: str
    factor: float = 1

    def __call__(self, m: Measurements, ours: str) -> float | None:
        median = m.median(self.case, ours, self.figure)
        return None if median is None else median * self.factor


@dataclass(frozen=True)
class Ratio:
    """Ours against that of a peer in the same run: 1 is as much."""

    case: str
    figure: str
    peer: str

    def __call__(self, m: Measurements, ours: str) -> float | None:
        mine, theirs = (m.median(self.case, name, self.figure) for name in (ours, self.peer))
        return mine / theirs if mine and theirs else None


@dataclass(frozen=True)
class Speed:
    """How fast we are against a peer, from a figure of cost: at half the cost we are twice as fast."""

    case: str
    figure: str
    peer: str

    def __call__(self, m: Measurements, ours: str) -> float | None:
        cost = Ratio(self.case, self.figure, self.peer)(m, ours)
        return 1 / cost if cost else None


@dataclass(frozen=True)
class Micro:
    """The slowest of the micro benchmarks with such a name; they are built without a profile."""

    pattern: str
    factor: float = 1

    def __call__(self, m: Measurements, _ours: str) -> float | None:
        names = [name for name in m.peers(plugins.CASE) if re.search(self.pattern, name)]
        values = [m.known(plugins.CASE, name, "ns") * self.factor for name in names]
        return max(values, default=None)


Compute = Value | Ratio | Speed | Micro | Callable[[Measurements, str], float | None]


@dataclass(frozen=True)
class Goal:
    """A row of the table. What cannot be computed from a run was not measured in it."""

    name: str
    compute: Compute
    gate: float
    aim: float
    unit: str = TIMES
    digits: int = 2
    most: bool = True  # the figure may be at most so much; else at least
    pgo_gate: float | None = None
    pgo_aim: float | None = None
    only: tuple[str, ...] = OURS

    def bounds(self, ours: str) -> tuple[float, float]:
        """Gate and aim: some are tighter with a profile."""
        if ours == "gateway-pgo":
            return self.pgo_gate or self.gate, self.pgo_aim or self.aim
        return self.gate, self.aim

    def verdict(self, value: float | None, ours: str) -> str:
        """In a word."""
        if value is None:
            return "not measured"
        sign = 1 if self.most else -1
        gate, aim = self.bounds(ours)
        if sign * value <= sign * aim:
            return "aim"
        if math.isinf(gate):
            return "aim missed"
        return "gate" if sign * value <= sign * gate else "**MISSED**"

    def written(self, value: float) -> str:
        """For the table."""
        return f"{value:,.{self.digits}f}{self.unit}"

    def bound(self, value: float) -> str:
        """For the table; without a gate there is only an aim."""
        return "-" if math.isinf(value) else f"{'≤' if self.most else '≥'} {self.written(value)}"

    def beside(self, m: Measurements) -> str:
        """The figure itself, of all who were measured."""
        if not isinstance(self.compute, Value | Ratio | Speed):
            return ""
        case, figure = self.compute.case, self.compute.figure
        medians = {peer: m.median(case, peer, figure) for peer in m.peers(case)}
        shown = [f"{peer} {value:,.{FIGURES[figure].digits}f}" for peer, value in medians.items() if value is not None]
        return f"{FIGURES[figure].heading}: {', '.join(shown)}" if shown else ""


@dataclass(frozen=True)
class Row:
    """A goal and what came of it."""

    name: str
    ours: str
    gate: str
    aim: str
    verdict: str
    beside: str


COST = (
    Goal("user instructions, full work / bare Pingora",
         Ratio(instructions.CASE, "instructions", "pingora"), 1.20, 1.10, only=PLAIN),
    Goal("user instructions, full work",
         Value(instructions.CASE, "instructions", 1e-3), 72, 66, THOUSAND, 1, pgo_gate=58, pgo_aim=52),
    Goal("CPU, full work / nginx", Ratio(full.CASE, "cpu_us", "nginx"), 1.30, 1.0, pgo_gate=1.20),
    Goal("CPU, full work, 0.75 of the first gateway", Ratio(full.CASE, "cpu_us", "nginx"), 1.36, 1.0),
    Goal("gRPC unary, CPU / bare Pingora", Ratio(grpc.CASE, "cpu_us", "pingora"), 1.05, 1.05),
    Goal("gRPC unary, CPU / nginx", Ratio(grpc.CASE, "cpu_us", "nginx"), 0.70, 0.70),
    Goal("gRPC unary, CPU / HAProxy", Ratio(grpc.CASE, "cpu_us", "haproxy"), math.inf, 1.0),
    Goal("p99 at 70 % of own capacity / nginx", Ratio(full.OWN_RATE, "p99_ms", "nginx"), 1.2, 1.0),
    Goal("ten idle plugins", Micro("^ten idle plugins", 1e-3), 0.5, 0.15, US, only=PLAIN),
    Goal("scaling from 1 to 2 workers", Value(scaling.TIMES, "scaling"), 1.8, 1.95, most=False),
)
SIZE = (
    Goal("100k routes: lookup", Micro("^find a route among 100000$"), 1000, 200, NS, 0, only=PLAIN),
    Goal("100k routes: one change compiled", Micro("change of one route among 100000", 1e-6), 100, 20, MS, only=PLAIN),
    Goal("100k routes: p99 under 1,000 changes/s / without", routes.p99_under_changes, 1.10, 1.0),
    Goal("100k routes: memory of each", Value(routes.case(100_000), "route_bytes", 1 / 1024), 1, 1, KIB),
    Goal("10k nodes: one change compiled", Micro("change of one node among 10000", 1e-6), 5, 1, MS, only=PLAIN),
    Goal("10k nodes: pick, slowest algorithm", Micro("^pick a node of 10000"), 150, 60, NS, 0, only=PLAIN),
    Goal("change visible, p99, embedded store", Value(visibility.EMBEDDED, "p99_ms"), 20, 5, MS, 1),
    Goal("change visible, p99, etcd", Value(visibility.IN_ETCD, "p99_ms"), 20, 5, MS, 1),
    Goal("10k idle connections, each", Value(connections.ASKED, "kib_connection"), 16, 8, KIB, 1),
    Goal("RSS, 16 connections", Value(connections.case(16), "rss_mib"), 25, 15, MIB, 1),
    Goal("RSS, 1,000 connections", Value(connections.case(1_000), "rss_mib"), 60, 40, MIB, 1),
)
STREAMED = (
    (tls.FULL_HANDSHAKES, "cpu_us_handshake"),
    (tls.RESUMED, "cpu_us_handshake"),
    (tls.BULK, "cpu_s_gib"),
    (bodies.DOWN, "cpu_s_gib"),
    (bodies.UP, "cpu_s_gib"),
    (bodies.EVENTS, "cpu_us_event"),
    (bodies.WEBSOCKET, "cpu_us_message"),
)
STREAMS = (
    *(Goal(f"{case}: speed / nginx", Speed(case, cost, "nginx"), 0.9, 1.0, most=False) for case, cost in STREAMED),
    # The issue says "flat" and names no number; these are ours.
    Goal("memory flat: growth with any body", bodies.growth, 16, 4, MIB, 1),
)
GOALS = (*COST, *SIZE, *STREAMS)


def judge(measurements: Measurements) -> Iterator[Row]:
    """A row for each goal and binary. Of a binary that was not there nothing is said."""
    there = {peer for case in measurements.cases() for peer in measurements.peers(case)}
    binaries = [name for name in OURS if name in there] or [OURS[0]]
    for goal in GOALS:
        for ours in (name for name in binaries if name in goal.only):
            figure = goal.compute(measurements, ours)
            gate, aim = (goal.bound(bound) for bound in goal.bounds(ours))
            name = f"{goal.name} (PGO)" if ours == "gateway-pgo" else goal.name
            shown = "" if figure is None else goal.written(figure)
            yield Row(name, shown, gate, aim, goal.verdict(figure, ours), goal.beside(measurements))
