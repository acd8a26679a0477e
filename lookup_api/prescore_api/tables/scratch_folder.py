"""Temporary folders that do not outlive a killed process for long: the next one removes what it left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Between its creation and its lock, a folder looks as if its process had died.
_YOUNG_SECONDS = 60.0


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Create a temporary folder, and remove those with the same prefix whose processes have died.

    The process holds a lock on its folder, which the system releases however the process ends.
    """
    _sweep(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(lock)


def _sweep(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        # Other users have folders, too.
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _YOUNG_SECONDS:
                _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
