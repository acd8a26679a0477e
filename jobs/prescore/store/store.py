"""The store of a catalog: model files by content hash, and snapshots by model and version."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from uuid import uuid4

from prescore.catalog.catalog import Version
from prescore.errors import NotFound, StoreRefused, StoreUnavailable
from prescore.store.folder import Folder, process_suffix
from prescore.store.model_file import ModelFile, hash_bytes
from prescore.store.object_store import ObjectFile, ObjectStore

_COPY_BYTES = 2**24


class Store:
    """A folder, or an object store at a URL. A file in it is complete, or does not exist.

    Several catalogs can share a store. The name of each file has the name of its catalog in it, and a catalog removes
    only files of its own.

    Methods raise StoreRefused or StoreUnavailable if an object store cannot be used.
    """

    def __init__(self, place: Path | str, catalog: str = "") -> None:
        self._catalog = catalog
        self._backend: Folder | ObjectStore
        if isinstance(place, str):
            self._backend = ObjectStore(place)
        else:
            self._backend = Folder(place)

    def require_access(self) -> None:
        """Raise StoreRefused or StoreUnavailable if an object store cannot be written to."""
        self._backend.require_access()

    def keep_model(self, model: ModelFile) -> None:
        """Keep a model file, with its weights, under its fingerprint."""
        for name, content in self._model_parts(model):
            if self._backend.fingerprint(name) == hash_bytes(content):
                continue
            with self._backend.write(name) as path:
                path.write_bytes(content)

    def model(self, fingerprint: str) -> ModelFile:
        """Return a kept model file; raise NotFound if a part of it is missing or was changed."""
        # Commands that need only the catalog must not load numpy, which onnx imports.
        from prescore.store.external_weights import external_lengths

        prefix = self._model_prefix(fingerprint)
        try:
            content = self._backend.read(f"{prefix}onnx")
            locations = sorted(external_lengths(content))
            weights = {}
            for number, location in enumerate(locations):
                weights[location] = self._backend.read(f"{prefix}{number}.data")
        except FileNotFoundError as error:
            raise NotFound(
                f"The store {self._backend} does not have the whole model {fingerprint[:12]}. "
                "Check that every worker uses the same store."
            ) from error
        model = ModelFile(content, weights)
        if model.fingerprint != fingerprint:
            raise NotFound(
                f"{self._backend.location(prefix + 'onnx')} was changed since the version was started. "
                "The next run stores the model again."
            )
        return model

    def snapshot(self, version: Version) -> Path | ObjectFile:
        """Return what pyarrow reads a version's snapshot from; raise NotFound if the version has none yet."""
        location = version["snapshot_location"]
        if location is None:
            raise NotFound(f"{version['model']} version {version['version']} has no snapshot yet.")
        return self._backend.open(location)

    def rows_to_score(self, version: Version) -> Path | ObjectFile:
        """Return what pyarrow reads the rows from that a version has to score: its snapshot, or part of it."""
        location = version["changes_location"]
        return self.snapshot(version) if location is None else self._backend.open(location)

    def new_snapshot(self, model: str, version: int) -> str:
        """Return a new location for a version's snapshot, so that no other attempt at it writes to the same file."""
        prefix = self._snapshot_prefix(model, version)
        return f"{prefix}{uuid4().hex}.parquet"

    def copy_snapshot(self, version: Version, number: int) -> str:
        """Copy a version's snapshot for another version of the model, and return its location; raise NotFound."""
        location = self.new_snapshot(version["model"], number)
        source = self.snapshot(version)
        try:
            original = source.open("rb") if isinstance(source, Path) else source
            with original, self.write_snapshot(location) as part, part.open("wb") as copy:
                shutil.copyfileobj(original, copy, _COPY_BYTES)
        except FileNotFoundError as error:
            raise NotFound(f"The snapshot {source} is gone from the store.") from error
        return location

    def discard(self, location: str | None) -> None:
        """Remove the file at a location that no version has any more, if there is one.

        If the store cannot be used now, the next sweep removes it.
        """
        if location is not None:
            with suppress(StoreRefused, StoreUnavailable):
                self._backend.remove(location)

    def write_snapshot(self, location: str) -> AbstractContextManager[Path]:
        """Return a context that yields a local path to write to; on exit, the snapshot appears at its location.

        After an error, nothing appears. The context raises StoreFull if the disk is full.
        """
        return self._backend.write(location)

    def is_snapshot_intact(self, version: Version) -> bool:
        """Return whether a version's snapshot exists unchanged; True if the version has none yet.

        The rows that an unfinished delta has to score must exist, too.
        """
        location, changes = version["snapshot_location"], version["changes_location"]
        if location is None:
            return True
        if changes is not None and not self.snapshot_bytes(changes):
            return False
        try:
            fingerprint = self._backend.fingerprint(location)
        except OSError:
            return False
        return fingerprint == version["snapshot_fingerprint"]

    def drop_snapshot(self, model: str, version: int) -> None:
        """Remove the snapshot of a version, and those of interrupted attempts at it."""
        prefix = self._snapshot_prefix(model, version)
        for name in self._backend.names(f"snapshots/{model}"):
            if name.startswith(prefix):
                self._backend.remove(name)

    def model_fingerprints(self) -> set[str]:
        """Return the fingerprints of this catalog's model files."""
        fingerprints = set()
        for name in self._backend.names("models"):
            fingerprint, _, rest = name.removeprefix("models/").partition(".")
            if rest.startswith(f"{self._catalog}."):
                fingerprints.add(fingerprint)
        return fingerprints

    def drop_model(self, fingerprint: str) -> None:
        """Remove a kept model file and its weights, if they exist."""
        prefix = self._model_prefix(fingerprint)
        for name in self._backend.names("models"):
            if name.startswith(prefix):
                self._backend.remove(name)

    def snapshot_bytes(self, location: str | None) -> int:
        """Return the size of a snapshot in bytes, 0 if it does not exist."""
        if not location:
            return 0
        return self._backend.size(location)

    def total_bytes(self) -> int:
        """Return the size of the whole store in bytes."""
        return self._backend.total_size()

    def spill_folder(self, model: str) -> Path:
        """Return this process's local folder for what does not fit in memory."""
        folder = self._backend.local_folder() / "spill"
        return folder / f"{model}.{process_suffix()}"

    def files(self, models: Iterable[str]) -> list[str]:
        """Return the names of this catalog's files: all model files, and the snapshots of some models."""
        names = [name for name in self._backend.names("models") if self._owns(name)]
        for model in models:
            names += [name for name in self._backend.names(f"snapshots/{model}") if self._owns(name)]
        return names

    def sweep(self, model: str, needed: set[str]) -> None:
        """Remove what killed runs of a model left: snapshots at other locations than `needed`, and temporary files.

        Only for the holder of the model's lease: no other process writes snapshots of the model meanwhile.
        """
        for name in self._backend.names(f"snapshots/{model}"):
            if name in needed:
                continue
            if self._owns(name):
                self._backend.remove(name)
        self._sweep_local_folder(model)

    def _sweep_local_folder(self, model: str) -> None:
        """Remove temporary files of processes on this machine that have ended."""
        local = self._backend.local_folder()
        host = socket.gethostname()
        for folder in local.glob(f"spill/{model}.{host}.*"):
            if not _is_in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)
        # A part is a file that was to be uploaded.
        for part in local.glob(f"parts/*.{host}.*"):
            if not _is_in_use(part):
                part.unlink(missing_ok=True)

    def _model_parts(self, model: ModelFile) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of each file of a model: the ONNX file comes last, when it is complete."""
        prefix = self._model_prefix(model.fingerprint)
        for number, location in enumerate(sorted(model.weights)):
            yield f"{prefix}{number}.data", model.weights[location]
        yield f"{prefix}onnx", model.content

    def _model_prefix(self, fingerprint: str) -> str:
        return f"models/{fingerprint}.{self._catalog}."

    def _snapshot_prefix(self, model: str, version: int) -> str:
        return f"snapshots/{model}/{version}.{self._catalog}."

    def _owns(self, name: str) -> bool:
        """Return whether the name of a snapshot or of a model file has the name of this catalog in it."""
        _, _, rest = name.partition(".")
        return rest.startswith(f"{self._catalog}.")


def _is_in_use(path: Path) -> bool:
    """Return whether the process that a temporary file or folder belongs to is running; its name ends in the PID."""
    pid = int(path.suffix.removeprefix("."))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # The process belongs to another user.
        pass
    return True
