"""Live answers under load, while versions are published and rolled back, processes are killed and the store is away.

Whatever happens, an answer has the number of the version whose model or table it is from, lookups are answered, no
request waits for long, and no process outlives its server. Requests that are not answered have status 503, a code that
the reference lists, and `Retry-After`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest

from fix_api import scoring_processes
from fix_project import SPEC, Sandbox, customers, linear
from prescore_api.client.arrow import serialize

LIVE = SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :] + "[live]\nallowed = true\n"
PRESCORE = str(Path(sys.executable).with_name("prescore"))
CLIENTS = 4
CUSTOMER = 7
ROUNDS = 4
# Loading, waiting for others and computing are bounded by 17 s together; the machine may be busy with other tests.
LONGEST = 25.0
CODES = ("live_unavailable", "overloaded", "database_unavailable", "transient")
PATH = "/v1/predictions/churn/score"
BURST = 200
_log = logging.getLogger(__name__)


@contextmanager
def _served(project: Sandbox) -> Iterator[tuple[str, psutil.Process]]:
    """Run `prescore serve --live` with two workers; yield its URL and its process."""
    environment = os.environ | {"PRESCORE_STORE": str(project.root / ".prescore" / "store")}
    arguments = ["serve", "--no-auth", "--no-access-log", "--live", "--workers", "2", "--port", "0"]
    log = project.root / "server.log"
    with log.open("w") as err:
        process = subprocess.Popen([PRESCORE, *arguments], env=environment, stderr=err)
    try:
        _until(lambda: "http://" in log.read_text())
        url = log.read_text().split()[3]
        _until(lambda: httpx.get(f"{url}/health/ready").status_code == 200)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while True:
        # The process may be starting, or ending.
        with suppress(httpx.TransportError, psutil.NoSuchProcess):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


@cache
def _visits() -> float:
    """Return the visits of the customer, as the domain has them; the weight of `spend` is 0."""
    return float(customers().column("visits")[CUSTOMER].as_py())


def _weight(version: int) -> float:
    """Return the first weight of the model of a version: no two versions have a score in common."""
    return 0.25 * version


class Load:
    """Clients that send rows without pause, and verify every answer."""

    def __init__(self, url: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.longest = 0.0
        self._url = url
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        random = np.random.default_rng(number)
        # Another connection for every request, so that a worker that has just started gets some.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=self._url, timeout=60, limits=limits) as client:
            while not self._done.is_set():
                visits = random.normal(size=random.integers(1, 20)).astype(np.float32).tolist()
                began = time.monotonic()
                try:
                    self._score(client, visits)
                    self._look_up(client)
                # A worker was killed during the request.
                except httpx.TransportError as error:
                    self.outcomes[type(error).__name__] += 1
                self.longest = max(self.longest, time.monotonic() - began)

    def _look_up(self, client: httpx.Client) -> None:
        """Look a customer up: a request that reaches a worker is answered, whatever happens to its scoring process."""
        response = client.get(f"/v1/predictions/churn/{CUSTOMER}")
        if response.status_code != 200 or not response.json()["found"]:
            self.wrong.append(response.text)

    def _score(self, client: httpx.Client, visits: list[float]) -> None:
        """Score rows of features, and one that the table has by its key."""
        rows: list[dict[str, Any]] = [{"features": {"visits": value, "spend": 0.0}} for value in visits]
        rows.append({"key": {"customer": CUSTOMER}, "features": {"visits": 0.0, "spend": 0.0}})
        response = client.post(PATH, json={"rows": rows})
        if response.status_code != 200:
            code = response.json()["error"]["code"]
            self.outcomes[code] += 1
            if code not in CODES or "Retry-After" not in response.headers:
                self.wrong.append(response.text)
            return
        answers = response.json()["answers"]
        self.outcomes[f"version {answers[0]['version']}"] += 1
        sources = [answer["source"] for answer in answers]
        if sources != ["live"] * len(visits) + ["table"]:
            self.wrong.append(f"{sources}")
        for value, answer in zip([*visits, _visits()], answers, strict=True):
            expected = 1 / (1 + np.exp(-_weight(answer["version"]) * value))
            if answer["version"] != answers[0]["version"] or abs(answer["prediction"]["score"] - expected) > 1e-6:
                self.wrong.append(f"{value} {answer}")


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """The churn project, whose version N has the weight of N."""
    sandbox.spec(LIVE)
    _publish(sandbox, 1)
    return sandbox


def _publish(project: Sandbox, version: int) -> None:
    project.onnx(linear([_weight(version), 0.0]))
    _command("run", "churn")
    assert project.rows("select published_version from prescore.models") == [(version,)]


def _command(*arguments: str) -> None:
    """Run a command in a process of its own, so that the clients measure the server alone."""
    subprocess.run([PRESCORE, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_live_answers_are_right_whatever_happens(project: Sandbox) -> None:
    store = project.root / ".prescore" / "store"
    with _served(project) as (url, server), Load(url) as load:
        _until_counted(load, "version 1")
        for round_number in range(ROUNDS):
            _publish(project, round_number + 2)
            _kill_a_worker(server)
            if round_number % 2:
                _command("rollback", "churn")
                _command("release", "churn")
            away = store.with_name("away")
            store.rename(away)
            _kill_a_worker(server)
            _until_counted(load, "live_unavailable")
            away.rename(store)
            load.outcomes["live_unavailable"] = 0
            _kill_scoring(server)
        served = project.rows("select published_version from prescore.models")[0][0]
        load.outcomes[f"version {served}"] = 0
        _until_counted(load, f"version {served}")
    assert load.wrong == []
    assert load.longest < LONGEST
    _log.info("%s, longest %.2f s", dict(load.outcomes), load.longest)


def _kill_a_worker(server: psutil.Process) -> None:
    worker = _workers(server)[0]
    scoring = scoring_processes(worker)
    worker.send_signal(signal.SIGKILL)
    # The other worker serves meanwhile, and the server replaces the one that was killed.
    worker.wait(30)
    _, alive = psutil.wait_procs(scoring, 30)
    assert not alive


def _kill_scoring(server: psutil.Process) -> None:
    """Kill the scoring process of a worker, and wait until another replaces it."""
    worker = _workers(server)[-1]
    _until(lambda: bool(scoring_processes(worker)))
    (scoring,) = scoring_processes(worker)
    scoring.send_signal(signal.SIGKILL)
    _until(lambda: [process.pid for process in scoring_processes(worker)] not in ([], [scoring.pid]))


def _workers(server: psutil.Process) -> list[psutil.Process]:
    return [child for child in server.children() if "spawn_main" in " ".join(child.cmdline())]


def _until_counted(load: Load, outcome: str) -> None:
    deadline = time.monotonic() + 60
    while not load.outcomes[outcome]:
        assert time.monotonic() < deadline, load.outcomes
        time.sleep(0.05)


def test_a_burst_of_requests_is_answered_or_refused_whatever_happens(project: Sandbox) -> None:
    store = project.root / ".prescore" / "store"
    away = store.with_name("away")
    with _served(project) as (url, server):
        # Where other programs need the cores, too, some may have waited for too long.
        assert _burst(url).keys() <= {"version 1", "overloaded"}
        _burst(url, lambda: _signal_scoring(server, signal.SIGKILL))
        _burst(url, lambda: _publish(project, 2))
        _until_scored(url)
        store.rename(away)
        assert _burst(url).keys() <= {"version 2", "overloaded"}
        _burst(url, lambda: _signal_scoring(server, signal.SIGKILL))
        assert "version 2" not in _burst(url)
        away.rename(store)
        _burst(url, lambda: _publish_corrupt(project))
        # Processes that have loaded the file before it was changed are not among these.
        _signal_scoring(server, signal.SIGKILL)
        assert _burst(url)["version 3"] == 0
        _command("rollback", "churn")
        _until_scored(url)
        # It takes half a minute until stopped processes are replaced.
        assert _burst(url, lambda: _signal_scoring(server, signal.SIGSTOP)).keys() <= {"version 2", "overloaded"}
        _until_scored(url)
        assert _burst(url).keys() <= {"version 2", "overloaded"}


def _burst(url: str, disturb: Callable[[], None] | None = None) -> Counter[str]:
    """Send requests at the same time, and disturb the server once a tenth are answered; count versions and codes."""
    outcomes: Counter[str] = Counter()

    async def send(client: httpx.AsyncClient, number: int) -> None:
        outcome = await asyncio.wait_for(_answer(client, number), LONGEST)
        outcomes[outcome] += 1

    async def send_all() -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=url, timeout=LONGEST, limits=limits) as client:
            running = {asyncio.create_task(send(client, number)) for number in range(BURST)}
            while disturb is not None and sum(outcomes.values()) < BURST // 10:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                running = {task for task in running if not task.done() or task.result()}
            if disturb is not None:
                await asyncio.to_thread(disturb)
            await asyncio.gather(*running)

    asyncio.run(send_all())
    _log.info("%s", dict(outcomes))
    return outcomes


async def _answer(client: httpx.AsyncClient, number: int) -> str:
    """Send a request of one of four kinds, verify its answer, and return its version or the code of its refusal."""
    visits = np.random.default_rng(number).normal(size=8).astype(np.float32)
    rows: list[dict[str, Any]] = [{"features": {"visits": float(str(value)), "spend": 0.0}} for value in visits]
    kind = number % 4
    if kind == 0:
        table = pa.table({"visits": visits, "spend": np.zeros(8, np.float32), "customer": -1 - np.arange(8)})
        headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
        response = await client.post(PATH, content=serialize(table), headers=headers)
    else:
        # With so many keys, the scoring process reads the rows.
        keyed = {"key": {"customer": CUSTOMER}, **rows[0]}
        more = [keyed] * {1: 0, 2: 1, 3: 400}[kind]
        response = await client.post(PATH, json={"rows": rows + more})
    if response.status_code != 200:
        code = str(response.json()["error"]["code"])
        assert (response.status_code, code in CODES, response.headers["Retry-After"]) == (503, True, "1")
        return code
    if kind == 0:
        streamed = pa.ipc.open_stream(response.content).read_all()
        version = int(streamed.schema.metadata[b"version"])
        scores = [prediction["score"] for prediction in streamed["prediction"].to_pylist()]
    else:
        answers = response.json()["answers"]
        assert len(answers) == len(rows + more)
        (version,) = {answer["version"] for answer in answers}
        scores = [answer["prediction"]["score"] for answer in answers[: len(rows)]]
    assert scores == pytest.approx(1 / (1 + np.exp(-_weight(version) * visits)), abs=1e-6)
    return f"version {version}"


def _until_scored(url: str) -> None:
    """Wait until both workers score rows."""
    content = {"rows": [{"features": {"visits": 1, "spend": 0}}]}
    _until(lambda: all(httpx.post(url + PATH, json=content, timeout=60).status_code == 200 for _ in range(20)))


def _signal_scoring(server: psutil.Process, number: signal.Signals) -> None:
    for worker in _workers(server):
        for scoring in scoring_processes(worker):
            scoring.send_signal(number)


def _publish_corrupt(project: Sandbox) -> None:
    """Publish version 3, and change its model file in the store."""
    folder = project.root / ".prescore" / "store" / "models"
    before = set(folder.iterdir())
    _publish(project, 3)
    (file,) = [path for path in set(folder.iterdir()) - before if path.suffix == ".onnx"]
    file.chmod(0o600)
    file.write_bytes(b"corrupt")
