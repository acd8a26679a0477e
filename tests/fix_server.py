"""`prescore serve` as a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

COMMAND = Path(sys.executable).with_name("prescore")


@contextmanager
def served(*arguments: str, verify: bool = True, log: bool = False) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address, once it answers."""
    out = subprocess.PIPE if log else subprocess.DEVNULL
    process = subprocess.Popen([COMMAND, "serve", *arguments], stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"https?://\S+:\d+", said)
        assert found, said + process.stderr.read()
        _until_ready(found[0], verify=verify)
        yield process, found[0]
    finally:
        # Its workers end with it.
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _until_ready(url: str, *, verify: bool) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{url}/health/live", verify=verify).status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that serve, of one that has started several."""
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in _line(child)]


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
