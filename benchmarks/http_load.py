"""Servers under load: started, and measured with wrk."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.meter import Row
from benchmarks.world import World

_SCALES = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_PLAIN = Path(__file__).with_name("plain_api.py")


@dataclass
class Server:
    """A running server: its URL, and the headers that authenticate a request."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    start: float = 0.0
    """Seconds from the command to the first answer."""

    @classmethod
    @contextmanager
    def prescore(cls, where: World, *arguments: str) -> Iterator[Server]:
        """Start `prescore serve`, one process, with API keys and with the access log on, as by default."""
        key = where.prescore("keys", "create", f"bench-{time.time_ns()}").strip()
        command = [str(Path(sys.executable).with_name("prescore")), "serve", "--port", "0", *arguments]
        with _started(command, where, r"(http://\S+:\d+)", where.root / "access.log") as (url, start):
            yield cls(url, {"Authorization": f"Bearer {key}"}, start)

    @classmethod
    @contextmanager
    def plain(cls, where: World) -> Iterator[Server]:
        """Start the endpoint of plain_api.py."""
        command = [sys.executable, str(_PLAIN)]
        with _started(command, where, r"(http://\S+:\d+)", where.root / "plain.log") as (url, start):
            yield cls(url, start=start)

    def wait_until_in_memory(self, model: str) -> None:
        """Wait until a model is in memory. Loading it uses part of the machine."""
        request = urllib.request.Request(f"{self.url}/v1/models/{model}", headers=self.headers)
        deadline = time.monotonic() + 120
        while True:
            with urllib.request.urlopen(request, timeout=10) as response:
                if json.load(response)["in_memory"]:
                    return
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"{model} was not in memory after 120 seconds. Does its spec have lookup.in_memory = true?"
                )
            time.sleep(0.2)

    def load(self, script: str, connections: int, seconds: int, folder: Path) -> Row:
        """Run wrk with a Lua script; return requests per second, latencies in ms, and the number of errors."""
        if shutil.which("wrk") is None:
            raise SystemExit("wrk is not installed. On Debian: apt-get install wrk")
        path = folder / "wrk.lua"
        path.write_text(script)
        headers = [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *headers, "-s", str(path), self.url]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return {
            "rate": float(_search(r"Requests/sec:\s+([\d.]+)", output)),
            "p50": _milliseconds(output, "50%"),
            "p99": _milliseconds(output, "99%"),
            "errors": _errors(output),
        }


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
def _started(command: list[str], where: World, url_pattern: str, log: Path) -> Iterator[tuple[str, float]]:
    environment = os.environ | {"PRESCORE_DATABASE_URL": where.database, "PRESCORE_PROJECT": str(where.root)}
    began = time.perf_counter()
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = _search(url_pattern, process.stderr.readline())
        until_ready(f"{url}/health/ready")
        yield url, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(20)


def until_ready(url: str) -> None:
    """Wait until a health check answers."""
    deadline = time.monotonic() + 30
    while True:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{url} did not answer within 30 seconds")
        time.sleep(0.01)
