"""`python -m prescore_dags.standalone`: run Airflow on one machine, with a project's DAGs, on the project's Postgres.

For trials: every port is bound to this machine only. This process does not import Airflow. It starts Airflow's parts as
processes of their own, as `airflow standalone` does; but `airflow standalone` also serves logs to the whole network,
and does not report a part that ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.catalog.queries import query
from prescore.cli import context
from prescore.cli.errors import reporting_errors
from prescore.embedded import server
from prescore.errors import PortInUse, Transient
from prescore.project.project import Project, make_folder

DAG_FILE = "from prescore_dags import airflow_dags\n\nairflow_dags()\n"
# --skip-serve-logs: the API server reads the log files, and serving them would open a port to the network.
PARTS = {
    "api-server": [],
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}
_HEALTH_PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
_METADATA = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
# Generous, because a busy machine may take minutes for what takes seconds: only a part that hangs takes longer.
_START_TIMEOUT_SECONDS = 900.0
# Airflow itself reports a part as unhealthy after 30 seconds without a heartbeat.
_UNHEALTHY_TIMEOUT_SECONDS = 300.0
_STOP_TIMEOUT_SECONDS = 20.0
# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Parts = dict[str, subprocess.Popen[bytes]]


def main() -> None:
    """Start Airflow, print its address, and stop it on Ctrl-C, SIGTERM or SIGHUP, or when one of its parts ends."""
    _interrupt_on_stop_signals()
    # A signal that comes while Postgres starts must not end in a traceback either.
    with suppress(KeyboardInterrupt), reporting_errors():
        project = Project.find()
        port = int(os.environ.get("PORT", "8080"))
        home = project.root / ".prescore/airflow"
        make_folder(home)
        # Airflow writes its password there, and into its log, in files that every user could read.
        home.chmod(0o700)
        with _single_instance(home, port):
            _require_free(port)
            database = context.database()
            variables = {
                **_metadata_variables(project),
                **os.environ,
                **environment(project, home, database.url, port),
            }
            _run(project, home, port, variables)


def _interrupt_on_stop_signals() -> None:
    for stop_signal in _STOP_SIGNALS:
        # Under nohup, SIGHUP is ignored, and must stay so.
        if signal.getsignal(stop_signal) != signal.SIG_IGN:
            signal.signal(stop_signal, signal.default_int_handler)


def _run(project: Project, home: Path, port: int, variables: dict[str, str]) -> None:
    _print("Starting Airflow …")
    parts: Parts = {}
    try:
        with _open_log(home) as log:
            _migrate(variables, log)
            for part, options in PARTS.items():
                parts[part] = _start(variables, log, part, *options)
        _announce(parts, home, port)
        _watch(parts, project, home, port)
    except KeyboardInterrupt:
        # Printing fails if the terminal was closed.
        with suppress(OSError):
            _print("\nStopping Airflow …")
    finally:
        for stop_signal in _STOP_SIGNALS:
            signal.signal(stop_signal, signal.SIG_IGN)
        end(*parts.values())


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 # this is a command


@contextmanager
def _single_instance(home: Path, port: int) -> Iterator[None]:
    """Raise PortInUse while this project's Airflow is running, on any port: two would share one metadata database."""
    with (home / "standalone.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            address, _, process_id = lock.read().partition(" ")
            raise PortInUse(
                f"This project's Airflow is already running at {address}. Press Ctrl-C in its terminal to stop it, or "
                f"run `kill {process_id}`."
            ) from error
        lock.truncate(0)
        lock.write(f"http://localhost:{port} {os.getpid()}")
        lock.flush()
        yield


def _open_log(home: Path) -> IO[bytes]:
    """Open Airflow's log; the previous start's log is kept as standalone.log.1."""
    path = home / "standalone.log"
    with suppress(FileNotFoundError):
        path.replace(home / "standalone.log.1")
    path.touch(0o600)
    return path.open("ab")


def _start(variables: dict[str, str], log: IO[bytes], *command: str) -> subprocess.Popen[bytes]:
    airflow = str(Path(sys.executable).with_name("airflow"))
    return subprocess.Popen(  # noqa: S603 # no part of the command comes from outside
        [airflow, *command],
        env=variables,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """Let the kernel send SIGTERM to a part of Airflow when this process ends, even by SIGKILL. Only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _migrate(variables: dict[str, str], log: IO[bytes]) -> None:
    migration = _start(variables, log, "db", "migrate")
    try:
        if migration.wait() != 0:
            raise Transient(f"Airflow could not migrate its metadata database. See {log.name} for the reason.")
    finally:
        end(migration)


def environment(project: Project, home: Path, database_url: str, port: int) -> dict[str, str]:
    """Return the environment variables that configure Airflow and its DAGs."""
    address = f"http://localhost:{port}"
    programs = Path(sys.executable).parent
    search_path = os.environ.get("PATH", os.defpath)
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(_dags_folder(project, home)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "GX_ANALYTICS_ENABLED": "False",
        "PATH": f"{programs}{os.pathsep}{search_path}",
        "PRESCORE_DATABASE_URL": database_url,
        "PRESCORE_PROJECT": str(project.root),
    }


def _metadata_variables(project: Project) -> dict[str, str]:
    """Return variables that name a metadata database on the embedded Postgres, unless the environment names one.

    Airflow's default is SQLite, on which a trigger fails with a lock timeout while the DAGs are being parsed. Raises
    Mistake or DatabaseUnavailable when the embedded Postgres cannot be started.
    """
    if _METADATA in os.environ:
        return {}
    url = server.start(project)
    postgres = Database(url, embedded=True)
    with postgres.connect() as connection:
        row = Catalog(connection).one("airflow_database_exists")
        if not row["present"]:
            connection.execute(query("airflow_database_create"))
    metadata_url = postgres.sqlalchemy_url.replace("/postgres?", "/airflow?", 1)
    return {
        _METADATA: metadata_url,
        f"{_METADATA}_ASYNC": metadata_url,
    }


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUse(
                f"Port {port} is not available: {error.strerror}. Choose another with PORT={port + 1}."
            ) from error


def _dags_folder(project: Project, home: Path) -> Path:
    """Return the project's own DAG folder, or else a new one with a two-line DAG file."""
    own_folder = project.root / "dags"
    if own_folder.is_dir():
        return own_folder
    folder = home / "dags"
    make_folder(folder)
    (folder / "predictions.py").write_text(DAG_FILE)
    return folder


def _announce(parts: Parts, home: Path, port: int) -> None:
    """Wait until Airflow is healthy, then print its address; raise Transient if it does not come up in time."""
    log = home / "standalone.log"
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while _unhealthy_parts(port):
        if _ended_parts(parts) or time.monotonic() > deadline:
            raise Transient(f"Airflow did not come up. See {log} for the reason.")
        time.sleep(0.5)
    passwords_file = home / "simple_auth_manager_passwords.json.generated"
    password = json.loads(passwords_file.read_text())["admin"]
    _print(
        f"Airflow is ready: http://localhost:{port}, user admin, password {password}\n"
        f"Its log is {log}. Press Ctrl-C to stop it; published versions stay available."
    )


def _watch(parts: Parts, project: Project, home: Path, port: int) -> None:
    """Block while Airflow is healthy; raise Transient when a part ends or stays unhealthy for too long."""
    last_healthy = time.monotonic()
    while True:
        if ended := _ended_parts(parts):
            raise Transient(_failure_message(f"ended: {ended}", project, home))
        unhealthy = _unhealthy_parts(port)
        if not unhealthy:
            last_healthy = time.monotonic()
        elif _is_metadata_stopped(project):
            raise Transient(_failure_message(f"is unhealthy: {unhealthy}", project, home))
        elif time.monotonic() - last_healthy > _UNHEALTHY_TIMEOUT_SECONDS:
            problem = f"was unhealthy for {_UNHEALTHY_TIMEOUT_SECONDS:.0f} s: {unhealthy}"
            raise Transient(_failure_message(problem, project, home))
        time.sleep(1)


def _failure_message(problem: str, project: Project, home: Path) -> str:
    if _is_metadata_stopped(project):
        reason = "The Postgres that holds its metadata was stopped."
    else:
        log = home / "standalone.log"
        reason = f"See {log} for the reason."
    return (
        f"A part of Airflow {problem}. {reason} Airflow was stopped, because it does not work without that part. "
        "Start it again to resume unfinished runs. Published versions stay available."
    )


def _is_metadata_stopped(project: Project) -> bool:
    """Return whether the embedded Postgres has Airflow's metadata and does not run."""
    return _METADATA not in os.environ and server.running(server.folder(project)) is None


def _ended_parts(parts: Parts) -> str:
    """Return the names of the parts whose processes have ended, "" if none has."""
    return ", ".join(name for name, process in parts.items() if process.poll() is not None)


def _unhealthy_parts(port: int) -> str:
    """Return the names of the parts that the API server does not report as healthy, "" if there are none."""
    health = _get_json(f"http://127.0.0.1:{port}/api/v2/monitor/health") or {}
    unhealthy = []
    for part in _HEALTH_PARTS:
        status = health.get(part, {}).get("status")
        if status != "healthy":
            unhealthy.append(part)
    return ", ".join(unhealthy)


def _get_json(url: str) -> Any:
    """Return the JSON content at an HTTP URL, or None when there is no answer."""
    with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 # an http URL
        return json.load(response)
    return None


def end(*processes: subprocess.Popen[bytes]) -> None:
    """Stop processes that each lead a session of their own, together with everything that they started."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
