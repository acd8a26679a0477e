"""Airflow, in processes of its own."""

from __future__ import annotations

import itertools
import json
import os
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
OURS = ("PRESCORE_DATABASE_URL", "PRESCORE_PROJECT", "PRESCORE_STORE", *AWS)
DAG_FILE = "from prescore_dags import airflow_dags\n\nairflow_dags(groups=4)\n"
_days = itertools.count()


@dataclass
class Airflow:
    """A process that has Airflow imported, and a DAG folder with the two lines of a user."""

    process: subprocess.Popen[str]
    folder: Path
    log_file: Path
    read: int = 0
    when: str = field(default_factory=lambda: f"{datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(next(_days))}")

    def load(self, folder: Path | None = None) -> dict[str, Any]:
        """What Airflow finds in a DAG folder, seen from this test's environment."""
        return self._asked("load", folder=str(folder or self.folder))

    def run(self, dag_id: str = "prescore_churn", *, impatient: bool = False, **form: Any) -> dict[str, Any]:
        """The test's one run of a DAG, by `dag.test()`; a second call clears it. `form` is what its trigger chose."""
        chosen = {"dag_id": dag_id, "when": self.when, "impatient": impatient, "form": form}
        return self._asked("run", folder=str(self.folder), **chosen)

    def again(self, task_id: str, map_index: int = -1, dag_id: str = "prescore_churn") -> dict[str, Any]:
        """One task of that run once more."""
        return self._asked("again", dag_id=dag_id, when=self.when, task_id=task_id, map_index=map_index)

    def cleared(self, task_id: str, map_index: int = -1, dag_id: str = "prescore_churn") -> dict[str, Any]:
        """One task of that run is to run again, and has not begun."""
        return self._asked("cleared", dag_id=dag_id, when=self.when, task_id=task_id, map_index=map_index)

    def log(self) -> str:
        """What was logged since the last call."""
        # Its process may only be beginning.
        text = self.log_file.read_text() if self.log_file.exists() else ""
        new, self.read = text[self.read :], len(text)
        return new

    def _asked(self, what: str, **arguments: Any) -> dict[str, Any]:
        ours = {name: os.environ.get(name) for name in OURS}
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"what": what, "environment": ours, **arguments}), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert "crash" not in answer, answer["crash"]
        return answer


@contextmanager
def started(home: Path) -> Iterator[Airflow]:
    """A new process, that has imported nothing yet."""
    folder = home / "dags"
    log = home / "log"
    process = subprocess.Popen(
        [sys.executable, str(RUNNER), str(log)],
        env=_environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Airflow(process, folder, log)


def _environment(home: Path) -> dict[str, str]:
    return os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "GX_ANALYTICS_ENABLED": "False",
    }


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated metadata database and a DAG folder."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    (home / "dags" / "predictions.py").write_text(DAG_FILE)
    command = [str(Path(sys.executable).with_name("airflow")), "db", "migrate"]
    subprocess.run(command, env=_environment(home), capture_output=True, check=True)
    return home


@pytest.fixture(scope="session")
def airflow_process(airflow_home: Path) -> Iterator[Airflow]:
    """One process for all."""
    with started(airflow_home) as airflow:
        yield airflow


@pytest.fixture
def airflow(airflow_process: Airflow) -> Airflow:
    """Airflow, with a run and a log of this test's own."""
    mine = Airflow(airflow_process.process, airflow_process.folder, airflow_process.log_file)
    mine.log()
    return mine
