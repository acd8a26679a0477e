"""The store: what versions were made from. Model files by content hash, snapshots by model and version."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from prescore.contract.catalog import Version
from prescore.contract.errors import ModelInvalid, StoreFull, Unknown
from prescore.contract.project import make_folder


class Store:
    """A folder; everything in it appears whole or not at all, by renaming."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep_model(self, content: bytes) -> None:
        """Keep an ONNX file's content, under its SHA-256."""
        kept = self.model_path(fingerprint := hash_bytes(content))
        if not kept.exists() or hash_file(kept) != fingerprint:
            with appearing(kept) as part:
                part.write_bytes(content)

    def model(self, fingerprint: str) -> bytes:
        """A kept model's content; raises Unknown when it is not there, or is another by now."""
        try:
            content = self.model_path(fingerprint).read_bytes()
        except FileNotFoundError as error:
            raise Unknown(
                f"The store {self.root} has no model {fingerprint[:12]}. Does every worker reach the same store?"
            ) from error
        if hash_bytes(content) != fingerprint:
            raise Unknown(
                f"{self.model_path(fingerprint)} was changed: it is not the model that the version was begun with. "
                "The next run keeps a good copy."
            )
        return content

    def model_path(self, fingerprint: str) -> Path:
        """Where a model of this content is kept."""
        return self.root / "models" / f"{fingerprint}.onnx"

    def snapshot_path(self, version: Version) -> Path:
        """Where a version's snapshot is; raises Unknown before there is one."""
        if version["snapshot_location"] is None:
            raise Unknown(f"{version['model']} version {version['version']} has no snapshot yet.")
        return self.root / version["snapshot_location"]

    def new_snapshot(self, model: str, version: int) -> Path:
        """Where to write a version's snapshot: a name of its own, so that a stopped attempt never writes over it."""
        return self.root / "snapshots" / model / f"{version}.{uuid4().hex}.parquet"

    def intact(self, version: Version) -> bool:
        """Whether a version's snapshot, if it has one yet, is there and as it was when it was frozen."""
        if version["snapshot_location"] is None:
            return True
        try:
            return hash_file(self.snapshot_path(version)) == version["snapshot_fingerprint"]
        except OSError:
            return False

    def drop_snapshot(self, model: str, version: int) -> None:
        """Remove a version's snapshot, and what attempts at it left behind."""
        for path in (self.root / "snapshots" / model).glob(f"{version}.*"):
            path.unlink(missing_ok=True)

    def drop_model(self, fingerprint: str) -> None:
        """Remove a kept model if it is there."""
        self.model_path(fingerprint).unlink(missing_ok=True)

    def snapshot_bytes(self, location: str | None) -> int:
        """How large a snapshot is; 0 when it is not there."""
        return _bytes(self.root / location) if location else 0

    def total_bytes(self) -> int:
        """How much the whole store takes."""
        return sum(_bytes(path) for path in self.root.rglob("*"))

    def spill(self, model: str) -> Path:
        """This process's folder for what does not fit in memory."""
        return self.root / "spill" / f"{model}.{socket.gethostname()}.{os.getpid()}"

    def sweep(self, model: str, needed: set[str]) -> None:
        """Remove what runs that were killed left of a model: snapshots that are not at `needed` places, and spills.

        For the holder of the model's lease: nobody else writes snapshots of it now.
        """
        for path in (self.root / "snapshots" / model).glob("*"):
            if str(path.relative_to(self.root)) not in needed:
                path.unlink(missing_ok=True)
        for folder in (self.root / "spill").glob(f"{model}.{socket.gethostname()}.*"):
            if not _alive(int(folder.suffix[1:])):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A name to write under; the file appears under its own when it is complete and on disk, or not at all.

    Raises StoreFull when there is no room for it.
    """
    make_folder(path.parent)
    part = path.with_suffix(f".{uuid4().hex}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull.at(path.parent) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _bytes(path: Path) -> int:
    """A file's size; 0 for one that is gone by now, and for a folder."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def hash_bytes(content: bytes) -> str:
    """SHA-256 of a file's content that was read."""
    return hashlib.sha256(content).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_model(file: Path) -> bytes:
    """An ONNX file's content; raises ModelInvalid when it is not there or empty."""
    if file.is_dir():
        raise ModelInvalid(f"{file} is a folder; onnx.file in the spec must name the ONNX file itself.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelInvalid(
            f"There is no ONNX file {file}: {error.strerror}. Train the model first, or mend onnx.file in the spec."
        ) from error
    if not content:
        raise ModelInvalid(f"{file} is empty. Export the model again.")
    return content
