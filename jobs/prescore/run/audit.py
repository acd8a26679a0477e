"""Prove a version: score its snapshot again with its own model file, and compare the result with its table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from prescore.catalog.catalog import Catalog, CheckResult, Event, Version
from prescore.catalog.database import Connection
from prescore.catalog.edits import may_be_edited
from prescore.comparison.comparison import WITHOUT_TABLE, compare
from prescore.comparison.differences import ColumnDifference, Comparison
from prescore.comparison.precision import PRECISION, allowance
from prescore.errors import NotAllowed, NotFound, Refused
from prescore.project.spec import Spec
from prescore.run import preflight, replay
from prescore.run.job import Job
from prescore.scoring.session import RUNTIME
from prescore.versions import kept
from prescore.versions.publishable import require_table, version_label
from prescore.wording import count


@dataclass(frozen=True)
class Manifest:
    """What a version was made from, as the catalog records it. Fingerprints are SHA-256 in hexadecimal.

    `changes` says what an incremental run reused, and `base_version` is the version whose rows a delta carries over.

    `history` is what happened to the version, newest first: who published it, and when.
    """

    model: str
    version: int
    id: str
    state: str
    rows: int
    rejected: int
    base_version: int | None
    changes: dict[str, Any] | None
    data_as_of: datetime | None
    started_at: datetime
    published_at: datetime | None
    model_fingerprint: str | None
    snapshot_fingerprint: str | None
    domain_fingerprint: str
    spec_fingerprint: str
    checks_fingerprint: str | None
    examples_fingerprint: str | None
    runtime: str | None
    producer: str
    prescore_version: str
    spec: dict[str, Any]
    checks: list[CheckResult]
    history: list[Event]


@dataclass(frozen=True)
class Verification:
    """The proof of a version: its table equals what its snapshot and its model file give.

    Of its `rows`, `kept` are last predictions for keys that have vanished. They come from earlier versions, and are not
    proven. Numbers of the others are equal to `tolerance`, which is 0 when they are equal bit by bit. `identical` says
    whether every row of the version is proven so. `differences` has a sentence for each reason why the version is not
    proven. `runtime` is the release of ONNX Runtime that scored it now.
    """

    model: str
    version: int
    rows: int
    kept: int
    verified: bool
    identical: bool
    tolerance: float
    runtime: str
    differences: tuple[str, ...]
    manifest: Manifest

    def as_dict(self) -> dict[str, Any]:
        """Return the verification as a dict for JSON."""
        return asdict(self)

    def require(self) -> None:
        """Raise Refused unless the version is proven."""
        if self.verified:
            return
        lines = "\n  ".join(self.differences)
        raise Refused(
            f"{self.model} version {self.version} is not proven:\n  {lines}\n"
            f"Was its table changed by hand? `prescore history {self.model}` lists what happened to it, and "
            f"`prescore run {self.model} --full` makes a new version."
        )


def verify(job: Job, version: int | None = None) -> Verification:
    """Prove a version, by default the published one; the spec, model file and snapshot are those that it was made from.

    Raises NotFound when there is no such version, or when its snapshot or model file is gone; NotAllowed when it has no
    table.
    """
    with job.database.connect() as connection:
        catalog = Catalog(connection)
        row = _chosen(catalog, job.model, version)
        require_table(catalog, row)
        spec = Spec.from_content(job.model, row["spec"])
        fingerprint = row["model_fingerprint"]
        model = None if fingerprint is None else job.store.model(fingerprint)
        predictor = preflight.open_predictor(model, spec)
        with (
            replay.replayed(connection, job.store, row, predictor, job.on_progress) as again,
            kept.left_out(connection, row) as (scored, schema),
        ):
            compared = compare(connection, scored, again, schemas=(schema, replay.SCHEMA))
        differences = (*_differences(compared), *_doubts(connection, row))
        keys = compared.keys
        is_exact = not (keys.added or keys.vanished or keys.changed)
        return Verification(
            model=job.model,
            version=row["version"],
            rows=row["rows"] or 0,
            kept=row["kept"],
            verified=not differences,
            identical=is_exact and not row["kept"] and not differences,
            tolerance=0.0 if is_exact else PRECISION,
            runtime=RUNTIME,
            differences=differences,
            manifest=_manifest(catalog, row),
        )


def _chosen(catalog: Catalog, model: str, version: int | None) -> Version:
    if version is None:
        version = catalog.model(model)["published_version"]
    if version is None:
        raise NotFound(f"{model} has no published version. Name one: prescore verify {model} VERSION")
    row = catalog.version(model, version)
    if row["state"] in WITHOUT_TABLE:
        raise NotAllowed(f"{version_label(row)} is {row['state']}: it has no table to verify.")
    return row


def _differences(compared: Comparison) -> list[str]:
    keys = compared.keys
    found = []
    if keys.vanished:
        found.append(f"{count(keys.vanished, 'row')} of the table cannot be scored from the snapshot")
    if keys.added:
        found.append(f"{count(keys.added, 'row')} of the snapshot are missing from the table")
    changed = [column for column in compared.columns if not _is_equal(column)]
    return found + [f"{column.column}: {column.sentence()}" for column in changed]


def _doubts(connection: Connection, version: Version) -> list[str]:
    """Return why the kept rows may not be what earlier versions predicted: the snapshot has no inputs of them."""
    if not version["kept"]:
        return []
    found = kept.count(connection, version)
    if found != version["kept"]:
        return [f"the table has {count(found, 'kept row')}, and the version was made with {version['kept']:,}"]
    if may_be_edited(Catalog(connection), version):
        kept_rows = count(found, "kept row")
        reason = "a table of the version was changed by hand, or an update of it was rolled back"
        return [f"{reason}, and its {kept_rows} may not be what earlier versions predicted"]
    return []


def _is_equal(column: ColumnDifference) -> bool:
    """Return whether a column has the same values, numbers within the tolerance."""
    if not column.changed:
        return True
    if column.shift is not None:
        # A value that became NULL or NaN has no difference that could be measured.
        if column.shift.a.count != column.shift.b.count:
            return False
        return _is_within(column.shift.largest_difference, allowance(column.shift.a.quantiles))
    if column.elements is not None:
        return _is_within(column.elements.largest_difference, allowance())
    return False


def _is_within(difference: float | None, allowed: float) -> bool:
    return difference is not None and 0 < difference <= allowed


def _manifest(catalog: Catalog, row: Version) -> Manifest:
    events = [event for event in catalog.all("events_list", model=row["model"]) if event["version"] == row["version"]]
    return Manifest(
        model=row["model"],
        version=row["version"],
        id=str(row["id"]),
        state=row["state"],
        rows=row["rows"] or 0,
        rejected=row["rejected"] or 0,
        base_version=row["base_version"],
        changes=row["changes"],
        data_as_of=row["data_as_of"],
        started_at=row["started_at"],
        published_at=row["published_at"],
        model_fingerprint=row["model_fingerprint"],
        snapshot_fingerprint=row["snapshot_fingerprint"],
        domain_fingerprint=row["domain_fingerprint"],
        spec_fingerprint=row["spec_fingerprint"],
        checks_fingerprint=row["checks_fingerprint"],
        examples_fingerprint=row["examples_fingerprint"],
        runtime=row["runtime"],
        producer=row["producer"],
        prescore_version=row["prescore_version"],
        spec=row["spec"],
        checks=row["checks"] or [],
        history=events,
    )
