"""The store: what versions were made from. Model files by content hash, snapshots by model and version."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

from prescore.catalog.catalog import Version
from prescore.errors import ModelInvalid, NotFound
from prescore.store.folder import Folder
from prescore.store.object_store import Bucket, Ranges


class Store:
    """A folder, or a URL of an object store; everything in it appears whole or not at all.

    At a URL it raises StoreRefused or StoreUnavailable when it cannot be used. Files have the name of their catalog in theirs:
    of several catalogs that share a store, each removes only its own.
    """

    def __init__(self, place: Path | str, catalog: str = "") -> None:
        self._catalog = catalog
        self._place = Bucket(place) if isinstance(place, str) else Folder(place)

    def reach(self) -> None:
        """Raise StoreRefused or StoreUnavailable now rather than in the middle of things; a folder is made when needed."""
        self._place.reach()

    def keep_model(self, content: bytes) -> None:
        """Keep an ONNX file's content, under its SHA-256."""
        name = self._model(fingerprint := hash_bytes(content))
        if self._place.fingerprint(name) != fingerprint:
            with self._place.appearing(name) as part:
                part.write_bytes(content)

    def model(self, fingerprint: str) -> bytes:
        """A kept model's content; raises NotFound when it is not there, or is another by now."""
        try:
            content = self._place.read(self._model(fingerprint))
        except FileNotFoundError as error:
            raise NotFound(
                f"The store {self._place} has no model {fingerprint[:12]}. Does every worker reach the same store?"
            ) from error
        if hash_bytes(content) != fingerprint:
            kept = self._place.at(self._model(fingerprint))
            raise NotFound(
                f"{kept} was changed: it is not the model that the version was begun with. "
                "The next run keeps a good copy."
            )
        return content

    def snapshot(self, version: Version) -> Path | Ranges:
        """What a version's snapshot is read from; raises NotFound before there is one."""
        if version["snapshot_location"] is None:
            raise NotFound(f"{version['model']} version {version['version']} has no snapshot yet.")
        return self._place.open(version["snapshot_location"])

    def new_snapshot(self, model: str, version: int) -> str:
        """The location of a version's snapshot: a name of its own, so that a stopped attempt never writes over it."""
        return f"snapshots/{model}/{version}.{self._catalog}.{uuid4().hex}.parquet"

    def appearing(self, location: str) -> AbstractContextManager[Path]:
        """A path to write a snapshot to, which is at its location when it is complete, or not at all.

        Raises StoreFull when there is no room for it.
        """
        return self._place.appearing(location)

    def intact(self, version: Version) -> bool:
        """Whether a version's snapshot, if it has one yet, is there and as it was when it was frozen."""
        if version["snapshot_location"] is None:
            return True
        try:
            return self._place.fingerprint(version["snapshot_location"]) == version["snapshot_fingerprint"]
        except OSError:
            return False

    def drop_snapshot(self, model: str, version: int) -> None:
        """Remove a version's snapshot, and what attempts at it left behind."""
        for name in self._place.names(folder := f"snapshots/{model}"):
            if name.startswith(f"{folder}/{version}.{self._catalog}."):
                self._place.remove(name)

    def drop_model(self, fingerprint: str) -> None:
        """Remove a kept model if it is there."""
        self._place.remove(self._model(fingerprint))

    def snapshot_bytes(self, location: str | None) -> int:
        """How large a snapshot is; 0 when it is not there."""
        return self._place.size(location) if location else 0

    def total_bytes(self) -> int:
        """How much the whole store takes."""
        return self._place.total()

    def _model(self, fingerprint: str) -> str:
        return f"models/{fingerprint}.{self._catalog}.onnx"

    def spill(self, model: str) -> Path:
        """This process's folder for what does not fit in memory, always on this machine."""
        return self._place.own() / "spill" / f"{model}.{socket.gethostname()}.{os.getpid()}"

    def sweep(self, model: str, needed: set[str]) -> None:
        """Remove what runs that were killed left of a model: snapshots that are not at `needed` places, and spills.

        For the holder of the model's lease: nobody else writes snapshots of it now.
        """
        for name in self._place.names(f"snapshots/{model}"):
            if name not in needed and name.split(".")[1:2] == [self._catalog]:
                self._place.remove(name)
        own, host = self._place.own(), socket.gethostname()
        for folder in (own / "spill").glob(f"{model}.{host}.*"):
            if not _alive(int(folder.suffix[1:])):
                shutil.rmtree(folder, ignore_errors=True)
        # Of snapshots that were to be uploaded.
        for part in (own / "parts").glob(f"*.{host}.*"):
            if not _alive(int(part.suffix[1:])):
                part.unlink(missing_ok=True)


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
