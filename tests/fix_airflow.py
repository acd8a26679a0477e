"""Fixtures for Airflow, which runs in processes of its own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fix_store import AWS

RUNNER = Path(__file__).with_name("airflow_runner.py")
VARIABLES = (
    "PRESCORE_DATABASE_URL",
    "PRESCORE_PROJECT",
    "PRESCORE_STORE",
    "AIRFLOW_CONN_PREDICTIONS",
    "AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS",
    *AWS,
)
DAG_FILE = "from prescore_dags import airflow_dags\n\nairflow_dags(groups=2)\n"
BARE_DAG_FILE = (
    "from prescore_dags import airflow_dags\n\n"
    f"airflow_dags(groups=2, python={sys.executable!r}, conn_id='predictions', status_page='http://lookups')\n"
)
ABSENT = ("psycopg", "pandas", "pyarrow", "numpy", "onnxruntime", "onnx", "duckdb", "great_expectations", "pgpq")
"""What an Airflow environment lacks that has prescore without its dependencies, and that Airflow does not need."""
_day_numbers = itertools.count()


def _next_logical_date() -> str:
    first = datetime(2026, 1, 1, 5, tzinfo=UTC)
    return str(first + timedelta(days=next(_day_numbers)))


@dataclass
class Airflow:
    """A process with Airflow imported, a folder with a user's two-line DAG file, and a logical date for one test."""

    process: subprocess.Popen[str]
    folder: Path
    log_file: Path
    log_position: int = 0
    logical_date: str = field(default_factory=_next_logical_date)

    def load(self, folder: Path | None = None) -> dict[str, Any]:
        """Return what Airflow reads from a DAG folder in this test's environment."""
        return self._request("load", folder=str(folder or self.folder))

    def run(
        self, dag_id: str = "prescore_churn", *, retry_at_once: bool = False, marked: str | None = None, **form: Any
    ) -> dict[str, Any]:
        """Run a DAG with `dag.test()` for this test's logical date; a second call clears and repeats that run.

        Tasks that match the pattern `marked` are marked as success. `form` holds the values of the trigger form.
        """
        return self._request(
            "run",
            folder=str(self.folder),
            dag_id=dag_id,
            logical_date=self.logical_date,
            retry_at_once=retry_at_once,
            marked=marked,
            form=form,
        )

    def run_task(self, task_id: str, map_index: int = -1, dag_id: str = "prescore_churn") -> dict[str, Any]:
        """Run one task of this test's run again."""
        return self._request(
            "run_task", dag_id=dag_id, logical_date=self.logical_date, task_id=task_id, map_index=map_index
        )

    def waits(self, polls: int) -> list[int]:
        """Return the seconds for which a task waits after each of several attempts that found the model busy."""
        seconds: list[int] = self._request("waits", polls=polls)["seconds"]
        return seconds

    def test_task(self, task_id: str, dag_id: str = "prescore_churn") -> None:
        """Run one task without a run, as `airflow tasks test` does."""
        self._request("test_task", dag_id=dag_id, task_id=task_id)

    def clear(self, task_id: str, map_index: int = -1, dag_id: str = "prescore_churn") -> dict[str, Any]:
        """Clear one task of this test's run without running it."""
        return self._request(
            "clear", dag_id=dag_id, logical_date=self.logical_date, task_id=task_id, map_index=map_index
        )

    def log(self) -> str:
        """Return what was logged since the last call."""
        # The process creates the file shortly after it starts.
        text = self.log_file.read_text() if self.log_file.exists() else ""
        new_text = text[self.log_position :]
        self.log_position = len(text)
        return new_text

    def _request(self, function: str, **arguments: Any) -> dict[str, Any]:
        environment = {name: os.environ.get(name) for name in VARIABLES}
        request = {"function": function, "environment": environment, **arguments}
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        response: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert "crash" not in response, response["crash"]
        return response


@contextmanager
def start_airflow(home: Path, *absent: str) -> Iterator[Airflow]:
    """Start a process that has imported nothing yet, and cannot import the absent modules."""
    log = home / "log"
    process = subprocess.Popen(
        [sys.executable, str(RUNNER), str(log), *absent],
        env=_environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Airflow(process, home / "dags", log)


def _environment(home: Path) -> dict[str, str]:
    return os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "GX_ANALYTICS_ENABLED": "False",
    }


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a migrated metadata database and a DAG folder."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    (home / "dags" / "predictions.py").write_text(DAG_FILE)
    command = [str(Path(sys.executable).with_name("airflow")), "db", "migrate"]
    subprocess.run(command, env=_environment(home), capture_output=True, check=True)
    return home


@pytest.fixture(scope="session")
def airflow_process(airflow_home: Path) -> Iterator[Airflow]:
    """One process for all tests."""
    with start_airflow(airflow_home) as airflow:
        yield airflow


@pytest.fixture
def airflow(airflow_process: Airflow) -> Airflow:
    """Airflow with a logical date and a log for this test alone."""
    airflow = Airflow(airflow_process.process, airflow_process.folder, airflow_process.log_file)
    airflow.log()
    return airflow


@pytest.fixture
def bare_airflow(airflow_home: Path, tmp_path: Path) -> Iterator[Airflow]:
    """Airflow in an environment without prescore's dependencies, whose tasks do their work in another one."""
    home = tmp_path / "bare"
    (home / "dags").mkdir(parents=True)
    (home / "dags" / "predictions.py").write_text(BARE_DAG_FILE)
    shutil.copy(airflow_home / "airflow.db", home)
    with start_airflow(home, *ABSENT) as airflow:
        yield airflow
