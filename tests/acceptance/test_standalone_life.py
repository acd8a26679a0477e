"""Isolation and shutdown of `python -m prescore_dags.standalone`, and its messages when a part ends."""

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

from acceptance.fix_standalone import HANG_SECONDS, Airflow, free_port, until
from prescore.catalog import migrations
from prescore.catalog.database import Database
from prescore.embedded import server
from prescore.project.project import Project

PRESCORE = str(Path(sys.executable).with_name("prescore"))


def _restore_hangups() -> None:
    """Let SIGHUP have its default effect, also if the tests themselves run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def _running(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Run it on the embedded Postgres of a project, which is stopped at the end."""
    variables = {name: value for name, value in os.environ.items() if name != "PRESCORE_DATABASE_URL"}
    process = subprocess.Popen(
        [sys.executable, "-m", "prescore_dags.standalone"],
        cwd=root,
        env=variables | {"PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_restore_hangups,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=HANG_SECONDS)
        server.stop(Project.find(root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "prescore.toml").write_text('database = "embedded"\n')
    return tmp_path


def _listening(process: psutil.Process) -> set[Any]:
    try:
        return {c.laddr for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    except psutil.NoSuchProcess:
        # The process of a task that has just ended.
        return set()


def test_ports_and_files_are_closed_to_other_machines_and_users(standalone: Airflow) -> None:
    processes = psutil.Process(standalone.process.pid).children(recursive=True)
    addresses = {address for process in processes for address in _listening(process)}
    assert {address.ip for address in addresses} == {"127.0.0.1"}
    home = standalone.project.root / ".prescore/airflow"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "standalone.log")] == [0o700, 0o600]


def test_a_second_start_reports_the_running_one(standalone: Airflow) -> None:
    command = [sys.executable, "-m", "prescore_dags.standalone"]
    second = subprocess.run(command, cwd=standalone.project.root, capture_output=True, text=True, check=False)
    assert second.returncode == 3
    assert second.stderr == (
        f"prescore: This project's Airflow is already running at {standalone.address}. Press Ctrl-C in its terminal "
        f"to stop it, or run `kill {standalone.process.pid}`.\n"
    )
    assert standalone.client.get("/monitor/health").status_code == 200


def test_it_stops_with_a_reason_when_its_postgres_is_stopped(root: Path) -> None:
    (root / ".prescore/airflow").mkdir(parents=True)
    (root / ".prescore/airflow/standalone.log").write_text("the log of the last start\n")
    with _running(root) as process:
        assert process.stdout
        assert next((line for line in process.stdout if "Airflow is ready" in line), None)
        parts = psutil.Process(process.pid).children(recursive=True)
        stopped = subprocess.run([PRESCORE, "db", "stop"], cwd=root, capture_output=True, text=True, check=True)
        assert stopped.stdout.startswith("Stopped. This closed ")
        assert "(database airflow)" in stopped.stdout
        _, stderr = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 3
    assert "The Postgres that holds its metadata was stopped." in stderr
    assert all(map(_has_ended, parts))
    assert (root / ".prescore/airflow/standalone.log.1").read_text() == "the log of the last start\n"


def test_starting_it_creates_no_catalog(root: Path) -> None:
    with _running(root) as process:
        assert process.stdout
        assert next((line for line in process.stdout if "Airflow is ready" in line), None)
        url = server.running(server.folder(Project.find(root)))
        assert url
        with Database(url).connect() as connection:
            assert not migrations.exists(connection)


def _airflow_parts(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the children that run the program `airflow`, wherever it is installed."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if any(Path(word).name == "airflow" for word in _command(child)[:2])]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_closing_the_terminal_stops_it(root: Path) -> None:
    with _running(root) as process:
        parts = until(lambda: _airflow_parts(process), "it starts")
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert all(map(_has_ended, parts))


def test_closing_the_terminal_while_postgres_starts_stops_it(root: Path) -> None:
    with _running(root) as process:
        standalone = psutil.Process(process.pid)
        until(lambda: process.poll() is not None or standalone.children(), "Postgres starts")
        process.send_signal(signal.SIGHUP)
        _, stderr = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, stderr) == (0, "")


def test_airflow_ends_if_it_is_killed(root: Path) -> None:
    with _running(root) as process:
        assert process.stdout
        assert next((line for line in process.stdout if "Airflow is ready" in line), None)
        address = psutil.Process(process.pid)
        parts = [*_airflow_parts(process), *address.children(recursive=True)]
        parts = [part for part in parts if "postgres" not in part.name()]
        assert len(parts) >= 4
        process.kill()
        until(lambda: all(map(_has_ended, parts)), "all of Airflow has ended", lambda: parts)
    # Another one can be started at once.
    with _running(root) as process:
        assert process.stdout
        assert next((line for line in process.stdout if "Airflow is ready" in line), None)
