"""A server under wrk's load: started, asked, and told apart from others."""

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
    """Where it listens, and the header that lets one in."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    start: float = 0.0
    """Seconds from the command to the first answer."""

    @classmethod
    @contextmanager
    def prescore(cls, where: World, *arguments: str) -> Iterator[Server]:
        """`prescore serve`, one process, with API keys and the access log as they are by default."""
        key = where.prescore("keys", "create", f"bench-{time.time_ns()}").strip()
        command = [str(Path(sys.executable).with_name("prescore")), "serve", "--port", "0", *arguments]
        with _started(command, where, r"(http://\S+:\d+)", where.root / "access.log") as (url, start):
            yield cls(url, {"Authorization": f"Bearer {key}"}, start)

    @classmethod
    @contextmanager
    def plain(cls, where: World) -> Iterator[Server]:
        """An endpoint without any of it."""
        with _started([sys.executable, str(_PLAIN)], where, r"(http://\S+:\d+)", where.root / "plain.log") as (
            url,
            start,
        ):
            yield cls(url, start=start)

    def until_held(self, model: str) -> None:
        """Wait until a model is in memory: until then its reading takes a part of the machine."""
        asked = urllib.request.Request(f"{self.url}/v1/models/{model}", headers=self.headers)
        deadline = time.monotonic() + 120
        while True:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                if json.load(answer)["in_memory"]:
                    return
            if time.monotonic() > deadline:
                raise SystemExit(f"{model} is not held in memory")
            time.sleep(0.2)

    def load(self, script: str, connections: int, seconds: int, folder: Path) -> Row:
        """What wrk makes of it with a Lua script: requests a second, latencies in ms, and what went wrong."""
        if shutil.which("wrk") is None:
            raise SystemExit("wrk is not here; on Debian: apt-get install wrk")
        path = folder / "wrk.lua"
        path.write_text(script)
        headers = [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *headers, "-s", str(path), self.url]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return {
            "second": float(_found(r"Requests/sec:\s+([\d.]+)", said)),
            "p50": _milliseconds(said, "50%"),
            "p99": _milliseconds(said, "99%"),
            "errors": _errors(said),
        }


def _errors(said: str) -> int:
    answers = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    return sum(int(number) for found in (answers, sockets) if found for number in found.groups())


def _milliseconds(said: str, percentile: str) -> float:
    number, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", said).groups()  # type: ignore[union-attr]
    return float(number) * _SCALES[unit]


def _found(pattern: str, said: str) -> str:
    found = re.search(pattern, said)
    if found is None:
        raise SystemExit(f"wrk said something else: {said}")
    return found[1]


@contextmanager
def _started(command: list[str], where: World, told: str, log: Path) -> Iterator[tuple[str, float]]:
    environment = os.environ | {"PRESCORE_DATABASE_URL": where.database, "PRESCORE_PROJECT": str(where.root)}
    began = time.perf_counter()
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = _found(told, process.stderr.readline())
        _await(url)
        yield url, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(20)


def _await(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/health/ready", timeout=2).close()
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{url} does not answer")
        time.sleep(0.01)
