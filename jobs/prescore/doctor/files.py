"""Findings about the store: access, room, files that are missing, and files that no version needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prescore.catalog.catalog import Catalog
from prescore.doctor.finding import Finding, fault, ok, warning
from prescore.errors import PrescoreError
from prescore.store.store import Store
from prescore.wording import count

_LEAST_FREE = 10**9
"""Free bytes on the store's disk below which it is worth a warning."""


def examine(catalog: Catalog, place: Path | str) -> Iterator[Finding]:
    """Yield the findings about the store at a folder or a URL."""
    store = Store(place, catalog.name)
    try:
        store.require_access()
        used = store.total_bytes()
    except PrescoreError as error:
        yield fault("store", str(error), "Runs need it; readers do not.")
        return
    yield from _room(place, used)
    yield from _files(catalog, store)


def _room(place: Path | str, used: int) -> Iterator[Finding]:
    observed = f"{used / 1e6:,.1f} MB at {place}"
    if not isinstance(place, Path):
        yield ok("store", observed)
        return
    folder = place
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    observed = f"{observed}, {free / 1e9:,.1f} GB free"
    if free < _LEAST_FREE:
        yield warning("store", observed, "Free space there, or a run will stop when the disk is full.")
    else:
        yield ok("store", observed)


def _files(catalog: Catalog, store: Store) -> Iterator[Finding]:
    rows = catalog.all("doctor_files")
    owned = store.files(row["model"] for row in catalog.all("status_models", model=None))
    for row in rows:
        location = row["snapshot_location"]
        is_unfinished = row["state"] in ("building", "staged")
        if is_unfinished and location and location not in owned:
            yield warning(
                f"{row['model']} version {row['version']}",
                f"its snapshot {location} is not in this store, so that it cannot be resumed",
                "Does every worker use the same store? Otherwise the next run starts from scratch.",
            )
    unneeded = _unneeded(owned, rows)
    if unneeded:
        yield warning(
            "store",
            f"{count(len(unneeded), 'file')} that no version needs, such as {unneeded[0]}",
            "A run at work may need it soon. What a killed run left, the next run of its model removes.",
        )


def _unneeded(owned: Iterable[str], versions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the files of the store that are neither a snapshot nor the model file of a version."""
    locations = {row["snapshot_location"] for row in versions}
    locations |= {row["changes_location"] for row in versions}
    fingerprints = {row["model_fingerprint"] for row in versions}
    return [name for name in owned if name not in locations and _fingerprint(name) not in fingerprints]


def _fingerprint(name: str) -> str:
    """Return the fingerprint in the name of a model file, such as `models/<fingerprint>.<catalog>.onnx`."""
    return name.removeprefix("models/").partition(".")[0]
