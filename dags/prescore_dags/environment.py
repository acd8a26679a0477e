"""The environment that does the work of a task: the task's own process, or the Python of another environment.

Airflow's environment then needs only the package `prescore` itself, without its dependencies. Task names, arguments and
results are those of `prescore.run.worker`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version as release
from typing import IO, Any, cast
from urllib.parse import quote, urlencode

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

from prescore.errors import Mistake, PrescoreError, Terminal

URL_VARIABLE = "PRESCORE_DATABASE_URL"
ACTOR_VARIABLE = "PRESCORE_ACTOR"
_HOOK_OPTIONS = {
    "aws_conn_id",
    "azure_conn_id",
    "cluster-identifier",
    "cursor",
    "iam",
    "redshift",
    "redshift-serverless",
    "sqlalchemy_query",
    "sqlalchemy_scheme",
    "workgroup-name",
}
"""Extras of a connection that Airflow's hook for Postgres does not pass to libpq either."""
_WORKER = ("-I", "-m", "prescore.run.worker")
_STOP_SECONDS = 10.0
_log = logging.getLogger("prescore")


@dataclass(frozen=True)
class Environment:
    """Where tasks do their work, and the Airflow connections that they work with.

    `python` is the interpreter of an environment with prescore's extra `jobs`; None is the task's own process.
    `connections` maps environment variables to the ids of connections, whose URLs the work finds in these variables.
    """

    python: str | None = None
    connections: Mapping[str, str] = field(default_factory=dict)

    def call(self, task: str, *, actor: str | None = None, **arguments: Any) -> Any:
        """Do the work of a task, such as "tasks.score", and return its result.

        `actor` is the user that the catalog's history records. Raises PrescoreError, AirflowFailException instead of
        those errors that a retry cannot fix, and RuntimeError for anything else that happens in another environment.
        """
        variables = self._variables(actor)
        with airflow_errors():
            if self.python is None:
                return _call_here(task, arguments, variables)
            return _call_worker(self.python, task, arguments, variables)

    def _variables(self, actor: str | None) -> dict[str, str]:
        variables = {name: _url(connection_id) for name, connection_id in self.connections.items()}
        if actor is not None:
            variables[ACTOR_VARIABLE] = actor
        return variables


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise terminal errors as AirflowFailException, which Airflow does not retry; it retries all others."""
    try:
        yield
    except Terminal as error:
        raise AirflowFailException(str(error)) from error


def _url(connection_id: str) -> str:
    """Return an Airflow connection as a URL that libpq and SQLAlchemy understand; raise Mistake if there is none.

    Hosts and ports are parameters, because a connection's host may be a socket's folder or a list of hosts.
    """
    try:
        connection = BaseHook.get_connection(connection_id)
    except AirflowNotFoundException as error:
        raise Mistake(
            f"Airflow has no connection {connection_id!r}. Create it, or pass another conn_id to airflow_dags."
        ) from error
    if connection.conn_type not in ("postgres", "postgresql"):
        return str(connection.get_uri())
    user = quote(connection.login or "", safe="")
    password = "" if connection.password is None else f":{quote(connection.password, safe='')}"
    parameters = {"host": connection.host, "port": connection.port, **connection.extra_dejson}
    given = {name: value for name, value in parameters.items() if value is not None and name not in _HOOK_OPTIONS}
    login = f"{user}{password}@" if user or password else ""
    return f"postgresql://{login}/{quote(connection.schema or '', safe='')}?{urlencode(given, quote_via=quote)}"


def _call_here(task: str, arguments: dict[str, Any], variables: dict[str, str]) -> Any:
    from prescore.run import worker

    with _environment_variables(variables):
        return worker.run(task, arguments)


@contextmanager
def _environment_variables(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _call_worker(
    python: str,
    task: str,
    arguments: dict[str, Any],
    variables: dict[str, str],
) -> Any:
    request = json.dumps({"task": task, "arguments": arguments, "release": release("prescore")})
    response = _exchange(python, request, variables)
    error = response.get("error")
    if error is None:
        return response["result"]
    raise _error_class(error["code"])(error["message"])


def _error_class(code: str) -> type[Exception]:
    """Return the class of prescore's errors that has a code; RuntimeError for an error that is none of prescore's."""
    classes: list[type[PrescoreError]] = [PrescoreError]
    for known in classes:
        if known("").code == code:
            return known
        classes += known.__subclasses__()
    return RuntimeError


def _exchange(python: str, request: str, variables: dict[str, str]) -> dict[str, Any]:
    """Run the worker on a request, log what it logs, and return its response; end it if this task is ended."""
    with _worker(python, variables) as process:
        stdin, stdout, stderr = (cast("IO[str]", pipe) for pipe in (process.stdin, process.stdout, process.stderr))
        output: list[str] = []
        reader = threading.Thread(target=lambda: output.append(stdout.read()), daemon=True)
        reader.start()
        # A worker that ends at once, for want of prescore for example, does not read its request.
        with suppress(BrokenPipeError):
            # The pipe stays open: the worker ends when it is closed, as it is if this process is killed.
            stdin.write(request + "\n")
            stdin.flush()
        lines = [_forward(line.rstrip("\n")) for line in stderr]
        code = process.wait()
        reader.join()
    if code != 0 or not output[0]:
        raise _death(python, code, lines)
    response: dict[str, Any] = json.loads(output[0])
    return response


@contextmanager
def _worker(python: str, variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    try:
        process = subprocess.Popen(  # noqa: S603 # the author of the DAG file names the program
            [python, *_WORKER],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except OSError as error:
        raise Mistake(
            f"Cannot start {python}: {error.strerror}. Pass the Python of an environment with prescore[jobs] to "
            "airflow_dags(python=…); it must exist on every worker."
        ) from error
    # Closing the pipe writes what a worker that ended at once did not read.
    with suppress(BrokenPipeError), process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                _kill_after(process, _STOP_SECONDS)


def _kill_after(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()


def _forward(line: str) -> str:
    """Log a line of the worker's standard error in the task's log, and return its text."""
    try:
        record = json.loads(line)
        level, message = record["level"], record["message"]
    except (ValueError, TypeError, KeyError):
        # What a library printed.
        level, message = logging.INFO, line
    _log.log(level, "%s", message)
    return str(message)


def _death(python: str, code: int, lines: list[str]) -> Exception:
    """Return the error for a worker that ended without a response: only after a signal may a retry help."""
    last = lines[-1] if lines else "it printed nothing"
    if code < 0:
        name = signal.Signals(-code).name
        cause = "The system may have run out of memory. " if name == "SIGKILL" else ""
        return AirflowException(f"{python} was ended by {name}. {cause}The last line of its output: {last}")
    return Mistake(
        f"{python} ended with exit code {code} and without a result. Does its environment have prescore[jobs]? "
        f"The last line of its output: {last}"
    )
