"""What was measured: figures of a case (what was done) and a peer (who did it), a value each round."""

import statistics
from dataclasses import dataclass

from .errors import BenchmarkError


@dataclass(frozen=True)
class Figure:
    """How a figure is named and written for people."""

    heading: str
    digits: int = 0


FIGURES = {
    "rps": Figure("requests/s"),
    "p50_ms": Figure("p50 ms", 2),
    "p99_ms": Figure("p99 ms", 2),
    "max_ms": Figure("longest ms", 1),
    "cpu_us": Figure("CPU µs/request", 2),
    "rss_mib": Figure("RSS MiB", 1),
    "peak_mib": Figure("peak RSS MiB", 1),
    "growth_mib": Figure("growth MiB", 1),
    "instructions": Figure("user instructions/request"),
    "rate": Figure("asked requests/s"),
    "kib_connection": Figure("KiB/connection", 1),
    "route_bytes": Figure("bytes/route"),
    "cpu_s_gib": Figure("CPU s/GiB", 3),
    "mib_s": Figure("MiB/s"),
    "events_s": Figure("events/s"),
    "messages_s": Figure("messages/s"),
    "cpu_us_event": Figure("CPU µs/event", 2),
    "cpu_us_message": Figure("CPU µs/message", 2),
    "cpu_us_handshake": Figure("CPU µs/handshake", 1),
    "per_cpu_second": Figure("handshakes/CPU second"),
    "scaling": Figure("times as much as with one worker", 2),
    "changes": Figure("changes/s"),
    "ns": Figure("ns", 1),
}


class Measurements:
    """All values of a run, in the order they came."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, dict[str, list[float]]]] = {}

    def add(self, case: str, peer: str, **figures: float) -> None:
        """The figures of one round."""
        row = self._values.setdefault(case, {}).setdefault(peer, {})
        for figure, value in figures.items():
            assert figure in FIGURES, figure
            row.setdefault(figure, []).append(value)

    def cases(self) -> list[str]:
        """All that was done."""
        return list(self._values)

    def peers(self, case: str) -> list[str]:
        """Who did it."""
        return list(self._values.get(case, {}))

    def figures(self, case: str) -> list[str]:
        """What is known of any peer of a case."""
        return [f for f in FIGURES if any(f in row for row in self._values[case].values())]

    def values(self, case: str, peer: str, figure: str) -> list[float]:
        """A value each round; empty if it was not measured."""
        return self._values.get(case, {}).get(peer, {}).get(figure, [])

    def median(self, case: str, peer: str, figure: str) -> float | None:
        """The figure that counts, or nothing if it was not measured."""
        values = self.values(case, peer, figure)
        return statistics.median(values) if values else None

    def known(self, case: str, peer: str, figure: str) -> float:
        """The median of what an earlier step must have measured."""
        value = self.median(case, peer, figure)
        if value is None:
            raise BenchmarkError(f"{case}: {figure} of {peer} was not measured")
        return value

    def spread(self, case: str, peer: str, figure: str) -> float:
        """How far the rounds are apart, as a share of the median."""
        values = self.values(case, peer, figure)
        middle = statistics.median(values)
        return (max(values) - min(values)) / middle if middle else 0.0
