"""Airflow as `python -m prescore_dags.standalone` starts it, asked over its public REST API as its own UI does."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from fix_postgres import TEMPLATE, at, recreate
from fix_project import QUERY, SPEC, Sandbox, customers, linear
from prescore.catalog.database import Database
from prescore.embedded import server
from prescore.project.project import Project

# Retries come soon: a test need not wait as long as a night has time.
DAG_FILE = """from datetime import timedelta
from prescore_dags import airflow_dags

airflow_dags(groups=4, default_args={"retries": 3, "retry_delay": timedelta(seconds=1)})
"""
DAG = "prescore_churn"
_PATIENCE = 180.0


def until(true: Callable[[], Any], what: str, seconds: float = _PATIENCE) -> Any:
    """What a question gives as soon as that is true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.25)
    return answer


@dataclass
class Airflow:
    """A running Airflow, and the project whose DAGs it runs."""

    address: str
    password: str
    project: Sandbox
    process: subprocess.Popen[str]
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        """Log in as the UI does."""
        login = {"username": "admin", "password": self.password}
        token = httpx.post(f"{self.address}/auth/token", json=login).raise_for_status().json()["access_token"]
        self.client = httpx.Client(
            base_url=f"{self.address}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def trigger(self, **form: Any) -> str:
        """Begin a run with what was chosen in the form; gives its id."""
        answer = self.client.post(f"/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": form})
        assert answer.status_code == 200, answer.text
        run: str = answer.json()["dag_run_id"]
        return run

    def ended(self, run: str) -> str:
        """How a run ended, when it has."""
        return str(until(lambda: self._ended(run), f"{run} ends: {self.states(run)}"))

    def states(self, run: str) -> dict[str, str | None]:
        """The state of each of a run's tasks."""
        found = self.client.get(f"/dags/{DAG}/dagRuns/{run}/taskInstances").raise_for_status().json()
        return {
            ti["task_id"] + (f"[{ti['map_index']}]" if ti["map_index"] >= 0 else ""): ti["state"]
            for ti in found["task_instances"]
        }

    def log(self, run: str, task: str, index: int = -1) -> str:
        """What a task's last attempt logged."""
        task_instance = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{task}"
        at = task_instance if index < 0 else f"{task_instance}/{index}"
        tries = self.client.get(at).raise_for_status().json()["try_number"]
        found = self.client.get(f"{task_instance}/logs/{tries}", params={"map_index": index}).raise_for_status()
        return found.text

    def has_logged(self, *words: str) -> bool:
        """Whether Airflow's own log has a line with all of these words."""
        log = self.project.root / ".prescore/airflow/standalone.log"
        return any(all(word in line for word in words) for line in log.read_text().splitlines())

    def run(self, **form: Any) -> str:
        """Trigger a run and wait; gives its id when it has succeeded."""
        run = self.trigger(**form)
        assert self.ended(run) == "success", self.states(run)
        return run

    def _ended(self, run: str) -> str | None:
        state = self.client.get(f"/dags/{DAG}/dagRuns/{run}").raise_for_status().json()["state"]
        return state if state in ("success", "failed") else None


def free_port() -> int:
    """A port that nobody listens to now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def airflow_project(server: str, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The churn project with a DAG folder of its own, on a database of its own."""
    recreate(server, "prescore_airflow", template=TEMPLATE)
    root = tmp_path_factory.mktemp("standalone")
    made = Sandbox(root, Database(at(server, "prescore_airflow")), pytest.MonkeyPatch(), None)  # type: ignore[arg-type] # no commands are run in this process
    made.settings("chunk_rows = 100\n")
    made.spec(SPEC)
    made.query(QUERY)
    made.onnx(linear([1.0, -0.5]))
    made.data(customers())
    (root / "dags").mkdir()
    (root / "dags/predictions.py").write_text(DAG_FILE)
    return made


@pytest.fixture(scope="session")
def standalone_process(airflow_project: Sandbox) -> Iterator[Airflow]:
    """Airflow, up and with its DAGs known."""
    environment = os.environ | {"PORT": str(free_port()), "PRESCORE_DATABASE_URL": airflow_project.database.url}
    process = subprocess.Popen(
        [sys.executable, "-m", "prescore_dags.standalone"],
        cwd=airflow_project.root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    said = next((line for line in process.stdout if "ready" in line), "")
    told = re.search(r"(http://\S+), user admin, password (\S+)", said)
    try:
        assert told, said
        airflow = Airflow(told[1], told[2], airflow_project, process)
        until(lambda: airflow.client.get(f"/dags/{DAG}").status_code == 200, "the DAG is known")
        yield airflow
        airflow.client.close()
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
        # Airflow's own metadata was there.
        server.stop(Project.find(airflow_project.root))


@pytest.fixture
def standalone(standalone_process: Airflow) -> Airflow:
    """The same, with the project as it was and no version of the tests before."""
    recreate_catalog(standalone_process.project)
    project = standalone_process.project
    project.spec(SPEC)
    project.query(QUERY)
    project.onnx(linear([1.0, -0.5]))
    return standalone_process


def recreate_catalog(project: Sandbox) -> None:
    """Forget every version: the next is the first again."""
    database = project.database
    with database.connect() as connection:
        connection.execute(
            b"drop view if exists predictions.churn; "
            b"drop schema prescore_versions cascade; create schema prescore_versions; "
            b"truncate prescore.models, prescore.versions, prescore.chunks, prescore.rejects, prescore.events, "
            b"prescore.publications, prescore.leases"
        )


def store(project: Sandbox) -> Path:
    """The folder of the project's store."""
    return project.root / ".prescore/store"
