"""postmaster.pid, the file that Postgres writes into its data folder, and how much of it is still true.

The file outlives its server, and is copied or moved together with the folder.
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from prescore.errors import Mistake

_SOCKET = ".s.PGSQL.5432"
# macOS has the lowest limit.
_LONGEST_SOCKET_BYTES = 103


@dataclass(frozen=True)
class Server:
    """The server that wrote the file: its process id, data folder and socket folder, and whether it was ready."""

    process: int
    data: Path
    sockets: Path
    ready: bool


def read(data: Path) -> Server | None:
    """Return the server that a data folder's file describes, or None when there is no readable file.

    The file's lines are process, folder, start time, port, socket folder, address, shared memory, status (PostgreSQL,
    src/include/utils/pidfile.h).
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return Server(
            process=int(lines[0]),
            data=Path(lines[1]),
            sockets=Path(lines[4] or lines[1]),
            ready=ready,
        )
    except (OSError, IndexError, ValueError):
        return None


def refuse_copy(server: Server, data: Path) -> None:
    """Raise Mistake when the file was copied along with the folder: the server runs on another folder."""
    if _is_same_folder(server, data) is False:
        raise Mistake(
            f"{data} was copied from {server.data} while the server there was running. Such a copy mixes states of "
            "different moments, and cannot be relied on. Stop the server there (`prescore db stop`) and copy the "
            f"project again, or remove {data} to begin with an empty database."
        )


def socket_folder(server: Server, data: Path) -> Path:
    """Return the folder of the server's socket. A socket inside the data folder has moved together with it."""
    was_inside = server.sockets == server.data
    was_moved = _is_same_folder(server, data) is None
    if not (was_inside and was_moved):
        return server.sockets
    if not is_short_enough(data):
        raise Mistake(
            f"{data.parent.parent} was moved while its embedded Postgres was running, and the path is now too long to "
            f"reach it. Stop it with `kill -INT {server.process}`; the next command starts it again."
        )
    return data


def _is_same_folder(server: Server, data: Path) -> bool | None:
    """Return whether the server's data folder is this one; None when that folder no longer exists."""
    try:
        return server.data.samefile(data)
    except PermissionError:
        return False
    except OSError:
        return None


def is_short_enough(folder: Path) -> bool:
    """Return whether the path of a socket in this folder is within the system's limit."""
    path = os.fsencode(folder / _SOCKET)
    return len(path) <= _LONGEST_SOCKET_BYTES


def is_private(folder: Path, user: int) -> bool:
    """Return whether this is a folder, and not a link to one, that only one user and root can enter."""
    status = folder.lstat()
    is_folder = stat.S_ISDIR(status.st_mode)
    mode = stat.S_IMODE(status.st_mode)
    return is_folder and mode == 0o700 and status.st_uid == user


def accepts_connections(sockets: Path) -> bool:
    """Return whether a server accepts connections on the socket in this folder."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(sockets / _SOCKET))
        except OSError:
            return False
    return True


def remove_stale(data: Path) -> None:
    """Remove the lock files of a server that no longer runs, even if another process has its process id by now.

    Postgres itself only checks whether a process with that id exists, and would take a zombie, or a process that got
    the id after a restart, for the server. A server that was moved while it ran leaves its socket's lock file behind.
    """
    locks = [data / "postmaster.pid", data / f"{_SOCKET}.lock"]
    server = read(data)
    if server is not None and server.sockets != data:
        locks.append(server.sockets / f"{_SOCKET}.lock")
    for lock in locks:
        process = _locking_process(lock)
        if process is not None and _is_other_process(process, data):
            lock.unlink()


def _locking_process(lock: Path) -> int | None:
    try:
        return int(lock.read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None


def _is_other_process(process: int, data: Path) -> bool:
    """Return whether a process is certain not to be the server on a data folder."""
    # psutil is installed with the extra `embedded`, like the wheel.
    import psutil

    try:
        candidate = psutil.Process(process)
        if candidate.status() == psutil.STATUS_ZOMBIE or candidate.name() != "postgres":
            return True
        return not Path(candidate.cwd()).samefile(data)
    # There is no such process, which Postgres notices by itself, or its details are not ours to see.
    except (psutil.Error, OSError, ValueError):
        return False
