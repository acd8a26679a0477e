"""The project as the public API offers it: one method for each command that works with models and versions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from prescore.catalog import edits, lookup
from prescore.catalog.datetimes import to_datetime
from prescore.comparison import comparison, selection
from prescore.doctor import examination
from prescore.errors import KeyInvalid, Mistake, NotFound
from prescore.project import renaming
from prescore.project.spec import Retention
from prescore.public import estimator_files, extras, progress
from prescore.public.activity import ModelActivity
from prescore.public.comparison import Comparison
from prescore.public.model_version import ModelVersion
from prescore.public.results import Canary, Event, Finding, LookupResult, Results, ValidationResult
from prescore.public.retirement import RemovalResult, RetirementResult
from prescore.public.session import Session
from prescore.public.status import ModelStatus
from prescore.store.store import Store
from prescore.versions import canary, hold, lease, pins, pointer, removal, retirement, rollback, withheld
from prescore.versions.options import PublishOptions, RunOptions
from prescore.versions.removal import Belongings
from prescore.versions.retention import Inventory

if TYPE_CHECKING:
    import pandas as pd

    from prescore.catalog.catalog import Catalog
    from prescore.project.project import Project as ProjectFiles
    from prescore.public.plan import Plan, Verification
    from prescore.public.run_report import RunReport


class Project:
    """A project and its database.

        project = prescore.Project("path/to/project")
        report = project.run("churn")
        frame = project.read("churn")

    `path` is the folder with prescore.toml or one below it; by default PRESCORE_PROJECT or the current folder.
    PRESCORE_DATABASE_URL overrides the database that prescore.toml names, and a database that it names can be read
    without any project. With `progress`, runs and validations show bars on a terminal's standard error, or one
    line in a notebook. Cheap to create: every call opens its own connections and reads the files as they are then.

    Raises Mistake when there is no project, SpecInvalid when prescore.toml is invalid. Every method that uses the
    database also raises DatabaseUnavailable, which is worth a retry, and DatabaseRefused; methods that read never
    migrate the catalog.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, progress: bool = True) -> None:
        self._session = Session(path)
        self._progress = progress

    def __repr__(self) -> str:
        try:
            return f"Project({str(self.root)!r})"
        except Mistake:
            return "Project()"

    @property
    def root(self) -> Path:
        """The folder that holds prescore.toml; raises Mistake when there is no project."""
        return self._session.files.root

    @property
    def database_url(self) -> str:
        """The libpq URL of the database, for psycopg, SQLAlchemy or psql; the embedded server is started first."""
        return self._session.database.url

    def models(self) -> list[str]:
        """Return the names of the models that have a spec, in alphabetical order."""
        return self._session.files.models()

    @overload
    def validate(self, name: str) -> ValidationResult: ...
    @overload
    def validate(self, name: None = None) -> Results[ValidationResult]: ...
    def validate(self, name: str | None = None) -> ValidationResult | Results[ValidationResult]:
        """Validate a model's spec, model file, domain and checks, or those of all models, without writing anything.

        Reads every row of the domain. Raises SpecInvalid, ModelInvalid or DomainInvalid for the first fault, and
        Refused when the domain is empty or too many of its rows would be rejected.
        """
        if name is None:
            return Results(self._validate(model) for model in self.models())
        return self._validate(name)

    def _validate(self, name: str) -> ValidationResult:
        with progress.bars(enabled=self._progress) as on_progress:
            with extras.needed("jobs"):
                from prescore.run import preflight

            definition = self._session.definition(name, on_progress)
            found = preflight.validate(definition)
        return ValidationResult(name, found.rows, found.rejected, found.warnings)

    def run(
        self,
        name: str,
        *,
        full: bool = False,
        publish: bool = True,
        allow_breaking: bool = False,
        trial_rows: int | None = None,
        as_of: date | str | None = None,
        wait: bool = False,
    ) -> RunReport:
        """Make a version of a model and publish it: snapshot, score, stage, check, publish.

        An unfinished version of the same spec, query and model file is resumed; `full` starts from scratch. Without
        `publish`, and while the model is on hold, the version is made and checked only. `trial_rows` scores a random
        sample of at most that many rows of the domain, for a version that is never published. `as_of` is the time that
        the run is for, which the domain query receives as `$as_of`: a datetime, a date or a text such as "2026-01-31".
        A time without a zone is in UTC, and a date means 00:00 UTC. `allow_breaking` publishes columns that break
        readers. `wait` waits while another run writes the model.

        Raises Refused when a check fails: the earlier version is still served, and `report(name)` describes the
        refused one. Raises Busy while another run writes the model, LeaseLost when another run took over, SpecInvalid,
        ModelInvalid or DomainInvalid for a fault in the project, and NotAllowed for columns that would break readers.
        """
        if trial_rows is not None and trial_rows < 1:
            raise Mistake(f"trial_rows is {trial_rows}. Use a positive number of rows, or None for the whole domain.")
        time = None if as_of is None else to_datetime(as_of)
        options = RunOptions(publish, full, allow_breaking, trial_rows, time)
        on_busy = progress.report_busy if wait else None
        with progress.bars(enabled=self._progress) as on_progress:
            with extras.needed("jobs"):
                from prescore.public.run_report import RunReport
                from prescore.run import materialize

            job = self._session.job(name, on_progress)
            report = materialize.run(job, options, on_busy=on_busy)
        return RunReport.from_report(report)

    def publish_estimator(
        self,
        name: str,
        estimator: Any,
        frame: pd.DataFrame,
        *,
        key: str | Sequence[str],
        features: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        replace: bool = False,
        allow_breaking: bool = False,
    ) -> RunReport:
        """Export an estimator, write the spec of its model, run it, and publish: `prescore.publish` in this project."""
        written = estimator_files.write(
            self.root, name, estimator, frame, key=key, features=features, targets=targets, replace=replace
        )
        if self._progress:
            estimator_files.report(written.remarks)
        with written.advice():
            return self.run(name, allow_breaking=allow_breaking)

    def check_again(self, name: str, version: int) -> RunReport:
        """Run the checks that the spec has now on a staged, checked or refused version, without scoring.

        A version that passes can be published. Raises Refused when a check fails: the version is refused then, and
        `report(name, version)` describes it. Raises NotFound; NotAllowed for a version that has no table, has been
        published, or was made by a spec with other columns, features or model file; and Busy while a run writes the
        model.
        """
        with extras.needed("jobs"):
            from prescore.public.run_report import RunReport
            from prescore.run.job import no_progress
            from prescore.run.recheck import check_again

        report = check_again(self._session.job(name, no_progress), version)
        return RunReport.from_report(report)

    def report(self, name: str, version: int | None = None) -> RunReport:
        """Return the report of a version, by default the model's newest, whatever became of it; raises NotFound.

        Its `seconds` have no `total`, which only the run itself knows.
        """
        with extras.needed("jobs"):
            from prescore.public.run_report import RunReport
            from prescore.run.job import no_progress

        job = self._session.job(name, no_progress)
        return RunReport.newest(job) if version is None else RunReport.from_catalog(job, version)

    def versions(self, name: str) -> Results[ModelVersion]:
        """Return all versions of a model, newest first; raises NotFound for a model that was never run."""
        with self._session.catalog() as catalog:
            model = catalog.model(name)
            rows = catalog.versions(name)
        return Results(ModelVersion.from_row(row, model) for row in rows)

    def compare(self, name: str, a: int | None = None, b: int | None = None) -> Comparison:
        """Compare version `b` of a model with version `a`: keys, and every column that both have.

        One version alone is compared with the published one, the earlier of the two first, and the published one with
        the newest before it. Without `a` and `b`, that is the newest version that has a table, in any state. Reads
        both tables whole, unless they share a base. Raises NotFound, and NotAllowed when a version has no table or the
        keys differ.
        """
        with self._session.catalog() as catalog:
            versions = selection.choose(catalog, name, a, b)
            return Comparison.from_differences(comparison.compare(catalog.connection, *versions), *versions)

    def plan(self, name: str, *, backtest: int = 0) -> Plan:
        """Return what the model file and spec in this project would do to the served version, without making one.

        Scores the snapshot of the served version, and of as many earlier ones as `backtest` says. The domain query does
        not run. Raises NotFound when nothing is served or a snapshot is gone, NotAllowed when a snapshot does not
        have a column that the spec needs, and whatever `validate` raises for a model file that does not fit.
        """
        with extras.needed("jobs"):
            from prescore.public.plan import Plan
            from prescore.run.plan import plan

        with progress.bars(enabled=self._progress) as on_progress:
            return Plan.from_plan(plan(self._session.job(name, on_progress), backtest))

    def verify(self, name: str, version: int | None = None) -> Verification:
        """Prove a version, by default the published one: score its snapshot again, and compare with its table.

        Spec, model file and snapshot are those that the version was made from. Raises NotFound when the version, its
        snapshot or its model file is gone, NotAllowed when it has no table.
        """
        with extras.needed("jobs"):
            from prescore.public.plan import Verification
            from prescore.run.audit import verify

        with progress.bars(enabled=self._progress) as on_progress:
            return Verification.from_verification(verify(self._session.job(name, on_progress), version))

    def read(self, name: str, version: int | None = None, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the published version of a model, or another version, as a DataFrame in no particular order.

        Columns are those of the view `predictions.<name>`: the key, `version`, `data_as_of`, `published_at`, then
        outputs and passthrough columns. Types are exact: smallint, integer and bigint are int16, int32 and int64; real
        and double precision are float32 and float64; timestamps are datetime64[us], with UTC for timestamptz; dates
        and UUIDs are Python objects. Passthrough integers and booleans, which may be NULL, have the nullable types
        Int16, Int32, Int64 and boolean. The whole version is held in memory; `columns` reads only these, in this order.

        Raises NotFound when no such version exists or none is published, Mistake for an unknown column, NotAllowed when
        its table is gone or holds a value that pandas cannot hold, such as an infinite time.
        """
        with extras.needed("jobs"):
            from prescore.public import frame

        with self._session.catalog() as catalog:
            return frame.read(catalog, name, version, columns)

    def lookup(self, name: str, *key: object) -> LookupResult:
        """Return the published prediction of one key, given as one value for each key column in the spec's order.

        The result's `found` is False when the version does not have the key. Raises NotFound when nothing is
        published, KeyInvalid when a value is not of its column's type.
        """
        if any(hasattr(value, "columns") for value in key):
            raise KeyInvalid(
                "project.lookup takes one key. For the keys in a DataFrame, merge it with the predictions: "
                f'frame.merge(project.read("{name}"), how="left"). Over HTTP, use Client.lookup.'
            )
        with self._session.catalog() as catalog:
            return LookupResult(**lookup.look_up(catalog, name, [str(value) for value in key]))

    @overload
    def status(self, name: str) -> ModelActivity: ...
    @overload
    def status(self, name: None = None) -> Results[ModelStatus]: ...
    def status(self, name: str | None = None) -> ModelActivity | Results[ModelStatus]:
        """Return what is served of every model and how old it is, in alphabetical order.

        With a name, return the activity of that model as well: its unfinished run and how far it is, who holds its
        lease, which sessions wait, and which ones keep old versions. Raises NotFound for a model that was never run.
        """
        with self._session.catalog() as catalog:
            if name is not None:
                return ModelActivity.from_catalog(catalog, name)
            return Results(ModelStatus(**row) for row in catalog.all("status_models", model=None))

    def doctor(self) -> Results[Finding]:
        """Examine the server, the catalog, the models and the store, and return what was found.

        A database that cannot be used is a finding with the state `fault`, not an exception. Writes nothing but a
        marker into a store at a URL.
        """
        found = examination.examine(self._session.database, self._session.optional_files)
        return Results(Finding(**vars(finding)) for finding in found)

    def history(self, name: str) -> Results[Event]:
        """Return what happened to a model, newest first; raises NotFound for a model that was never run."""
        with self._session.catalog() as catalog:
            rows = catalog.all("events_list", model=name)
            # A model that was removed still has its history.
            if not rows:
                catalog.model(name)
            return Results(Event(**row) for row in rows)

    @overload
    def publish(
        self, name: str, version: int, *, allow_older: bool = False, allow_breaking: bool = False
    ) -> Results[ModelVersion]: ...
    @overload
    def publish(
        self, name: Mapping[str, int], *, allow_older: bool = False, allow_breaking: bool = False
    ) -> Results[ModelVersion]: ...
    def publish(
        self,
        name: str | Mapping[str, int],
        version: int | None = None,
        *,
        allow_older: bool = False,
        allow_breaking: bool = False,
    ) -> Results[ModelVersion]:
        """Publish a checked or superseded version, or versions of several models in one transaction.

            project.publish("churn", 7)
            project.publish({"churn": 7, "upsell": 3})

        `allow_older` accepts inputs older than those of the published version, `allow_breaking` columns that break
        readers. Returns the published versions by model name. Raises NotFound, NotAllowed when a version may not be
        published, and Busy when another publication is in the way.
        """
        chosen = _chosen(name, version)
        files = self._session.files
        options = {}
        for model, number in chosen.items():
            spec = files.spec(model)
            allowed = PublishOptions.from_spec(spec, allow_older=allow_older, allow_breaking=allow_breaking)
            options[model] = (number, allowed)
        with self._session.catalog() as catalog:
            rows = pointer.publish_together(catalog.connection, options)
            return Results(ModelVersion.from_served(catalog, row) for row in rows)

    def canary(self, name: str) -> Canary | None:
        """Return the version that is tried beside the published one, None if there is none; raises NotFound."""
        with self._session.catalog() as catalog:
            return Canary.from_catalog(catalog, name)

    def start_canary(
        self, name: str, version: int, *, share: float, allow_older: bool = False, reason: str | None = None
    ) -> Canary:
        """Try a version beside the published one, or change the share of the one that is tried.

        `share` is the share of the keys, from 0 to 1, that the lookup API answers from it: always the same keys, by
        their hash. With 0, in shadow, it answers none. The view `predictions.<name>_canary` shows the version. It must
        be one that could be published. Raises NotFound, NotAllowed for any other, Mistake for a share that is none, and
        Busy when another publication is in the way.
        """
        spec = self._session.files.spec(name)
        options = PublishOptions.from_spec(spec, allow_older=allow_older)
        with self._session.catalog() as catalog:
            published = canary.start(catalog.connection, name, version, share, options, reason)
            row = catalog.version(name, version)
            warnings = edits.warnings(catalog, row)
        return Canary(name, version, share, published, tuple(withheld.unapproved(row)), warnings)

    def drop_canary(self, name: str, *, reason: str | None = None) -> int:
        """End the canary, which stays a checked version, and return its number; raises NotAllowed without a canary."""
        with self._session.catalog() as catalog:
            return canary.drop(catalog.connection, name, reason)

    def promote(self, name: str, *, allow_older: bool = False, reason: str | None = None) -> ModelVersion:
        """Publish the canary, and return the version that is served now; raises as `publish`, and without a canary."""
        options = PublishOptions.from_spec(self._session.files.spec(name), allow_older=allow_older)
        with self._session.catalog() as catalog:
            return ModelVersion.from_served(catalog, canary.promote(catalog.connection, name, options, reason))

    def rollback(self, name: str, *, to: int | None = None, reason: str | None = None) -> ModelVersion:
        """Roll back to the last good earlier version, or to version `to`, and put the model on hold; end its canary.

        Returns the version that is served now. `release` lets new versions through again. Raises NotFound, and
        NotAllowed when there is no version to roll back to.
        """
        with self._session.catalog() as catalog:
            return ModelVersion.from_served(catalog, rollback.rollback(catalog.connection, name, to, reason))

    def hold(self, name: str, reason: str) -> None:
        """Put a model on hold: runs continue and nothing is published; raises NotFound."""
        with self._session.catalog() as catalog:
            hold.hold(catalog.connection, name, reason)

    def release(self, name: str) -> int | None:
        """End a hold, and return the number of a checked version that waits to be published, if there is one.

        Raises NotAllowed when the model is not on hold.
        """
        with self._session.catalog() as catalog:
            hold.release(catalog.connection, name)
            pending = catalog.one("versions_waiting", model=name)
        return pending["version"] if pending else None

    def release_lease(self, name: str) -> str | None:
        """Release the lease of a run that is gone, and return the name of its holder; None if the lease was free.

        A run that still works renews its lease, unless another run takes it first. Raises NotFound.
        """
        with self._session.catalog() as catalog:
            return lease.release_by_hand(catalog.connection, name)

    def retire(self, name: str, *, dry_run: bool = False) -> RetirementResult:
        """Drop the versions of a model that its spec's retention no longer keeps.

        With `dry_run`, nothing is dropped, and the result's `decisions` say why each version is kept. A version that
        is still being read is left for the next retirement. A model whose spec was removed has the default retention.
        Raises NotFound, and StoreUnavailable or StoreRefused when the store cannot be used.
        """
        files = self._session.files
        with self._session.catalog() as catalog:
            rules = _retention(files, catalog, name)
            catalog.model(name)
            if dry_run:
                return RetirementResult.planned(name, Inventory.from_catalog(catalog, name, rules))
            store = Store(files.store, catalog.name)
            retired = list(retirement.retire(catalog.connection, store, name, rules))
            left = retirement.undropped(catalog.connection, name)
            dependents = {row["version"]: retirement.dependents(catalog.connection, row) for row in left}
        return RetirementResult.done(name, retired, dependents)

    def pin(self, name: str, version: int, *, reason: str | None = None) -> None:
        """Keep a version whatever retention says; raises NotFound, and NotAllowed when it is pinned or has no table."""
        with self._session.catalog() as catalog:
            pins.pin(catalog.connection, name, version, reason)

    def unpin(self, name: str, version: int, *, reason: str | None = None) -> None:
        """Leave a version to retention again; raises NotFound, and NotAllowed when it is not pinned."""
        with self._session.catalog() as catalog:
            pins.unpin(catalog.connection, name, version, reason)

    def rename(self, old: str, new: str) -> dict[Path, Path]:
        """Rename the spec of a model, and its query if that is named like the model; return old path → new path.

        The next run makes the model under its new name. The one under its old name stays served until `remove` drops
        it, so that readers can move. Raises NotFound without a spec, and Mistake for a name that is not valid or taken.
        """
        return renaming.rename(self._session.files, old, new)

    def remove(self, name: str, *, dry_run: bool = False, reason: str | None = None) -> RemovalResult:
        """Remove a model: drop its view and the tables of all its versions, with its snapshots and model files.

        Its spec, query and model file stay in the project, and its history in the catalog. With `dry_run`, nothing is
        removed. The lookup API answers with 404 about a second later. Raises NotFound, NotAllowed while other people's
        objects depend on its view or tables, DatabaseRefused unless the role is the catalog owner, and Busy while a
        run writes the model or transactions that have read it are open.
        """
        files = self._session.files
        database = self._session.database
        with self._session.catalog() as catalog:
            if dry_run:
                planned = Belongings.from_catalog(catalog, name)
                return RemovalResult.from_belongings(planned, files, dry_run=True)
            store = Store(files.store, catalog.name)
        removed = removal.remove(database, store, name, reason)
        return RemovalResult.from_belongings(removed, files, dry_run=False)


def _retention(files: ProjectFiles, catalog: Catalog, name: str) -> Retention:
    """Return the retention in a model's spec, or the default one if the spec was removed and its versions are left."""
    try:
        return files.spec(name).retention
    except NotFound:
        if catalog.one("models_get", model=name) is None:
            raise
        return Retention()


def _chosen(name: str | Mapping[str, int], version: int | None) -> dict[str, int]:
    if isinstance(name, str):
        if version is None:
            raise Mistake(f'Which version of {name}? Write publish("{name}", 7), or publish({{"{name}": 7}}).')
        return {name: version}
    if version is not None:
        raise Mistake("A mapping of models to versions takes no further version.")
    return dict(name)
