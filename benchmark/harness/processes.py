"""Processes of a run: started on certain CPUs, watched from outside, and all ended by their id."""

import os
import signal
import subprocess
import time
from pathlib import Path

from .errors import BenchmarkError

CPUCLOCK_OF_A_PROCESS = 2


def cpu_clock(pid: int) -> float:
    """Seconds of user and system time that a process used, threads that ended included.

    It is the kernel's per-process clock, which clock_getcpuclockid(3) names by this number. It counts
    nanoseconds, where /proc/PID/stat counts in steps of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | CPUCLOCK_OF_A_PROCESS)


def children(pid: int) -> list[int]:
    """Processes that the threads of a process started: nginx's worker is a child of its master."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def status_kib(pid: int, field: str) -> int:
    """A size of /proc/PID/status, such as VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise BenchmarkError(f"/proc/{pid}/status has no {field}")


class Process:
    """One started program and its children."""

    def __init__(self, name: str, popen: subprocess.Popen, log: Path, stop_signal: signal.Signals):
        self.name = name
        self.log = log
        self._popen = popen
        self._stop_signal = stop_signal

    @property
    def pid(self) -> int:
        """The id of the process itself."""
        return self._popen.pid

    def family(self) -> list[int]:
        """The process and its children."""
        return [self.pid, *children(self.pid)]

    def cpu_seconds(self) -> float:
        """User and system time so far, of the whole family."""
        self.must_run()
        return sum(cpu_clock(pid) for pid in self.family())

    def rss_mib(self) -> float:
        """Resident memory of the whole family."""
        return sum(status_kib(pid, "VmRSS") for pid in self.family()) / 1024

    def peak_rss_mib(self) -> float:
        """The most that was resident since the start, or since `forget_peak`."""
        return sum(status_kib(pid, "VmHWM") for pid in self.family()) / 1024

    def forget_peak(self) -> None:
        """Begins a new peak; see clear_refs in proc(5)."""
        for pid in self.family():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def settle(self, patience: float = 60) -> None:
        """Waits until it does nothing: after a start with much to load, copies are still written."""
        deadline, used = time.monotonic() + patience, self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.5)
            before, used = used, self.cpu_seconds()
            if used - before < 0.02:
                return
        raise BenchmarkError(f"{self.name} does not come to rest")

    def must_run(self) -> None:
        """A process that ended by itself makes what was measured worthless."""
        code = self._popen.poll()
        if code is not None:
            raise BenchmarkError(f"{self.name} ended with code {code}:\n{self.last_words()}")

    def last_words(self, lines: int = 15) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, patience: float = 10) -> None:
        """Ends it, politely first, and waits until it is gone."""
        if self._popen.poll() is None:
            self._popen.send_signal(self._stop_signal)
        try:
            self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class Processes:
    """All that a run started. Leaving the context ends them, whatever happened."""

    def __init__(self) -> None:
        self._running: list[Process] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            process.stop()

    def start(
        self,
        name: str,
        command: list[str | Path],
        cpus: set[int],
        folder: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Process:
        """Starts a program in a folder of its own; what it prints goes to NAME.out there."""
        log = folder / f"{name}.out"
        words = [str(word) for word in command]
        if not os.access(words[0], os.X_OK):
            raise BenchmarkError(f"{words[0]} is missing")
        with log.open("wb") as out:
            popen = subprocess.Popen(
                ["taskset", "-c", ",".join(map(str, sorted(cpus))), *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        process = Process(name, popen, log, stop_signal)
        self._running.append(process)
        return process

    def stop(self, process: Process) -> None:
        """Ends one of them before the others."""
        process.stop()
        self._running.remove(process)
