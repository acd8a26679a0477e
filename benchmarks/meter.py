"""Measure work: elapsed seconds, and core-seconds of the job, of its server and of other processes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

Row = dict[str, Any]
CORES = len(os.sched_getaffinity(0))
CALM = 0.05
"""The largest share of the machine that other processes may use before a measurement counts as disturbed."""
_TICK = os.sysconf("SC_CLK_TCK")
_MB = 1e6


@dataclass
class Work:
    """Elapsed seconds (`wall`), and core-seconds of the job (`client`), of Postgres and of other processes."""

    wall: float = 0.0
    client: float = 0.0
    server: float = 0.0
    others: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Return the sum of two pieces of work, one after the other."""
        return Work(
            self.wall + other.wall,
            self.client + other.client,
            self.server + other.server,
            self.others + other.others,
        )

    @property
    def cores(self) -> float:
        """Core-seconds of the job and its server."""
        return self.client + self.server

    @property
    def disturbance(self) -> float:
        """The share of the machine that other processes used meanwhile."""
        return max(0.0, self.others) / (self.wall * CORES) if self.wall else 0.0


class Server:
    """A Postgres server, measured through its postmaster process."""

    def __init__(self, data: Path) -> None:
        self._postmaster = psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))

    def seconds(self) -> float:
        """Return the core-seconds so far of the postmaster and of its ended and running children."""
        own = self._postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        return total + sum(_own_seconds(child) for child in self._postmaster.children())


@contextmanager
def measured(server: Server | None = None) -> Iterator[Work]:
    """Measure the work done in the `with` block. The job is this process with the children it has waited for."""
    work = Work()
    machine, served = _machine(), server.seconds() if server else 0.0
    # Read last, so that reading the other clocks is not measured.
    client, wall = _client(), time.perf_counter()
    try:
        yield work
    finally:
        work.wall, work.client = time.perf_counter() - wall, _client() - client
        work.server = server.seconds() - served if server else 0.0
        work.others = _machine() - machine - work.client - work.server


def wait_for_calm(seconds: float = 300.0) -> None:
    """Wait until the machine has been idle for a second, at most `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = _machine()
        time.sleep(1)
        if (_machine() - before) / CORES < CALM:
            return


def calm(once: Callable[[], Row], repeat: int) -> list[Row]:
    """Repeat a measurement until `repeat` of them were undisturbed; return the rows of those.

    Prints every row to stderr. Raises SystemExit after four times as many attempts.
    """
    undisturbed: list[Row] = []
    for _ in range(4 * repeat):
        wait_for_calm()
        row = once()
        print(json.dumps(row), file=sys.stderr, flush=True)
        if row["disturbance"] <= CALM:
            undisturbed.append(row)
        if len(undisturbed) == repeat:
            return undisturbed
    raise SystemExit(
        f"Other processes kept this machine busy: {len(undisturbed)} of {repeat} repetitions were undisturbed. "
        "Try again later."
    )


class Peak:
    """The peak memory in MB of a process with its descendants, sampled every 50 ms."""

    def __init__(self, process: int) -> None:
        self.megabytes = 0.0
        self._process, self._done = process, threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def stop(self) -> float:
        """Stop sampling and return the peak."""
        self._done.set()
        self._watching.join()
        return self.megabytes

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.megabytes = max(self.megabytes, _megabytes(self._process))


def _megabytes(process: int) -> float:
    try:
        root = psutil.Process(process)
        return sum(_proportional(each) for each in (root, *root.children(recursive=True))) / _MB
    except psutil.NoSuchProcess:
        return 0.0


def _proportional(process: psutil.Process) -> float:
    """Return a process's memory in bytes with shared pages counted in part, or its RSS where the kernel has no PSS."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1]) * 1024
        return float(process.memory_info().rss)
    except (OSError, psutil.NoSuchProcess):
        return 0.0


def _own_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        # It has just ended, and its parent's count includes it.
        return 0.0
    return float(times.user + times.system)


def _client() -> float:
    return sum(os.times()[:4])


def _machine() -> float:
    """Return the core-seconds that the machine has been busy: all but idle and I/O wait, including stolen time."""
    user, nice, system, _idle, _wait, irq, soft, steal = (
        int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / _TICK
