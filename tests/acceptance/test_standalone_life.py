"""How `python -m prescore_dags.standalone` lives and ends: who else may look, and what it says when a part is gone."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from acceptance.fix_standalone import Airflow, free_port, until
from prescore.embedded import server
from prescore.project.project import Project

PRESCORE = str(Path(sys.executable).with_name("prescore"))


def _heed_hangups() -> None:
    """As in a terminal, also when the tests themselves run without one."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def _started(root: Path) -> Iterator[subprocess.Popen[str]]:
    """On the embedded Postgres of a project, which is stopped in the end."""
    known = {name: value for name, value in os.environ.items() if name != "PRESCORE_DATABASE_URL"}
    process = subprocess.Popen(
        [sys.executable, "-m", "prescore_dags.standalone"],
        cwd=root,
        env=known | {"PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_hangups,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)
        server.stop(Project.find(root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "prescore.toml").write_text('database = "embedded"\n')
    return tmp_path


def _listening(process: psutil.Process) -> set[Any]:
    try:
        return {c.laddr for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    except psutil.NoSuchProcess:  # a task that has ended meanwhile
        return set()


def test_nobody_but_its_user_may_look(standalone: Airflow) -> None:
    processes = psutil.Process(standalone.process.pid).children(recursive=True)
    heard = {address for process in processes for address in _listening(process)}
    assert {address.ip for address in heard} == {"127.0.0.1"}
    home = standalone.project.root / ".prescore/airflow"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "standalone.log")] == [0o700, 0o600]


def test_a_second_one_is_told_of_the_first(standalone: Airflow) -> None:
    command = [sys.executable, "-m", "prescore_dags.standalone"]
    second = subprocess.run(command, cwd=standalone.project.root, capture_output=True, text=True, check=False)
    assert second.returncode == 3
    told = f"This project's Airflow runs already, at {standalone.address}. To end it, press Ctrl-C in its terminal, or "
    assert second.stderr == f"prescore: {told}`kill {standalone.process.pid}`.\n"
    assert standalone.client.get("/monitor/health").status_code == 200


def test_it_ends_when_its_postgres_does_and_says_so(root: Path) -> None:
    (root / ".prescore/airflow").mkdir(parents=True)
    (root / ".prescore/airflow/standalone.log").write_text("what went wrong the last time\n")
    with _started(root) as process:
        assert process.stdout
        assert next((line for line in process.stdout if "Airflow is ready" in line), None)
        parts = psutil.Process(process.pid).children(recursive=True)
        stopped = subprocess.run([PRESCORE, "db", "stop"], cwd=root, capture_output=True, text=True, check=True)
        assert stopped.stdout.startswith("stopped, and with it sessions of others: ")
        assert " in airflow" in stopped.stdout
        _, told = process.communicate(timeout=180)
    assert (process.returncode, "the Postgres that it works with was stopped" in told) == (3, True), told
    assert not [part for part in parts if part.is_running() and part.status() != psutil.STATUS_ZOMBIE]
    assert (root / ".prescore/airflow/standalone.log.1").read_text() == "what went wrong the last time\n"


def test_a_closed_terminal_ends_it(root: Path) -> None:
    with _started(root) as process:
        this = psutil.Process(process.pid)
        airflow = until(
            lambda: [part for part in this.children() if "airflow" in " ".join(part.cmdline())], "it starts"
        )
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not [part for part in airflow if part.is_running() and part.status() != psutil.STATUS_ZOMBIE]
