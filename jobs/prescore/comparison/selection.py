"""Which two versions a comparison is about."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog, Version
from prescore.comparison.comparison import WITHOUT_TABLE
from prescore.errors import NotFound


def choose(catalog: Catalog, model: str, a: int | None, b: int | None) -> tuple[Version, Version]:
    """Return the versions to compare; raise NotFound if the model has not two with a table.

    One version is compared with the published one, and the earlier of the two comes first. The published version itself
    is compared with the newest before it. Without `a` and `b`, the newest version that has a table is compared so.
    """
    if a is not None and b is not None:
        return catalog.version(model, a), catalog.version(model, b)
    number = b if a is None else a
    chosen = _newest(catalog, model) if number is None else catalog.version(model, number)
    served = catalog.model(model)["published_version"]
    if served is None or served == chosen["version"]:
        return _newest(catalog, model, before=chosen["version"]), chosen
    published = catalog.version(model, served)
    return (chosen, published) if chosen["version"] < served else (published, chosen)


def _newest(catalog: Catalog, model: str, before: int | None = None) -> Version:
    catalog.model(model)
    for version in catalog.versions(model):
        is_earlier = before is None or version["version"] < before
        if is_earlier and version["state"] not in WITHOUT_TABLE and version["trial_rows"] is None:
            return version
    raise NotFound(f"{model} has no two versions to compare. `prescore versions {model}` lists those that it has.")
