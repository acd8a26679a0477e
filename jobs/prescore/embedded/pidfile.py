"""What postmaster.pid says of the server on a data folder, and how much of it is true by now.

The file outlives its server, and goes along when the folder is copied or moved.
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from prescore.errors import Mistake

_SOCKET = ".s.PGSQL.5432"
# Bytes in a socket's name; macOS takes the fewest.
_LONGEST = 103


@dataclass(frozen=True)
class Noted:
    """The server that wrote the file: its process, its data folder, the folder of its socket, whether it is ready."""

    process: int
    data: Path
    sockets: Path
    ready: bool


def read(data: Path) -> Noted | None:
    """What the file says; None when there is none that can be read.

    Its lines are process, folder, start time, port, socket folder, address, shared memory, status (PostgreSQL,
    src/include/utils/pidfile.h).
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        ready = [line.strip() for line in lines[7:8]] == ["ready"]
        return Noted(int(lines[0]), Path(lines[1]), Path(lines[4] or lines[1]), ready)
    except (OSError, IndexError, ValueError):
        return None


def refuse_copy(noted: Noted, data: Path) -> None:
    """Raise Mistake when the file came along with a copy: its server is another folder's."""
    if _same(noted, data) is False:
        raise Mistake(
            f"{data} was copied from {noted.data} while the server there was running: a copy like that is of no one "
            "moment, and cannot be relied on. Stop the server there (`prescore db stop`) and copy the project again, "
            f"or remove {data} to begin with an empty database."
        )


def sockets(noted: Noted, data: Path) -> Path:
    """The folder of the server's socket: one inside the data folder was moved together with it."""
    if noted.sockets != noted.data or _same(noted, data) is not None:
        return noted.sockets
    if not short_enough(data):
        raise Mistake(
            f"{data.parent.parent} was moved while its embedded Postgres was running, and the path is now too long to "
            f"reach it. Stop it with `kill -INT {noted.process}`; the next command starts it again."
        )
    return data


def _same(noted: Noted, data: Path) -> bool | None:
    """Whether the server's data folder is this one; None when there is no such folder any more."""
    try:
        return noted.data.samefile(data)
    except PermissionError:
        return False
    except OSError:
        return None


def short_enough(folder: Path) -> bool:
    """Whether a socket in this folder has a name that the system takes."""
    return len(os.fsencode(folder / _SOCKET)) <= _LONGEST


def private(folder: Path, owner: int) -> bool:
    """Whether this is a folder, no link to one, that only its owner and root can enter."""
    found = folder.lstat()
    return (stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid) == (stat.S_IFDIR, 0o700, owner)


def answers(sockets: Path) -> bool:
    """Whether something accepts connections on the socket in this folder."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(sockets / _SOCKET))
        except OSError:
            return False
    return True


def forget_stale(data: Path) -> None:
    """Remove the lock files of a server that is gone, though its process number is taken.

    Postgres asks by signal, and would take a zombie, or whoever got the number after a restart, for the server. One
    that was moved while it ran leaves its socket's lock file behind.
    """
    noted = read(data)
    folders = {data, noted.sockets} if noted else {data}
    for lock in (data / "postmaster.pid", *(folder / f"{_SOCKET}.lock" for folder in folders)):
        process = _process(lock)
        if process is not None and _somebody_else(process, data):
            lock.unlink()


def _process(lock: Path) -> int | None:
    try:
        return int(lock.read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None


def _somebody_else(process: int, data: Path) -> bool:
    # Of the extra `embedded`, as the wheel is.
    import psutil

    try:
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE or found.name() != "postgres":
            return True
        return not Path(found.cwd()).samefile(data)
    except (
        psutil.Error,
        OSError,
        ValueError,
    ):  # there is no such process, which Postgres sees by itself, or it may not be asked
        return False
