"""Which two versions a comparison is about."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog, Version
from prescore.comparison.comparison import WITHOUT_TABLE
from prescore.errors import NotFound


def choose(catalog: Catalog, model: str, a: int | None, b: int | None) -> tuple[Version, Version]:
    """Return the versions to compare, the earlier first; raise NotFound if the model has not two with a table.

    Without `b`, it is the newest version that has a table. Without `a`, it is the published version, or the newest
    before `b` if that is the published one.
    """
    second = _newest(catalog, model) if b is None else catalog.version(model, b)
    if a is not None:
        return catalog.version(model, a), second
    served = catalog.model(model)["published_version"]
    if served is None or served == second["version"]:
        return _newest(catalog, model, before=second["version"]), second
    return catalog.version(model, served), second


def _newest(catalog: Catalog, model: str, before: int | None = None) -> Version:
    catalog.model(model)
    for version in catalog.versions(model):
        is_earlier = before is None or version["version"] < before
        if is_earlier and version["state"] not in WITHOUT_TABLE and version["trial_rows"] is None:
            return version
    raise NotFound(f"{model} has no two versions to compare. `prescore versions {model}` lists those that it has.")
