"""Findings about the catalog: rights, models, and what runs and retirements have left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import groupby
from operator import itemgetter

from prescore.catalog import edits
from prescore.catalog.catalog import Catalog
from prescore.doctor.finding import Finding, fault, ok, warning
from prescore.scoring import runtime
from prescore.wording import age, count, utc


def examine(catalog: Catalog, specs: Sequence[str] | None) -> Iterator[Finding]:
    """Yield the findings about the catalog; `specs` are the names of the project's specs, None without a project."""
    yield _role(catalog)
    yield from _models(catalog, specs)
    yield from _lost_tables(catalog)
    yield from _runtimes(catalog)
    yield from _leftovers(catalog)


def _role(catalog: Catalog) -> Finding:
    row = catalog.one("doctor_right")
    role = row["role"]
    if row["is_owner"]:
        return ok("role", f"{role} is the catalog owner")
    if row["is_writer"]:
        return ok("role", f"{role} is a writer")
    if row["is_reader"]:
        return ok("role", f"{role} is a reader: it can look up, and cannot run jobs")
    return fault(
        "role",
        f"{role} has no rights on the catalog",
        f"Ask the catalog owner to run `prescore db grant --writer {role}` or `--reader {role}`.",
    )


def _models(catalog: Catalog, specs: Sequence[str] | None) -> Iterator[Finding]:
    rows = catalog.all("status_models", model=None)
    names = {row["model"] for row in rows}
    for row in rows:
        name = row["model"]
        if row["stale"]:
            yield warning(
                name,
                f"stale: its inputs are {age(row['age_seconds'])} old, and the max age is "
                f"{age(row['max_age_seconds'])}",
                f"`prescore status {name}` shows its last run.",
            )
        elif row["held"]:
            yield warning(name, f"on hold: {row['hold_reason']}", f"`prescore release {name}` ends the hold.")
        elif row["version"] is None:
            yield warning(name, "nothing is published", f"`prescore status {name}` shows its last run.")
        else:
            yield ok(name, f"version {row['version']}, {age(row['age_seconds'])} old")
        if specs is not None and name not in specs:
            yield warning(
                name,
                "has no spec in this project",
                f"Is this the right database? If the model is no longer wanted, `prescore remove {name}` drops it.",
            )
    for name in sorted(set(specs or ()) - names):
        yield warning(name, "has never been run on this database", f"`prescore run {name}`")


def _lost_tables(catalog: Catalog) -> Iterator[Finding]:
    for row in catalog.all("doctor_lost_tables"):
        model = row["model"]
        observed = f"its table {row['fault']} by hand"
        if row["state"] == "published":
            yield fault(
                f"{model} version {row['version']}",
                observed,
                f"`prescore rollback {model}` serves the previous good version, if there is one. Otherwise, "
                f"`prescore run {model} --full` makes a new one. On hold, it needs `prescore release {model}`.",
            )
        else:
            yield ok(f"{model} version {row['version']}", f"{observed}, so that it cannot be published again")
    yield from _edited_tables(catalog)
    for row in catalog.all("doctor_lost_views"):
        model = row["model"]
        yield fault(
            f"predictions.{model}",
            "the view was dropped by hand: readers get an error",
            "`prescore db migrate` restores it.",
        )


def _edited_tables(catalog: Catalog) -> Iterator[Finding]:
    """Yield the published versions whose tables have rows that may have been changed by hand, or were inserted."""
    found = catalog.all("doctor_edited_tables")
    for (model, version, kept), tables in groupby(found, itemgetter("model", "version", "kept")):
        rows = 0
        for table in tables:
            rows += table["edited"]
            if table["is_to_count"]:
                rows += max(edits.count_rows_of(catalog, table["name"]) - table["rows"], 0)
        if rows:
            yield warning(
                f"{model} version {version}",
                f"up to {count(rows, 'row')} of its tables were inserted, updated or deleted by hand",
                _advice_on_edits(model, kept),
            )


def _advice_on_edits(model: str, kept: int) -> str:
    """Return what to do about a version that may have been edited: no snapshot shows what its kept rows were."""
    if kept:
        return (
            f"`prescore verify {model}` shows what differs, but not in its {count(kept, 'kept row')}. "
            f"`prescore run {model} --full` makes a new version, which does not keep them, and waits for approval."
        )
    return f"`prescore verify {model}` shows what differs, and `prescore run {model} --full` makes a new version."


def _runtimes(catalog: Catalog) -> Iterator[Finding]:
    """Yield the versions that are scored live, and whose tables another release of ONNX Runtime has scored."""
    rows = catalog.all("doctor_runtimes")
    if not rows or find_spec("onnxruntime") is None:
        return
    # Only now: a machine that scores nothing does not have ONNX Runtime.
    from prescore.scoring.session import RUNTIME

    for row in rows:
        if difference := runtime.difference(row["runtime"], RUNTIME):
            yield warning(
                f"{row['model']} version {row['version']}",
                difference,
                f"Install that release where the model is scored live, or score it with this one: `prescore run "
                f"{row['model']}`.",
            )


def _leftovers(catalog: Catalog) -> Iterator[Finding]:
    for row in catalog.all("doctor_unfinished"):
        yield warning(
            f"{row['model']} version {row['version']}",
            f"{row['state']} since {utc(row['started_at'])}, and no run works on it",
            f"`prescore run {row['model']}` resumes it.",
        )
    for row in catalog.all("doctor_undropped"):
        yield warning(
            f"{row['model']} version {row['version']}",
            f"{row['state']}, and its table of {row['bytes'] / 1e6:,.1f} MB is still there",
            f"`prescore retire {row['model']}` drops it, unless `prescore status {row['model']}` shows a reader.",
        )
    for row in catalog.all("doctor_stray_tables"):
        yield warning(
            f"prescore_versions.{row['table_name']}",
            f"a table of {row['bytes'] / 1e6:,.1f} MB that belongs to no version",
            "prescore did not make it, or lost its row in a restore. Drop it if you do not need it.",
        )
