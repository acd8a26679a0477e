"""A model file: the ONNX file, and the weights that it keeps in files beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Self

from prescore.errors import ModelInvalid


@dataclass(frozen=True)
class ModelFile:
    """The content of an ONNX file, and of the files beside it that hold its weights, by their location.

    PyTorch writes weights to `<model>.onnx.data` by default. Locations are relative to the folder of the ONNX file.
    """

    content: bytes
    weights: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return a model file with its weights.

        Raises ModelInvalid if a file does not exist or is empty, or if one of the weights is incomplete.
        """
        if file.is_dir():
            raise ModelInvalid(f"{file} is a folder. Set onnx.file in the spec to the path of the ONNX file.")
        content = _read(file, f"Cannot read the ONNX file {file}", "Train and export the model, or correct the path.")
        if not content:
            raise ModelInvalid(f"The ONNX file {file} is empty. Export the model again.")
        # Commands that need only the catalog must not load numpy, which onnx imports.
        from prescore.store.external_weights import external_lengths

        lengths = external_lengths(content)
        weights = {location: _read_weights(file, location) for location in sorted(lengths)}
        for location, length in lengths.items():
            _require_complete(file, location, len(weights[location]), length)
        if weights and file.read_bytes() != content:
            raise ModelInvalid(f"{file} was replaced while its weights were read. Try again when all files are copied.")
        return cls(content, weights)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the ONNX file; with weights, that of the digests of all files and their locations."""
        digest = hash_bytes(self.content)
        if not self.weights:
            return digest
        lines = [digest]
        for location, weights in sorted(self.weights.items()):
            lines.append(f"{hash_bytes(weights)} {location}")
        text = "\n".join(lines)
        return hash_bytes(text.encode())


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def _read_weights(file: Path, location: str) -> bytes:
    path = PurePosixPath(location)
    if not path.name or path.is_absolute() or ".." in path.parts or "\x00" in location:
        raise ModelInvalid(
            f"The ONNX file {file} keeps weights at {location!r}, which is not inside of its folder. "
            "Export the model again, with its weights beside it."
        )
    return _read(
        file.parent / path,
        f"The ONNX file {file} keeps weights in {location}, which cannot be read",
        "Copy that file to the folder of the ONNX file, too.",
    )


def _require_complete(file: Path, location: str, actual: int, expected: int) -> None:
    if actual >= expected:
        return
    raise ModelInvalid(
        f"{file.parent / location} has {actual:,} bytes, but {file.name} needs {expected:,} of them: the model was "
        "copied in part, or the two files are not of the same export. Copy both again."
    )


def _read(path: Path, failure: str, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelInvalid(f"{failure}: {error.strerror}. {advice}") from error
