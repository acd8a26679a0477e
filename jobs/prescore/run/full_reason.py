"""Why a run scores every row, and reuses none of the served version's."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version as release
from typing import Any

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.edits import may_be_edited
from prescore.run.job import Job
from prescore.scoring import rejects
from prescore.sources import domain
from prescore.versions import table
from prescore.wording import names


def reason_against(job: Job, catalog: Catalog, version: Version, served: Version) -> str | None:
    """Return why no row of the served version can be reused, None if rows can be."""
    label = f"version {served['version']}"
    if version["trial_rows"] is not None:
        return "it is a trial"
    if version["chunk_rows"] is not None:
        return "the model's score of a row depends on the rows that are scored with it"
    if version["model_fingerprint"] != served["model_fingerprint"]:
        return f"the model file is not the one that {label} was made with"
    if version["runtime"] != served["runtime"]:
        return f"{label} was made with {served['runtime']}, and not with {version['runtime']}"
    differing = list(_differing_keys(_made_by(version), _made_by(served)))
    if differing:
        return f"the spec differs from the one that {label} was made with in {names(differing)}"
    fingerprint = domain.fingerprint(job.source, job.query, None, served["as_of"])
    if fingerprint != served["domain_fingerprint"]:
        return f"the domain query or its source is not the one that {label} was made with"
    if served["prescore_version"] != release("prescore"):
        return f"{label} was made by another release of prescore"
    if may_be_edited(catalog, served):
        return f"the table of {label} was changed by hand, or an update of it was rolled back"
    base = base_of(catalog, served)
    if not rejects.all_written(catalog.connection, base) or not job.store.is_snapshot_intact(base):
        return f"the snapshot or the rejects of version {base['version']} are not complete any more"
    return None


def base_of(catalog: Catalog, version: Version) -> Version:
    """Return the full version whose rows a version shows: that of a delta, or the one that made its rows."""
    number = version["base_version"] or version["rows_version"]
    return catalog.version(version["model"], number)


def _made_by(version: Version) -> dict[str, Any]:
    """Return what a version's spec says about its rows and columns: all but the comments.

    Whether keys that vanish are remembered is left out. Only a policy that keeps them has a column for it.
    """
    outputs = {}
    for name, output in version["spec"]["outputs"].items():
        outputs[name] = {**output, "comment": ""}
    keeps = version["spec"]["vanished"]["policy"] == "keep"
    vanished = {"policy": "keep" if keeps else "drop"}
    # The catalog does not record the order of keys within a table of the spec.
    key = [(name, version["spec"]["key"][name]) for name in table.key_names(version)]
    return {**version["spec"], "outputs": outputs, "vanished": vanished, "key": key}


def _differing_keys(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of the keys that differ, such as `onnx.nullable`; a table that one of them lacks is one name."""
    for name in dict.fromkeys([*one, *other]):
        values = one.get(name), other.get(name)
        if values[0] == values[1]:
            continue
        if isinstance(values[0], dict) and isinstance(values[1], dict):
            yield from _differing_keys(values[0], values[1], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
