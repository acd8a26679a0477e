"""Tasks of a scheduler that need only the catalog: leases, decisions, freshness, and retirement every night.

As in `prescore.run.tasks`, arguments and results fit into JSON. Nothing heavy is imported, because a scheduler calls
some of these every few minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypedDict

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Freshness
from prescore.catalog.database import environment_database
from prescore.project.project import Project
from prescore.versions import lease
from prescore.wording import utc


class Published(TypedDict):
    """When a model was last published and first run, as text; None for never."""

    model: str
    published_at: str | None
    first_run_at: str | None
    held: bool


@contextmanager
def _open_catalog() -> Iterator[Catalog | None]:
    """Yield the catalog, or None if the database has no catalog yet."""
    with environment_database().connect() as connection:
        yield Catalog(connection) if migrations.exists(connection) else None


def release_lease(model: str, holder: str) -> None:
    """Release the model's lease if the run still holds it. The first run can end before there is a catalog."""
    with _open_catalog() as catalog:
        if catalog is not None:
            lease.release_held_by(catalog.connection, model, holder)


def shorten_lease(model: str, holder: str) -> None:
    """Let the lease expire in two minutes, if the run holds it, unless another task of the run continues it."""
    with _open_catalog() as catalog:
        if catalog is not None:
            lease.renew_held_by(catalog.connection, model, holder)


def record_decision(model: str, version: int, decision: str, reason: str) -> None:
    """Record in the history that a version was approved or rejected; the actor is the user of this process."""
    with environment_database().connect() as connection:
        Catalog(connection).record_event(model, version, decision, reason)


def freshness(models: list[str]) -> list[str]:
    """Return a clause for each of the models whose served version is older than its max age."""
    with _open_catalog() as catalog:
        rows = catalog.all("status_freshness") if catalog else []
    return [_staleness(row) for row in rows if row["stale"] and row["model"] in models]


def _staleness(row: Freshness) -> str:
    version = f"{row['model']} version {row['version']}"
    data_as_of = utc(row["data_as_of"])
    age = timedelta(seconds=int(row["age_seconds"]))
    # A stale row has a max age: without one, nothing is stale.
    max_age = timedelta(seconds=row["max_age_seconds"] or 0)
    held = " (on hold)" if row["held"] else ""
    return f"{version} has data as of {data_as_of}, {age} old with a max age of {max_age}{held}"


def publications() -> list[Published]:
    """Return when each model was last published and first run; nothing without a catalog."""
    with _open_catalog() as catalog:
        rows = catalog.all("status_publications") if catalog else []
    result = []
    for row in rows:
        published_at, first_run_at = row["published_at"], row["first_run_at"]
        result.append(
            Published(
                model=row["model"],
                published_at=None if published_at is None else published_at.isoformat(),
                first_run_at=None if first_run_at is None else first_run_at.isoformat(),
                held=row["held"],
            )
        )
    return result


def retire(model: str, root: str) -> list[int]:
    """Retire the versions that a model's spec no longer retains, and return their numbers.

    A version that is still being read stays until the next night. Without a catalog there is nothing to retire.
    """
    from prescore.store.store import Store
    from prescore.versions import retirement

    project = Project.find(Path(root))
    with _open_catalog() as catalog:
        # The model may never have been run on this database.
        if catalog is None or catalog.one("models_get", model=model) is None:
            return []
        spec = project.spec(model)
        store = Store(project.store, catalog.name)
        # `retire` is a generator: each version is retired when it is read from it.
        retired = list(retirement.retire(catalog.connection, store, model, spec.retention))
        retirement.warn_of_dependents(catalog.connection, model)
        return [version["version"] for version in retired]
