"""A store in a folder. A file is written under a temporary name and then renamed, so no reader sees half of it."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from prescore.errors import StoreFull


class Folder:
    """The files of a store in a local folder. Names of files are relative to the folder, with slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def location(self, name: str) -> Path:
        """Return the path of a file, for messages."""
        return self.root / name

    def require_access(self) -> None:
        """Do nothing: the folder is created when the first file is written."""

    def local_folder(self) -> Path:
        """Return the folder for temporary files of processes on this machine."""
        return self.root

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """Yield a path to write to; on exit, the file appears under its name, complete and on disk.

        After an error, nothing appears. Raises StoreFull if the disk is full.
        """
        # A server that only reads a store must not load Pydantic.
        from prescore.project.project import make_folder

        path = self.root / name
        make_folder(path.parent)
        part = path.with_suffix(f".{uuid4().hex}.part")
        with temporary_file(part):
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.rename(path)

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise FileNotFoundError if there is none."""
        return (self.root / name).read_bytes()

    def open(self, name: str) -> Path:
        """Return the path of a file, which pyarrow opens itself."""
        return self.root / name

    def fingerprint(self, name: str) -> str | None:
        """Return the SHA-256 of a file's content, or None if there is no such file."""
        path = self.root / name
        if not path.exists():
            return None
        return hash_file(path)

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of the store."""
        path = self.root / folder
        paths = path.glob("*")
        return [str(path.relative_to(self.root)) for path in paths]

    def size(self, name: str) -> int:
        """Return the size of a file in bytes, 0 if there is no such file."""
        return _file_size(self.root / name)

    def total_size(self) -> int:
        """Return the size of all files together, in bytes."""
        paths = self.root.rglob("*")
        return sum(_file_size(path) for path in paths)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        (self.root / name).unlink(missing_ok=True)


@contextmanager
def temporary_file(path: Path) -> Iterator[None]:
    """Remove a file on exit, if it still exists; raise StoreFull if the disk is full while it is written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull.at(path.parent) from error
        raise
    finally:
        path.unlink(missing_ok=True)


def process_suffix() -> str:
    """Return what the names of this process's temporary files end in: the host's name and the PID."""
    host = socket.gethostname()
    pid = os.getpid()
    return f"{host}.{pid}"


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 for a folder, or a file that another process has just removed."""
    if not path.is_file():
        return 0
    try:
        return path.stat().st_size
    except OSError:
        return 0
