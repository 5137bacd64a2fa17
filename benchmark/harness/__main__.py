"""The command line: `benchmark/run.sh [scenario…] [peer…]`."""

import sys
import tempfile
from pathlib import Path

from . import machine, peers, report, scenarios
from .bench import Bench, make_certificate, say
from .errors import BenchmarkError, UsageError
from .settings import REPOSITORY, Settings


def chosen(words: list[str]) -> tuple[list[str], list[str]]:
    """Scenarios and peers, by name. None of a kind means all of it."""
    known = {*scenarios.names(), *peers.ALL}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise UsageError(
            f"unknown: {', '.join(unknown)}\n  scenarios: {', '.join(scenarios.names())}\n  peers: {', '.join(peers.ALL)}"
        )
    asked = [name for name in scenarios.names() if name in words]
    wanted = [name for name in peers.ALL if name in words]
    return asked or scenarios.names(), wanted or list(peers.ALL)


def available(wanted: list[str], settings: Settings) -> tuple[list[str], list[str]]:
    """Those peers that are there, and why the others are not."""
    reasons = {name: peers.ALL[name].missing(settings) for name in wanted}
    return [name for name, why in reasons.items() if why is None], [why for why in reasons.values() if why]


def measure(bench: Bench, names: list[str]) -> tuple[dict[str, list[str]], bool]:
    """Runs the scenarios; what each has measured is found by the cases that are new.

    One that fails does not take what the others measured with it: it is in the report.
    """
    ran, complete = {}, True
    for name in names:
        say(f"== {name}")
        before = set(bench.measurements.cases())
        try:
            scenarios.module(name).run(bench)
        except BenchmarkError as e:
            complete = False
            bench.remark(f"**{name} failed**: {e}")
        ran[name] = [case for case in bench.measurements.cases() if case not in before]
    return ran, complete


def main() -> int:
    """Prints the verdicts, and where the report is; the exit code."""
    machine.settle_down()
    settings = Settings.from_environment()
    names, wanted = chosen(sys.argv[1:])
    there, reasons = available(wanted, settings)
    if not there:
        raise BenchmarkError("; ".join(reasons))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        bench = Bench(settings, there, make_certificate(Path(folder)))
        for reason in reasons:
            bench.remark(f"left out: {reason}")
        ran, complete = measure(bench, names)
        path = report.write(bench, ran)
    print()
    print("\n".join(report.goals_table(bench.measurements, report.is_complete(ran))))
    print(f"the whole report: {path.relative_to(REPOSITORY)}")
    return 0 if complete else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UsageError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(2)
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
