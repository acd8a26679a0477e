"""The overhead of Airflow: in a run, from trigger to table, and in reading a hundred specs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import models, world
from benchmarks.meter import Row
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World

REPO = Path(__file__).resolve().parents[1]
SPECS = 100
_DAG_FILE = "from prescore_dags import airflow_dags\n\nairflow_dags(groups=2, upkeep=False)\n"
# Airflow reads DAG files in a process that has already imported Airflow, so the clock starts after the import.
_PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
began = time.perf_counter()
bag = DagBag(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - began, "dags": len(bag.dags), "errors": bag.import_errors}))
"""


class Airflow:
    """A running `python -m prescore_dags.standalone`, used over its REST API."""

    def __init__(self, address: str, password: str) -> None:
        self._address = address
        self._token = self._request("/auth/token", {"username": "admin", "password": password})["access_token"]

    def run(self, dag_id: str) -> dict[str, float]:
        """Trigger a run and wait for it; return the seconds from trigger to end and from trigger to publication."""
        path = f"/api/v2/dags/{dag_id}/dagRuns"
        began = time.time()
        run_id = self._request(path, {"logical_date": None, "conf": {}})["dag_run_id"]
        while (state := self._request(f"{path}/{run_id}")["state"]) not in ("success", "failed"):
            time.sleep(0.25)
        if state == "failed":
            raise SystemExit(f"{dag_id} failed. See .prescore/airflow/logs")
        tasks = self._request(f"{path}/{run_id}/taskInstances")["task_instances"]
        ended = {task["task_id"]: datetime.fromisoformat(task["end_date"]).timestamp() for task in tasks}
        return {"total": max(ended.values()) - began, "published": ended["publish"] - began}

    def has_dag(self, dag_id: str) -> bool:
        """Return whether Airflow has read the DAG."""
        try:
            return bool(self._request(f"/api/v2/dags/{dag_id}"))
        except OSError:
            return False

    def _request(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if path != "/auth/token":
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)


def measure(where: World, kinds: Sequence[str], rows: int, repeat: int, depth: int) -> list[Row]:
    """Measure each figure `repeat` times, alternating between the command and Airflow."""
    measured: list[Row] = [{"figure": "parse", **parse(where)} for _ in range(repeat)]
    where.write("dags/predictions.py", _DAG_FILE)
    query = world.plain(where, rows)
    for kind in kinds:
        models.train(where.root / "models", kind, len(FEATURES), depth)
        where.model(kind, kind, query)
        where.fresh_database()
        with standalone(where.root, where.database) as airflow:
            _await(airflow, f"prescore_{kind}")
            # As on any night, the spec and its checks have run before.
            airflow.run(f"prescore_{kind}")
            for _ in range(repeat):
                command = json.loads(where.prescore("run", kind, "--full", "--json"))["seconds"]
                run = airflow.run(f"prescore_{kind}")
                measured.append({"figure": "run", "model": kind, "command": command, "airflow": run})
    return measured + flights(where, repeat)


def parse(where: World) -> Row:
    """Measure the reading of a DAG folder with a hundred specs, in a process that has imported Airflow."""
    root = where.root / "hundred"
    for name in ("specs", "dags"):
        (root / name).mkdir(parents=True, exist_ok=True)
    text = (REPO / "specs/flight_delay.toml").read_text()
    for number in range(SPECS):
        (root / f"specs/model_{number}.toml").write_text(text)
    (root / "prescore.toml").write_text('database = "embedded"\n')
    (root / "dags/predictions.py").write_text(_DAG_FILE)
    environment = os.environ | {"AIRFLOW_HOME": str(root / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-c", _PARSE, str(root / "dags")]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    result: Row = json.loads(output.splitlines()[-1])
    if result["dags"] != SPECS:
        raise SystemExit(f"Not every spec became a DAG: {result}")
    return result


def flights(where: World, repeat: int) -> list[Row]:
    """Measure the flight example of this repository, from its trigger to the published table."""
    where.fresh_database()
    subprocess.run(["make", "models/flight_delay.onnx"], cwd=REPO, stdout=subprocess.DEVNULL, check=True)
    with standalone(REPO, where.database) as airflow:
        _await(airflow, "prescore_flight_delay")
        return [{"figure": "flights", "airflow": airflow.run("prescore_flight_delay")} for _ in range(repeat)]


def tables(rows: list[Row]) -> str:
    """Return the figures as docs/benchmarks.md shows them."""
    runs = [row for row in rows if row["figure"] == "run"]
    kinds = dict.fromkeys(row["model"] for row in runs)
    lines = [_line(kind, [row for row in runs if row["model"] == kind]) for kind in kinds]
    parsing = spread([row["seconds"] for row in rows if row["figure"] == "parse"], 2)
    flight_example = spread([row["airflow"]["published"] for row in rows if row["figure"] == "flights"], 1)
    text = f"{SPECS} specs read: {parsing} s. Flight example, from trigger to published: {flight_example} s."
    return f"{markdown(lines)}\n\n{text}" if lines else text


def _line(kind: str, rows: list[Row]) -> Row:
    command = [row["command"]["total"] for row in rows]
    airflow = [row["airflow"]["total"] for row in rows]
    overhead = [row["airflow"]["total"] - row["command"]["total"] for row in rows]
    aim = [15 + 0.05 * row["command"]["score"] for row in rows]
    return {
        "model": kind,
        "prescore run, s": spread(command, 1),
        "under Airflow, s": spread(airflow, 1),
        "overhead, s": spread(overhead, 1),
        "aim: at most, s": spread(aim, 1),
    }


@contextmanager
def standalone(root: Path, database: str) -> Iterator[Airflow]:
    """Run Airflow with a project's DAGs on a database for the `with` block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "prescore_dags.standalone"],
        cwd=root,
        env=os.environ | {"PORT": str(port), "PRESCORE_DATABASE_URL": database, "PRESCORE_PROJECT": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ready_line = next((line for line in process.stdout or () if "ready" in line), "")
        match = re.search(r"(http://\S+), user admin, password (\S+)", ready_line)
        if match is None:
            raise SystemExit(f"Airflow did not start in {root}. See its output above.")
        yield Airflow(match[1], match[2])
    finally:
        process.terminate()
        process.wait(60)


def _await(airflow: Airflow, dag_id: str) -> None:
    deadline = time.monotonic() + 120
    while not airflow.has_dag(dag_id):
        if time.monotonic() > deadline:
            raise SystemExit(f"Airflow has not read {dag_id} after 120 seconds. See .prescore/airflow/logs")
        time.sleep(0.5)
