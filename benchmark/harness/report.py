"""The report of a run, for people: Markdown with all figures, how they came about, and the verdicts."""

import datetime
import sys
from pathlib import Path

from . import goals, machine, scenarios
from .bench import Bench
from .measurements import FIGURES, Measurements
from .settings import REPOSITORY, RESULTS

PARTIAL = REPOSITORY / "target" / "benchmark.md"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def cell(measurements: Measurements, case: str, peer: str, figure: str) -> str:
    """The median, and how far the rounds were apart."""
    median = measurements.median(case, peer, figure)
    if median is None:
        return ""
    text = f"{median:,.{FIGURES[figure].digits}f}"
    rounds = len(measurements.values(case, peer, figure))
    spread = measurements.spread(case, peer, figure)
    return f"{text} ±{spread * 50:.0f}%" if rounds > 1 and spread >= 0.005 else text


def case_table(measurements: Measurements, case: str) -> list[str]:
    """One row a peer."""
    figures = measurements.figures(case)
    rows = []
    for peer in measurements.peers(case):
        rows.append([peer, *(cell(measurements, case, peer, figure) for figure in figures)])
    return [f"**{case}**", "", *table(["", *(FIGURES[f].heading for f in figures)], rows)]


def scenario_section(measurements: Measurements, name: str, cases: list[str]) -> list[str]:
    """What was done, and what came out."""
    lines = [f"## {name}", "", (scenarios.module(name).__doc__ or "").strip(), ""]
    for case in cases:
        lines += case_table(measurements, case)
    return lines


def goals_table(measurements: Measurements, complete: bool) -> list[str]:
    """What README shows. What a run of some scenarios did not measure is left out."""
    rows = [row for row in goals.judge(measurements) if complete or row.ours]
    cells = [[row.name, row.ours, row.gate, row.aim, row.verdict, row.beside] for row in rows]
    return table(["", "ours", "gate", "aim", "verdict", "beside"], cells)


def conditions(bench: Bench) -> list[str]:
    """Where, of what, and how quiet it was."""
    cpus = bench.cpus
    facts = {
        "machine": f"{machine.cpu_model()}, {cpus.count} CPUs; proxy on {sorted(cpus.proxy)}, load and nodes on {sorted(cpus.load)}",
        "commit": machine.commit(),
        "command": " ".join(["benchmark/run.sh", *sys.argv[1:]]),
        "rounds": f"{bench.settings.rounds} of {bench.settings.seconds} s, {bench.settings.connections} connections",
        **machine.versions(bench.settings),
        **bench.noise.summary(),
    }
    return table(["", ""], [[what, fact] for what, fact in facts.items()])


def is_complete(ran: dict[str, list[str]]) -> bool:
    """Whether all scenarios were run, well or not."""
    return set(ran) == set(scenarios.names())


def text(bench: Bench, ran: dict[str, list[str]]) -> str:
    """The whole report; `ran` has the cases of each scenario."""
    lines = ["# Benchmark", "", *conditions(bench)]
    lines += ["Figures are medians of the rounds; ± is half of what lies between the lowest and the highest.", ""]
    if bench.cpus.count == 1:
        lines += ["With a single CPU proxy and load disturb each other: compare nothing but instructions.", ""]
    lines += ["## Goals", "", goals.PREFACE, "", *goals_table(bench.measurements, is_complete(ran))]
    if bench.remarks:
        lines += ["## Remarks", "", *(f"- {remark}" for remark in bench.remarks), ""]
    for name, cases in ran.items():
        lines += scenario_section(bench.measurements, name, cases)
    return "\n".join(lines)


def write(bench: Bench, ran: dict[str, list[str]]) -> Path:
    """Only a run of everything is kept among the results; one of the same day and machine is replaced."""
    path = PARTIAL
    if is_complete(ran):
        path = RESULTS / f"{datetime.date.today():%Y-%m-%d}-{machine.name()}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(bench, ran))
    return path
