"""The model file of a project after a rollback: it can still be the one that was withdrawn."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from prescore.errors import PrescoreError
from prescore.store.model_file import ModelFile

if TYPE_CHECKING:
    from prescore.catalog.catalog import Version
    from prescore.public.session import Session


def remark(session: Session, name: str) -> str | None:
    """Return what to do about a model file that made a withdrawn version, and not the published one.

    None if there is nothing to do, or if the project, the spec or the model file is not here.
    """
    with session.catalog() as catalog:
        versions = catalog.versions(name)
    if not any(version["withdrawn_at"] for version in versions):
        return None
    # A machine that only reads the catalog may have neither the project's files nor the package that reads them.
    with suppress(PrescoreError, ImportError):
        files = session.files
        onnx = files.spec(name).onnx
        if onnx is None:
            return None
        number = _withdrawn(versions, ModelFile.read(files.root / onnx.file).fingerprint)
        if number is not None:
            return f"{onnx.file} is still the file of version {number}: replace it before the next run."
    return None


def _withdrawn(versions: list[Version], fingerprint: str) -> int | None:
    """Return the newest withdrawn version that a model file made; None if it made the published version as well."""
    made = [version for version in versions if version["model_fingerprint"] == fingerprint]
    if any(version["state"] == "published" for version in made):
        return None
    return next((version["version"] for version in made if version["withdrawn_at"]), None)
