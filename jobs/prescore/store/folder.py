"""A store in a folder: files that appear by renaming."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from prescore.errors import StoreFull
from prescore.project.project import make_folder


class Folder:
    """What a store asks of the place that it is in; names are relative to the folder, with slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def at(self, name: str) -> Path:
        """Where a file is, for messages."""
        return self.root / name

    def reach(self) -> None:
        """Nothing to find out: a folder is made when something is put there."""

    def own(self) -> Path:
        """The local folder for what processes of this machine put aside."""
        return self.root

    @contextmanager
    def appearing(self, name: str) -> Iterator[Path]:
        """A path to write to; the file appears under its name when it is complete and on disk, or not at all.

        Raises StoreFull when there is no room for it.
        """
        path = self.root / name
        make_folder(path.parent)
        part = path.with_suffix(f".{uuid4().hex}.part")
        with writing(part):
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.rename(path)

    def read(self, name: str) -> bytes:
        """A file's content; raises FileNotFoundError."""
        return (self.root / name).read_bytes()

    def open(self, name: str) -> Path:
        """What pyarrow reads the file from."""
        return self.root / name

    def fingerprint(self, name: str) -> str | None:
        """SHA-256 of a file's content, or None when it is not there."""
        path = self.root / name
        return hash_file(path) if path.exists() else None

    def names(self, folder: str) -> list[str]:
        """The names of what is in a folder."""
        return [str(path.relative_to(self.root)) for path in (self.root / folder).glob("*")]

    def size(self, name: str) -> int:
        """A file's size; 0 when it is not there."""
        return _bytes(self.root / name)

    def total(self) -> int:
        """How much all files take."""
        return sum(_bytes(path) for path in self.root.rglob("*"))

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.root / name).unlink(missing_ok=True)


@contextmanager
def writing(part: Path) -> Iterator[None]:
    """While a file is written under a name that does not stay; raises StoreFull when there is no room for it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull.at(part.parent) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(path: Path) -> int:
    """A file's size; 0 for one that is gone by now, and for a folder."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
