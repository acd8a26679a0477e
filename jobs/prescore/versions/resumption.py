"""Whether an unfinished version can be resumed, and what a run records when it resumes one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.project.spec import Spec
from prescore.scoring import rejects
from prescore.store.store import Store
from prescore.versions import lifecycle

STALE = timedelta(days=1)
"""An unfinished version that began this long ago is not resumed: last week's inputs are of no use tonight."""


def find_resumable(
    connection: Connection,
    store: Store,
    model: str,
    made_of: dict[str, Any],
) -> int | None:
    """Return the newest unfinished version that a run can resume, or None.

    It must be made of the same model file, query and spec, by the same ONNX Runtime, have begun recently, and have its
    snapshot intact. All its rejects must be recorded, too: only the first ones are kept of a version that is certain
    to be refused, and the spec may allow more rejects by now.
    """
    catalog = Catalog(connection)
    unfinished: list[Version] = catalog.all("versions_unfinished", model=model)
    now = catalog.now()
    for version in unfinished:
        if not _is_made_of(version, made_of):
            continue
        if now - version["started_at"] >= STALE:
            continue
        if store.is_snapshot_intact(version) and rejects.all_written(connection, version):
            return version["version"]
    return None


def _is_made_of(version: Version, made_of: dict[str, Any]) -> bool:
    row = cast("Mapping[str, Any]", version)
    return all(row[name] == value for name, value in made_of.items())


def resume(connection: Connection, spec: Spec, version: int) -> None:
    """Resume a version with the max age, lookup settings and comments that the spec has now.

    The history records what the run found: the number of chunks, and the seconds spent on them.
    """
    catalog = Catalog(connection)
    model = spec.model
    catalog.execute(
        "versions_describe",
        model=model,
        version=version,
        **lifecycle.description(spec),
    )
    finished = catalog.one("chunks_total", model=model, version=version)
    catalog.record_event(
        model,
        version,
        "resumed",
        chunks=finished["chunks"],
        seconds=catalog.version(model, version)["seconds"],
    )
