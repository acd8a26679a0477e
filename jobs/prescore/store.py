"""The store: what versions were made from. Model files by content hash, snapshots by model and version."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from prescore.contract.errors import ModelInvalid, Unknown


class Store:
    """A folder; everything in it appears whole or not at all, by renaming."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep_model(self, file: Path) -> str:
        """Keep a copy of an ONNX file; gives its SHA-256. Raises ModelInvalid when the file is not there."""
        content = read_model(file)
        fingerprint = hashlib.sha256(content).hexdigest()
        kept = self.model_path(fingerprint)
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(".part")
            part.write_bytes(content)
            part.rename(kept)
        return fingerprint

    def model(self, fingerprint: str) -> bytes:
        """A kept model's content; raises Unknown."""
        try:
            return self.model_path(fingerprint).read_bytes()
        except FileNotFoundError as error:
            raise Unknown(
                f"The store {self.root} has no model {fingerprint[:12]}. Does every worker reach the same store?"
            ) from error

    def model_path(self, fingerprint: str) -> Path:
        """Where a model of this content is kept."""
        return self.root / "models" / f"{fingerprint}.onnx"

    def snapshot_path(self, model: str, version: int) -> Path:
        """Where a version's snapshot is kept."""
        return self.root / "snapshots" / model / f"{version}.parquet"

    def drop_snapshot(self, model: str, version: int) -> None:
        """Remove a version's snapshot, and what attempts at it left behind."""
        for path in self.snapshot_path(model, version).parent.glob(f"{version}.*"):
            path.unlink(missing_ok=True)

    def drop_model(self, fingerprint: str) -> None:
        """Remove a kept model if it is there."""
        self.model_path(fingerprint).unlink(missing_ok=True)

    def spill(self, model: str) -> Path:
        """A folder for what does not fit in memory; emptied by `drop_spill`."""
        return self.root / "spill" / model

    def drop_spill(self, model: str) -> None:
        """Remove what was spilled."""
        shutil.rmtree(self.spill(model), ignore_errors=True)


def read_model(file: Path) -> bytes:
    """An ONNX file's content; raises ModelInvalid when it is not there or empty."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelInvalid(
            f"There is no ONNX file {file}: {error.strerror}. Train the model first, or mend onnx.file in the spec."
        ) from error
    if not content:
        raise ModelInvalid(f"{file} is empty. Export the model again.")
    return content
