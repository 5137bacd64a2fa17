"""`benchmark/instructions.sh [--keep]`: the instructions of a request against the number that is kept.

Callgrind counts the same on a busy machine as on a quiet one, so that CI can hold on to the number.
"""

import os
import sys
import tempfile
from pathlib import Path

from . import machine
from .bench import Bench, make_certificate
from .errors import BenchmarkError, UsageError
from .peers import ALL
from .scenarios import instructions
from .settings import REPOSITORY, Settings

FILE = REPOSITORY / "benchmark" / "instructions.txt"
TOLERANCE = 0.03
PEERS = ("gateway", "pingora")
# What is counted, under the name in the file. Pingora's are only to tell what changed: when both grew it was
# Pingora, the compiler, or a flag.
COUNTED = {
    f"{peer}{suffix}": (case, peer)
    for suffix, case in (("", instructions.CASE), ("-grpc", instructions.GRPC))
    for peer in PEERS
}
GUARDED = ("gateway", "gateway-grpc")


def count() -> dict[str, float]:
    """Of this gateway, and of Pingora without it; a request, and a gRPC call."""
    settings = Settings.from_environment()
    missing = [why for name in PEERS if (why := ALL[name].missing(settings))]
    if missing:
        raise BenchmarkError("; ".join(missing))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        bench = Bench(settings, list(PEERS), make_certificate(Path(folder)))
        instructions.run(bench)
        return {name: bench.measurements.known(case, peer, "instructions") for name, (case, peer) in COUNTED.items()}


def kept() -> dict[str, float]:
    """A name and a number a line."""
    if not FILE.exists():
        raise BenchmarkError(f"{FILE.relative_to(REPOSITORY)} is missing: benchmark/instructions.sh --keep writes it")
    lines = [line.split() for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    return {name: float(number) for name, number in lines}


def keep(counted: dict[str, float]) -> None:
    """Writes the file anew."""
    profile, rustc = os.environ.get("PROFILE", "release"), machine.first_line("rustc", "--version")
    head = [
        "# User instructions per request, full work, and per gRPC call. CI fails at 3 percent more: benchmark/instructions.sh",
        f"# Written by benchmark/instructions.sh --keep, profile {profile}, {rustc}",
    ]
    FILE.write_text("\n".join([*head, *(f"{name} {number:.0f}" for name, number in counted.items())]) + "\n")
    print(f"kept in {FILE.relative_to(REPOSITORY)}: say in the commit what was bought with it")


def compare(counted: dict[str, float], before: dict[str, float]) -> int:
    """Says how much it changed; the exit code."""
    new = sorted(set(COUNTED) - set(before))
    if new:
        raise BenchmarkError(f"{FILE.relative_to(REPOSITORY)} lacks {', '.join(new)}: benchmark/instructions.sh --keep")
    change = {name: counted[name] / before[name] - 1 for name in COUNTED}
    for name, share in change.items():
        print(f"{name:12} {counted[name]:9,.0f} instructions, kept {before[name]:9,.0f}: {share:+.1%}")
    for name in GUARDED:
        if change[name] > TOLERANCE:
            print(
                f"benchmark: {name} costs {change[name]:.1%} more instructions a request than is kept, 3 % are allowed.\n"
                "Find out what it is spent on (valgrind --tool=callgrind, callgrind_annotate) and cut it; if it is worth it,\n"
                "run benchmark/instructions.sh --keep and say in the commit what was bought.",
                file=sys.stderr,
            )
    if any(change[name] > TOLERANCE for name in GUARDED):
        return 1
    if any(change[name] < -TOLERANCE for name in GUARDED):
        print("It got cheaper: run benchmark/instructions.sh --keep, so that it stays so.")
    return 0


def main(words: list[str]) -> int:
    """The exit code: 1 when it grew."""
    if words not in ([], ["--keep"]):
        raise UsageError("usage: benchmark/instructions.sh [--keep]")
    machine.settle_down()
    before = None if words else kept()
    counted = count()
    if before is None:
        keep(counted)
        return 0
    return compare(counted, before)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BenchmarkError, UsageError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
