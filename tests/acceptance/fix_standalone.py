"""Airflow as `python -m prescore_dags.standalone` starts it, used through the REST API that its own UI uses."""

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

# Retries follow after a second, so that tests are fast.
DAG_FILE = """from datetime import timedelta
from prescore_dags import airflow_dags

airflow_dags(groups=4, default_args={"retries": 3, "retry_delay": timedelta(seconds=1)})
"""
DAG = "prescore_churn"
HANG_SECONDS = 1800.0
"""Tests wait for states. On a busy machine, a state may take minutes; one that takes this long never comes."""


def until(condition: Callable[[], Any], description: str, state: Callable[[], Any] = lambda: "") -> Any:
    """Call `condition` until its result is true, and return that; fail with `description` and a state if it hangs."""
    deadline = time.monotonic() + HANG_SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited in vain until {description} {state()}"
        time.sleep(0.25)
    return result


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
        """Trigger a run with values of the form and return its id."""
        response = self.client.post(f"/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": form})
        assert response.status_code == 200, response.text
        run: str = response.json()["dag_run_id"]
        return run

    def wait_for_end(self, run: str) -> str:
        """Wait until a run has ended and return its state."""
        return str(until(lambda: self._end_state(run), f"{run} ends", lambda: self.states(run)))

    def states(self, run: str) -> dict[str, str | None]:
        """Return the state of each of a run's tasks by name, such as `stage` or `score[2]`."""
        response = self.client.get(f"/dags/{DAG}/dagRuns/{run}/taskInstances").raise_for_status()
        states = {}
        for task in response.json()["task_instances"]:
            index = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
            states[task["task_id"] + index] = task["state"]
        return states

    def log(self, run: str, task: str, index: int = -1) -> str:
        """Return the log of a task's last attempt."""
        task_instance = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{task}"
        path = task_instance if index < 0 else f"{task_instance}/{index}"
        attempt = self.client.get(path).raise_for_status().json()["try_number"]
        response = self.client.get(f"{task_instance}/logs/{attempt}", params={"map_index": index})
        return response.raise_for_status().text

    def has_logged(self, *words: str) -> bool:
        """Return whether Airflow's own log has a line with all of these words."""
        log = self.project.root / ".prescore/airflow/standalone.log"
        return any(all(word in line for word in words) for line in log.read_text().splitlines())

    def run(self, **form: Any) -> str:
        """Trigger a run, wait until it succeeds, and return its id."""
        run = self.trigger(**form)
        assert self.wait_for_end(run) == "success", self.states(run)
        return run

    def _end_state(self, run: str) -> str | None:
        state = self.client.get(f"/dags/{DAG}/dagRuns/{run}").raise_for_status().json()["state"]
        return state if state in ("success", "failed") else None


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def airflow_project(server: str, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The churn project with its own DAG folder and database."""
    recreate(server, "prescore_airflow", template=TEMPLATE)
    root = tmp_path_factory.mktemp("standalone")
    project = Sandbox(root, Database(at(server, "prescore_airflow")), pytest.MonkeyPatch(), None)  # type: ignore[arg-type] # no CLI commands here
    project.settings("chunk_rows = 100\n")
    project.spec(SPEC)
    project.query(QUERY)
    project.onnx(linear([1.0, -0.5]))
    project.data(customers())
    (root / "dags").mkdir()
    (root / "dags/predictions.py").write_text(DAG_FILE)
    return project


@pytest.fixture(scope="session")
def standalone_process(airflow_project: Sandbox) -> Iterator[Airflow]:
    """Airflow, running and with its DAGs loaded."""
    environment = os.environ | {"PORT": str(free_port()), "PRESCORE_DATABASE_URL": airflow_project.database.url}
    process = subprocess.Popen(
        [sys.executable, "-m", "prescore_dags.standalone"],
        cwd=airflow_project.root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    announcement = next((line for line in process.stdout if "ready" in line), "")
    match = re.search(r"(http://\S+), user admin, password (\S+)", announcement)
    try:
        assert match, announcement
        airflow = Airflow(match[1], match[2], airflow_project, process)
        until(lambda: airflow.client.get(f"/dags/{DAG}").status_code == 200, "the DAG is loaded")
        yield airflow
        airflow.client.close()
    finally:
        process.terminate()
        process.wait(HANG_SECONDS)
        process.stdout.close()
        # Airflow's metadata database was on the project's embedded Postgres.
        server.stop(Project.find(airflow_project.root))


@pytest.fixture
def standalone(standalone_process: Airflow) -> Airflow:
    """The same Airflow, with the original project files and without the versions of earlier tests."""
    delete_versions(standalone_process.project)
    project = standalone_process.project
    project.spec(SPEC)
    project.query(QUERY)
    project.onnx(linear([1.0, -0.5]))
    return standalone_process


def delete_versions(project: Sandbox) -> None:
    """Delete everything from the catalog, so that the next version is version 1."""
    database = project.database
    with database.connect() as connection:
        connection.execute(
            b"drop view if exists predictions.churn; "
            b"drop schema prescore_versions cascade; create schema prescore_versions; "
            b"truncate prescore.models, prescore.versions, prescore.leases, prescore.events cascade"
        )


def store(project: Sandbox) -> Path:
    """Return the folder of the project's store."""
    return project.root / ".prescore/store"
