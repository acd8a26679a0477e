"""`python -m prescore_dags.standalone`: Airflow on one machine, with a project's DAGs, on the project's Postgres.

For trying things out: it listens to this machine only. Nothing here imports Airflow: it runs in processes of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from prescore import embedded, opening
from prescore.cli_errors import told
from prescore.contract.catalog import Catalog
from prescore.contract.database import Database
from prescore.contract.errors import PortTaken, Transient
from prescore.contract.project import Project, make_folder
from prescore.contract.queries import query

DAG_FILE = "from prescore_dags import airflow_dags\n\nairflow_dags()\n"
_METADATA = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_PATIENCE = 180.0  # seconds


def main() -> None:
    """Start Airflow, say where it is, and end it with Ctrl-C, or when asked to end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with told():
        project = Project.find()
        database = opening.database()
        database.migrate()
        home, port = project.root / ".prescore/airflow", int(os.environ.get("PORT", "8080"))
        _require_free(port)
        make_folder(home)
        print("Starting Airflow …", flush=True)  # noqa: T201 # this is a command
        with (home / "standalone.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 # nothing of it comes from elsewhere
                [str(Path(sys.executable).with_name("airflow")), "standalone"],
                env=_metadata(project) | os.environ | environment(project, home, database.url, port),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _tell(process, home, port)
            process.wait()
        except KeyboardInterrupt:
            print("\nStopping Airflow …", flush=True)  # noqa: T201
        finally:
            end(process)


def environment(project: Project, home: Path, database_url: str, port: int) -> dict[str, str]:
    """What Airflow is to know, as its environment."""
    address = f"http://localhost:{port}"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(_dags(project, home)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "GX_ANALYTICS_ENABLED": "False",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PRESCORE_DATABASE_URL": database_url,
        "PRESCORE_PROJECT": str(project.root),
    }


def _metadata(project: Project) -> dict[str, str]:
    """A database for Airflow itself, unless the environment names one; raises Mistake or DatabaseAway.

    On SQLite, Airflow's default, a trigger while the DAGs are being read waited for a lock until it failed.
    """
    if _METADATA in os.environ:
        return {}
    server = Database(embedded.start(project), embedded=True)
    with server.connect() as connection:
        if not Catalog(connection).one("airflow_database_there")["there"]:
            connection.execute(query("airflow_database_create"))
    url = server.sqlalchemy_url.replace("/postgres?", "/airflow?", 1)
    return {_METADATA: url, f"{_METADATA}_ASYNC": url}


def _require_free(port: int) -> None:
    with socket.socket() as mine:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            mine.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(f"Port {port} is taken: {error.strerror}. Name another: PORT={port + 1}.") from error


def _dags(project: Project, home: Path) -> Path:
    """The project's own DAG folder, or one with the two lines of a DAG file."""
    own = project.root / "dags"
    if own.is_dir():
        return own
    made = home / "dags"
    make_folder(made)
    (made / "predictions.py").write_text(DAG_FILE)
    return made


def _tell(process: subprocess.Popen[bytes], home: Path, port: int) -> None:
    """Wait until it answers and knows its DAGs, then say where it is; raises Transient when it does not come up."""
    log, until = home / "standalone.log", time.monotonic() + _PATIENCE
    while not _ready(port):
        if process.poll() is not None or time.monotonic() > until:
            raise Transient(f"Airflow did not come up; {log} says why.")
        time.sleep(0.5)
    passwords = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
    print(  # noqa: T201
        f"Airflow is ready: http://localhost:{port}, user admin, password {passwords['admin']}\n"
        f"Its log is {log}. Ctrl-C ends it; what is published stays served.",
        flush=True,
    )


def _ready(port: int) -> bool:
    health = _asked(f"http://127.0.0.1:{port}/api/v2/monitor/health")
    parts = ("metadatabase", "scheduler", "dag_processor")
    return health is not None and all(health[part]["status"] == "healthy" for part in parts)


def _asked(url: str) -> Any:
    with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 # http, above
        return json.load(answer)
    return None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session of its own, and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    main()
