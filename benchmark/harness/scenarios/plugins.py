"""The micro benchmarks (benchmark/micro.rs, by criterion): ten idle plugins, and what else is too small for
a load generator to see.

Each is measured on the proxy's CPU, in the `bench` profile: without fat LTO, so that the released binary
is faster rather than slower. They are built from the checkout, whatever binary GATEWAY names.
"""

import json
import subprocess
from pathlib import Path

from ..bench import Bench, say
from ..errors import BenchmarkError
from ..settings import REPOSITORY

PEERS = ("gateway",)
CASE = "micro benchmarks"
COMMAND = ["cargo", "bench", "--quiet", "-p", "ws-cloud-gateway", "--bench", "micro"]
BRIEFLY = ["--warm-up-time", "0.5", "--measurement-time", "1.5", "--noplot"]
RESULTS = REPOSITORY / "target" / "criterion"


def run(bench: Bench) -> None:
    """All of them: a minute or two, and some more to compile."""
    if not bench.peers(*PEERS):
        return
    everywhere = bench.cpus.load | bench.cpus.proxy
    say("compiling the micro benchmarks")
    cargo([*COMMAND, "--no-run"], everywhere)
    before = {path: path.stat().st_mtime_ns for path in estimates()}
    cargo([*COMMAND, "--", *BRIEFLY], bench.cpus.proxy)
    for path in estimates():
        if path.stat().st_mtime_ns != before.get(path):
            name, nanoseconds = read(path)
            bench.record(CASE, name, {"ns": nanoseconds})


def cargo(command: list[str], cpus: set[int]) -> None:
    """Runs it on certain CPUs; what it says is shown only when it fails."""
    words = ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def estimates() -> list[Path]:
    """Where criterion leaves what it measured; those of benchmarks that are gone are there, too."""
    return sorted(RESULTS.glob("**/new/estimates.json"))


def read(path: Path) -> tuple[str, float]:
    """The name of a benchmark, and its median."""
    name = json.loads(path.with_name("benchmark.json").read_text())["full_id"]
    return name, json.loads(path.read_text())["median"]["point_estimate"]
