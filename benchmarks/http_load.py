"""Servers under load: started, and measured with wrk."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from benchmarks.meter import Row
from benchmarks.world import World

_SCALES = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_STOP_SECONDS = 10
_PLAIN = Path(__file__).with_name("plain_api.py")


@dataclass
class Server:
    """A running server: its URL, its process, and the headers that authenticate a request."""

    url: str
    process: subprocess.Popen[Any]
    headers: dict[str, str] = field(default_factory=dict)
    start: float = 0.0
    """Seconds from the command to the first answer."""

    @classmethod
    @contextmanager
    def prescore(cls, where: World, *arguments: str) -> Iterator[Server]:
        """Start `prescore serve`, one process, with API keys and with the access log on, as by default."""
        key = where.prescore("keys", "create", f"bench-{time.time_ns()}").strip()
        command = [str(Path(sys.executable).with_name("prescore")), "serve", "--port", "0", *arguments]
        with _started(command, where, where.root / "access.log") as server:
            server.headers["Authorization"] = f"Bearer {key}"
            yield server

    @classmethod
    @contextmanager
    def plain(cls, where: World) -> Iterator[Server]:
        """Start the endpoint of plain_api.py."""
        with _started([sys.executable, str(_PLAIN)], where, where.root / "plain.log") as server:
            yield server

    def wait_until_in_memory(self, model: str, answers: int = 1) -> None:
        """Wait until so many answers in a row say that a model is in memory: several, where there are several workers.

        Loading it uses part of the machine.
        """
        request = urllib.request.Request(f"{self.url}/v1/models/{model}", headers=self.headers)
        deadline, in_a_row = time.monotonic() + 120, 0
        while True:
            with urllib.request.urlopen(request, timeout=10) as response:
                in_a_row = in_a_row + 1 if json.load(response)["in_memory"] else 0
            if in_a_row >= answers:
                return
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"{model} was not in memory after 120 seconds. Does its spec have lookup.in_memory = true?"
                )
            if not in_a_row:
                time.sleep(0.2)

    def load(self, script: str, connections: int, seconds: int) -> Row:
        """Run wrk with a Lua script; return requests per second, latencies in ms, and the number of errors.

        `cpu` is the CPU time of the server's processes per request, in µs. It depends less than the rate on what else
        the machine does.
        """
        if shutil.which("wrk") is None:
            raise SystemExit("wrk is not installed. On Debian: apt-get install wrk")
        headers = [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *headers]
        before = self.cpu_seconds()
        with tempfile.NamedTemporaryFile("w", prefix="prescore-wrk-", suffix=".lua") as file:
            file.write(script)
            file.flush()
            run = subprocess.run([*command, "-s", file.name, self.url], stdout=subprocess.PIPE, text=True, check=True)
        used = self.cpu_seconds() - before
        return {
            "rate": float(_search(r"Requests/sec:\s+([\d.]+)", run.stdout)),
            "p50": _milliseconds(run.stdout, "50%"),
            "p99": _milliseconds(run.stdout, "99%"),
            "cpu": used / max(int(_search(r"(\d+) requests in", run.stdout)), 1) * 1e6,
            "errors": _errors(run.stdout),
        }

    def cpu_seconds(self) -> float:
        """Return the CPU time so far of the server's processes."""
        process = psutil.Process(self.process.pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))


def _errors(output: str) -> int:
    responses = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    return sum(int(number) for match in (responses, sockets) if match for number in match.groups())


def _milliseconds(output: str, percentile: str) -> float:
    number, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", output).groups()  # type: ignore[union-attr]
    return float(number) * _SCALES[unit]


def _search(pattern: str, output: str) -> str:
    match = re.search(pattern, output)
    if match is None:
        raise SystemExit(f"Unexpected output, which does not match {pattern}: {output}")
    return match[1]


@contextmanager
def _started(command: list[str], where: World, log: Path) -> Iterator[Server]:
    """Start a server that prints its URL on standard error."""
    environment = os.environ | {"PRESCORE_DATABASE_URL": where.database, "PRESCORE_PROJECT": str(where.root)}
    began = time.perf_counter()
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    with stopped(process):
        assert process.stderr is not None
        url = _search(r"(http://\S+:\d+)", process.stderr.readline())
        until_ready(f"{url}/health/ready")
        yield Server(url, process, start=time.perf_counter() - began)


@contextmanager
def stopped(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Stop a server at the end of the `with` block; MLServer 1.7.1 has to be killed."""
    try:
        yield
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        process.kill()
        process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def until_ready(url: str) -> None:
    """Wait until a health check answers."""
    deadline = time.monotonic() + 60
    while True:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{url} did not answer within 60 seconds")
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, all different because they are open at the same time."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listening.getsockname()[1] for listening in sockets]
