"""`python -m prescore_dags.standalone`: Airflow on one machine, with a project's DAGs, on the project's Postgres.

For trying things out: it listens to this machine only. Nothing here imports Airflow: its parts are processes of their
own, started one by one as `airflow standalone` does, which would offer logs to the whole network and say nothing of a
part that ends.
"""

from __future__ import annotations

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
PARTS = {
    "api-server": [],
    # The API server reads the files; these would be served to the network.
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}
_HEALTH = ("metadatabase", "scheduler", "dag_processor", "triggerer")
_METADATA = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
# Seconds to come up.
_PATIENCE = 180.0
# Seconds without a sign of life; Airflow itself takes half a minute for long.
_SILENCE = 90.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Parts = dict[str, subprocess.Popen[bytes]]


def main() -> None:
    """Start Airflow, say where it is, and end it with Ctrl-C, when asked to end, or when one of its parts ends."""
    for asked in _ENDINGS:
        # Nohup wants it to outlive its terminal.
        if signal.getsignal(asked) != signal.SIG_IGN:
            signal.signal(asked, signal.default_int_handler)
    with reporting_errors():
        project = Project.find()
        home, port = project.root / ".prescore/airflow", int(os.environ.get("PORT", "8080"))
        make_folder(home)
        # Airflow writes its password there, and into its log, for everybody to read.
        home.chmod(0o700)
        with _the_only_one(home, port):
            _require_free(port)
            database = context.database()
            _run(project, home, port, _metadata(project) | os.environ | environment(project, home, database.url, port))


def _run(project: Project, home: Path, port: int, known: dict[str, str]) -> None:
    _say("Starting Airflow …")
    parts: Parts = {}
    try:
        with _log(home) as log:
            _migrate(known, log)
            for part, options in PARTS.items():
                parts[part] = _started(known, log, part, *options)
        _tell(parts, home, port)
        _watch(parts, project, home, port)
    except KeyboardInterrupt:
        # Of a terminal that was closed.
        with suppress(OSError):
            _say("\nStopping Airflow …")
    finally:
        for asked in _ENDINGS:
            signal.signal(asked, signal.SIG_IGN)
        end(*parts.values())


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 # this is a command


@contextmanager
def _the_only_one(home: Path, port: int) -> Iterator[None]:
    """Raises PortInUse while this project's Airflow runs, at whichever port: two would share their metadata."""
    with (home / "standalone.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            where, _, process = lock.read().partition(" ")
            raise PortInUse(
                f"This project's Airflow runs already, at {where}. To end it, press Ctrl-C in its terminal, or "
                f"`kill {process}`."
            ) from error
        lock.truncate(0)
        lock.write(f"http://localhost:{port} {os.getpid()}")
        lock.flush()
        yield


def _log(home: Path) -> IO[bytes]:
    """Airflow's log; the one of the start before is kept beside it, as standalone.log.1."""
    path = home / "standalone.log"
    with suppress(FileNotFoundError):
        path.replace(home / "standalone.log.1")
    path.touch(0o600)
    return path.open("ab")


def _started(known: dict[str, str], log: IO[bytes], *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 # nothing of it comes from elsewhere
        [str(Path(sys.executable).with_name("airflow")), *command],
        env=known,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _migrate(known: dict[str, str], log: IO[bytes]) -> None:
    migrating = _started(known, log, "db", "migrate")
    try:
        if migrating.wait() != 0:
            raise Transient(f"Airflow's metadata could not be brought up to date; {log.name} says why.")
    finally:
        end(migrating)


def environment(project: Project, home: Path, database_url: str, port: int) -> dict[str, str]:
    """What Airflow is to know, as its environment."""
    address = f"http://localhost:{port}"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(_dags(project, home)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "GX_ANALYTICS_ENABLED": "False",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PRESCORE_DATABASE_URL": database_url,
        "PRESCORE_PROJECT": str(project.root),
    }


def _metadata(project: Project) -> dict[str, str]:
    """A database for Airflow itself, unless the environment names one; raises Mistake or DatabaseUnavailable.

    On SQLite, Airflow's default, a trigger while the DAGs are being read waited for a lock until it failed.
    """
    if _METADATA in os.environ:
        return {}
    postgres = Database(server.start(project), embedded=True)
    with postgres.connect() as connection:
        if not Catalog(connection).one("airflow_database_exists")["present"]:
            connection.execute(query("airflow_database_create"))
    url = postgres.sqlalchemy_url.replace("/postgres?", "/airflow?", 1)
    return {_METADATA: url, f"{_METADATA}_ASYNC": url}


def _require_free(port: int) -> None:
    with socket.socket() as mine:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            mine.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUse(f"Port {port} is taken: {error.strerror}. Name another: PORT={port + 1}.") from error


def _dags(project: Project, home: Path) -> Path:
    """The project's own DAG folder, or one with the two lines of a DAG file."""
    own = project.root / "dags"
    if own.is_dir():
        return own
    made = home / "dags"
    make_folder(made)
    (made / "predictions.py").write_text(DAG_FILE)
    return made


def _tell(parts: Parts, home: Path, port: int) -> None:
    """Wait until it answers and knows its DAGs, then say where it is; raises Transient when it does not come up."""
    log, until = home / "standalone.log", time.monotonic() + _PATIENCE
    while _unwell(port):
        if _ended(parts) or time.monotonic() > until:
            raise Transient(f"Airflow did not come up; {log} says why.")
        time.sleep(0.5)
    passwords = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
    _say(
        f"Airflow is ready: http://localhost:{port}, user admin, password {passwords['admin']}\n"
        f"Its log is {log}. Ctrl-C ends it; what is published stays served."
    )


def _watch(parts: Parts, project: Project, home: Path, port: int) -> None:
    """For as long as all is well; raises Transient when a part has ended, or gives no sign of life for long."""
    well = time.monotonic()
    while not (gone := _ended(parts)):
        if not (unwell := _unwell(port)):
            well = time.monotonic()
        elif time.monotonic() - well > _SILENCE:
            raise Transient(_told(f"gave no sign of life for {_SILENCE:.0f} s: {unwell}", project, home))
        time.sleep(1)
    raise Transient(_told(f"ended by itself: {gone}", project, home))


def _told(what: str, project: Project, home: Path) -> str:
    stopped = _METADATA not in os.environ and server.running(server.folder(project)) is None
    why = "the Postgres that it works with was stopped" if stopped else f"{home / 'standalone.log'} says why"
    return (
        f"A part of Airflow {what}; {why}. Airflow was ended: without that part it would do no more. "
        "Start it again; what was not finished goes on. What is published is still there."
    )


def _ended(parts: Parts) -> str:
    return ", ".join(name for name, process in parts.items() if process.poll() is not None)


def _unwell(port: int) -> str:
    """The parts that are not known to be well, as text."""
    health = _asked(f"http://127.0.0.1:{port}/api/v2/monitor/health") or {}
    return ", ".join(part for part in _HEALTH if health.get(part, {}).get("status") != "healthy")


def _asked(url: str) -> Any:
    with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 # http, above
        return json.load(answer)
    return None


def end(*processes: subprocess.Popen[bytes]) -> None:
    """End processes that each lead a session of their own, and all that they started."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    until = time.monotonic() + 20
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
