"""What Airflow adds: to a run, to the time from trigger to table, and what it takes to read a hundred specs."""

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
# A DAG file is read by a process that has Airflow imported; what it takes is from there on.
_PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
began = time.perf_counter()
bag = DagBag(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - began, "dags": len(bag.dags), "errors": bag.import_errors}))
"""


class Airflow:
    """A running `python -m prescore_dags.standalone`, asked over its REST API."""

    def __init__(self, address: str, password: str) -> None:
        self._address = address
        self._token = self._asked("/auth/token", {"username": "admin", "password": password})["access_token"]

    def run(self, dag_id: str) -> dict[str, float]:
        """Seconds of a run: from its trigger to its end, and from its trigger to the publication."""
        path = f"/api/v2/dags/{dag_id}/dagRuns"
        began = time.time()
        run_id = self._asked(path, {"logical_date": None, "conf": {}})["dag_run_id"]
        while (state := self._asked(f"{path}/{run_id}")["state"]) not in ("success", "failed"):
            time.sleep(0.25)
        if state == "failed":
            raise SystemExit(f"{dag_id} failed: see .prescore/airflow/logs")
        tasks = self._asked(f"{path}/{run_id}/taskInstances")["task_instances"]
        ended = {task["task_id"]: datetime.fromisoformat(task["end_date"]).timestamp() for task in tasks}
        return {"total": max(ended.values()) - began, "published": ended["publish"] - began}

    def knows(self, dag_id: str) -> bool:
        """Whether the DAG is there by now."""
        try:
            return bool(self._asked(f"/api/v2/dags/{dag_id}"))
        except OSError:
            return False

    def _asked(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if path != "/auth/token":
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, headers)  # this machine's http
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def measure(where: World, kinds: Sequence[str], rows: int, repeat: int, depth: int) -> list[Row]:
    """Each figure as often as asked for, the command and Airflow in turns."""
    measured: list[Row] = [{"figure": "parse", **parsed(where)} for _ in range(repeat)]
    where.write("dags/predictions.py", _DAG_FILE)
    query = world.plain(where, rows)
    for kind in kinds:
        models.train(where.root / "models", kind, len(FEATURES), depth)
        where.model(kind, kind, query)
        where.fresh_database()
        with standalone(where.root, where.database) as airflow:
            _await(airflow, f"prescore_{kind}")
            # As every night: the spec and its checks were run before.
            airflow.run(f"prescore_{kind}")
            for _ in range(repeat):
                alone = json.loads(where.prescore("run", kind, "--full", "--json"))["seconds"]
                run = airflow.run(f"prescore_{kind}")
                measured.append({"figure": "run", "model": kind, "command": alone, "airflow": run})
    return measured + flights(where, repeat)


def parsed(where: World) -> Row:
    """A DAG folder with a hundred specs, read in a process that has Airflow imported."""
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
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    answer: Row = json.loads(told.splitlines()[-1])
    if answer["dags"] != SPECS:
        raise SystemExit(f"not every spec became a DAG: {answer}")
    return answer


def flights(where: World, repeat: int) -> list[Row]:
    """The flight example of this clone, from its trigger to the published table."""
    where.fresh_database()
    subprocess.run(["make", "models/flight_delay.onnx"], cwd=REPO, stdout=subprocess.DEVNULL, check=True)
    with standalone(REPO, where.database) as airflow:
        _await(airflow, "prescore_flight_delay")
        return [{"figure": "flights", "airflow": airflow.run("prescore_flight_delay")} for _ in range(repeat)]


def tables(rows: list[Row]) -> str:
    """As docs/benchmarks.md has them."""
    made = []
    for kind in dict.fromkeys(row["model"] for row in rows if row["figure"] == "run"):
        mine = [row for row in rows if row.get("model") == kind]
        command = [row["command"]["total"] for row in mine]
        airflow = [row["airflow"]["total"] for row in mine]
        over = [a - c for a, c in zip(airflow, command, strict=True)]
        allowed = [15 + 0.05 * row["command"]["score"] for row in mine]
        made.append(
            {
                "model": kind,
                "prescore run (s)": spread(command, 1),
                "under Airflow (s)": spread(airflow, 1),
                "over (s)": spread(over, 1),
                "aim: at most (s)": spread(allowed, 1),
            }
        )
    parse = [row["seconds"] for row in rows if row["figure"] == "parse"]
    flown = [row["airflow"]["published"] for row in rows if row["figure"] == "flights"]
    told = f"{SPECS} specs read: {spread(parse, 2)} s. Flight example, from trigger to published: {spread(flown, 1)} s."
    return f"{markdown(made)}\n\n{told}" if made else told


@contextmanager
def standalone(root: Path, database: str) -> Iterator[Airflow]:
    """Airflow with a project's DAGs, on a database, for a while."""
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
        told = next((line for line in process.stdout or () if "ready" in line), "")
        found = re.search(r"(http://\S+), user admin, password (\S+)", told)
        if found is None:
            raise SystemExit(f"Airflow did not come up in {root}")
        yield Airflow(found[1], found[2])
    finally:
        process.terminate()
        process.wait(60)


def _await(airflow: Airflow, dag_id: str) -> None:
    deadline = time.monotonic() + 120
    while not airflow.knows(dag_id):
        if time.monotonic() > deadline:
            raise SystemExit(f"Airflow does not come to know {dag_id}")
        time.sleep(0.5)
