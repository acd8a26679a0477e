"""What a piece of work cost: seconds, core-seconds of the job, of its server, and of everybody else."""

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
"""The share of the machine that others may have before a measurement counts as disturbed."""
_TICK = os.sysconf("SC_CLK_TCK")
_MB = 1e6


@dataclass
class Work:
    """Seconds of the clock, and core-seconds of the job, of Postgres and of strangers."""

    wall: float = 0.0
    client: float = 0.0
    server: float = 0.0
    strangers: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Two pieces of work, one after the other."""
        return Work(
            self.wall + other.wall,
            self.client + other.client,
            self.server + other.server,
            self.strangers + other.strangers,
        )

    @property
    def cores(self) -> float:
        """Core-seconds of the job and its server."""
        return self.client + self.server

    @property
    def disturbance(self) -> float:
        """The share of the machine that somebody else had meanwhile."""
        return max(0.0, self.strangers) / (self.wall * CORES) if self.wall else 0.0


class Server:
    """A Postgres by the process of its postmaster."""

    def __init__(self, data: Path) -> None:
        self._postmaster = psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))

    def seconds(self) -> float:
        """Core-seconds so far: the postmaster's, of children that ended, and of those that still run."""
        own = self._postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        return total + sum(_own_seconds(child) for child in self._postmaster.children())


@contextmanager
def measured(server: Server | None = None) -> Iterator[Work]:
    """Measure what happens inside; the job is this process and the children that it has waited for."""
    work = Work()
    machine, served = _machine(), server.seconds() if server else 0.0
    # Last, so that looking at the others is not measured.
    client, wall = _client(), time.perf_counter()
    try:
        yield work
    finally:
        work.wall, work.client = time.perf_counter() - wall, _client() - client
        work.server = server.seconds() - served if server else 0.0
        work.strangers = _machine() - machine - work.client - work.server


def wait_for_calm(seconds: float = 300.0) -> None:
    """Wait until the machine has had nothing to do for a moment, though not for ever."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before = _machine()
        time.sleep(1)
        if (_machine() - before) / CORES < CALM:
            return


def calm(once: Callable[[], Row], repeat: int) -> list[Row]:
    """So many repetitions during which others had little of the machine, as each row's `disturbance` tells.

    All of them go to stderr. Raises SystemExit when calm does not come.
    """
    made: list[Row] = []
    for _ in range(4 * repeat):
        wait_for_calm()
        row = once()
        print(json.dumps(row), file=sys.stderr, flush=True)
        if row["disturbance"] <= CALM:
            made.append(row)
        if len(made) == repeat:
            return made
    raise SystemExit(f"Others kept this machine busy: {len(made)} of {repeat} repetitions were calm. Try again later.")


class Peak:
    """The largest resident memory, in MB, of a process and its descendants together, looked at every 50 ms."""

    def __init__(self, process: int) -> None:
        self.megabytes = 0.0
        self._process, self._done = process, threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def stop(self) -> float:
        """No more looking; gives the peak."""
        self._done.set()
        self._watching.join()
        return self.megabytes

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.megabytes = max(self.megabytes, _resident(self._process))


def _resident(process: int) -> float:
    try:
        root = psutil.Process(process)
        return sum(_proportional(each) for each in (root, *root.children(recursive=True))) / _MB
    except psutil.NoSuchProcess:
        return 0.0


def _proportional(process: psutil.Process) -> float:
    """A process's memory with pages that it shares counted in part; RSS if the kernel does not tell."""
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
    except psutil.NoSuchProcess:  # it has just ended, and is in its parent's count
        return 0.0
    return float(times.user + times.system)


def _client() -> float:
    return sum(os.times()[:4])


def _machine() -> float:
    """Core-seconds that the machine has been busy: everything but idle and waiting, stolen time included."""
    user, nice, system, _idle, _wait, irq, soft, steal = (
        int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / _TICK
