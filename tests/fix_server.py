"""`prescore serve` as a separate process."""

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
    """Start the server and yield its process and its URL as soon as it answers."""
    out = subprocess.PIPE if log else subprocess.DEVNULL
    process = subprocess.Popen([COMMAND, "serve", *arguments], stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        first_line = process.stderr.readline()
        url = re.search(r"https?://\S+:\d+", first_line)
        assert url, first_line + process.stderr.read()
        _until_live(url[0], verify=verify)
        yield process, url[0]
    finally:
        # The workers end with the process that started them.
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _until_live(url: str, *, verify: bool) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{url}/health/live", verify=verify).status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.05)


def grpc_target(process: subprocess.Popen[str]) -> str:
    """Return the address of gRPC, which a server prints on its next line."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "gRPC" in line, line
    return line.split()[-1]


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the worker processes of a server."""
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in _line(child)]


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
