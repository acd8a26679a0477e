"""`python -m prescore_dags.standalone`: run Airflow on one machine, with a project's DAGs, on the project's Postgres.

For trials: every port is bound to this machine only. This process does not import Airflow. It starts Airflow's parts as
processes of their own, as `airflow standalone` does; but `airflow standalone` also serves logs to the whole network,
and does not report a part that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from prescore.cli import context
from prescore.cli.errors import reporting_errors
from prescore.embedded import server
from prescore.errors import PortInUse, Transient
from prescore.project.project import Project, make_folder
from prescore_dags import configuration, processes
from prescore_dags.processes import Parts

# Generous, because a busy machine may take minutes for what takes seconds: only a part that hangs takes longer.
_START_TIMEOUT_SECONDS = 900.0
# Airflow itself reports a part as unhealthy after 30 seconds without a heartbeat.
_UNHEALTHY_TIMEOUT_SECONDS = 300.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
                **configuration.metadata_variables(project),
                **os.environ,
                **configuration.environment(project, home, database.url, port),
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
            processes.migrate(variables, log)
            for part, options in processes.PARTS.items():
                parts[part] = processes.start(variables, log, part, *options)
        _announce(parts, home, port)
        _watch(parts, project, home, port)
    except KeyboardInterrupt:
        # Printing fails if the terminal was closed.
        with suppress(OSError):
            _print("\nStopping Airflow …")
    finally:
        for stop_signal in _STOP_SIGNALS:
            signal.signal(stop_signal, signal.SIG_IGN)
        processes.end(*parts.values())


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


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUse(
                f"Port {port} is not available: {error.strerror}. Choose another with PORT={port + 1}."
            ) from error


def _announce(parts: Parts, home: Path, port: int) -> None:
    """Wait until Airflow is healthy, then print its address; raise Transient if it does not come up in time."""
    log = home / "standalone.log"
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while processes.unhealthy(port):
        if processes.ended(parts) or time.monotonic() > deadline:
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
        if ended := processes.ended(parts):
            raise Transient(_failure_message(f"ended: {ended}", project, home))
        unhealthy = processes.unhealthy(port)
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
    return configuration.METADATA not in os.environ and server.running(server.folder(project)) is None


if __name__ == "__main__":
    main()
