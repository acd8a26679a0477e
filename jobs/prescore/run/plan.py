"""What the model file and spec of a project would do to what is served, without making a version."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from prescore.catalog.catalog import Catalog, CheckResult, Version
from prescore.checks.results import sentence
from prescore.comparison import limits
from prescore.comparison.comparison import compare
from prescore.comparison.differences import Comparison
from prescore.comparison.precision import PRECISION
from prescore.errors import Mistake, NotFound, Refused
from prescore.run import preflight, replay
from prescore.run.job import Job
from prescore.scoring.predictor import Predictor
from prescore.versions import compatibility, kept
from prescore.versions.publishable import require_table
from prescore.versions.withheld import warnings
from prescore.wording import count

_CAN_BE_READ = ("published", "superseded", "checked")


@dataclass(frozen=True)
class Night:
    """One version and its state, scored again by the project's model file: how its predictions would differ.

    In `comparison`, version `a` is what was predicted, and `b` what would be. `limits` are the results of the limits
    in the spec.
    """

    version: int
    state: str
    comparison: Comparison
    limits: list[CheckResult]

    @property
    def refused(self) -> list[CheckResult]:
        """The limits beyond which the version would be refused."""
        return [result for result in self.limits if not result["passed"]]

    @property
    def outcome(self) -> str:
        """What would become of the version, as a clause."""
        if self.refused:
            return f"would be refused by {count(len(self.refused), 'limit')}"
        if warnings(self.limits):
            return "would wait for approval"
        if not self.limits:
            return "the spec has no limits for it"
        return "within the limits"

    def verdicts(self) -> list[str]:
        """Return a sentence for each limit that refuses the version or requires a person's approval."""
        refusals = [f"refused: {sentence(result)}" for result in self.refused]
        return [*refusals, *(f"approval: {sentence(result)}" for result in warnings(self.limits))]

    def limits_within(self) -> list[str]:
        """Return a sentence for each limit that the version stays within."""
        within = [result for result in self.limits if result["passed"] and not result.get("warning")]
        return [f"within: {sentence(result)}" for result in within]


@dataclass(frozen=True)
class Unavailable:
    """An earlier version that cannot be scored again or compared, and its state: `reason` says why."""

    version: int
    state: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a project's model file and spec would do: on the served version, and with a backtest on earlier ones.

    `breaking` has a sentence for each column that would break readers. `unavailable` are the earlier versions that a
    backtest could not score again, such as after a change to their tables or snapshots by hand.
    """

    model: str
    nights: tuple[Night, ...]
    breaking: tuple[str, ...]
    unavailable: tuple[Unavailable, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as a dict for JSON."""
        nights = [{**asdict(night), "outcome": night.outcome} for night in self.nights]
        unavailable = [asdict(version) for version in self.unavailable]
        return {"model": self.model, "breaking": self.breaking, "nights": nights, "unavailable": unavailable}

    def unavailable_lines(self) -> list[str]:
        """Return a line for each earlier version that could not be scored again: which one, and why."""
        return [
            f"{self.model} version {version.version} ({version.state}), not available: {version.reason}"
            for version in self.unavailable
        ]

    def require(self) -> None:
        """Raise Refused if the served version would be refused with this model file and spec, and name others."""
        served, *earlier = self.nights
        if not served.refused:
            return
        lines = [sentence(result) for result in served.refused]
        also = [f"{night.version}" for night in earlier if night.refused]
        if also:
            lines.append(f"So would version{'s' * (len(also) > 1)} {', '.join(also)}.")
        message = f"A version like {self.model} version {served.version} would be refused:"
        raise Refused("\n  ".join([message, *lines]), served.limits)


def plan(job: Job, backtest: int = 0) -> Plan:
    """Score the served version's snapshot with the project's model file, and compare; also that of earlier versions.

    `backtest` is how many earlier versions are scored as well, newest first; one that cannot be does not stop the
    others. Nothing is written: no version is made, and the domain query does not run. Raises NotFound when nothing is
    served or its snapshot is gone, NotAllowed when this snapshot does not have a column that the spec needs,
    DatabaseRefused when rows of the served version are missing, and Mistake when model file, spec and examples do not
    fit.
    """
    predictor = preflight.open_predictor(job.onnx, job.spec)
    preflight.check_predictor(job, predictor)
    with job.database.connect() as connection:
        served, *earlier = _chosen(Catalog(connection), job.model, backtest)
        breaking = compatibility.breaking_changes(
            connection,
            job.model,
            job.spec.key_columns,
            job.spec.output_columns,
        )
    nights = [_compare(job, served, predictor)]
    unavailable = []
    for version in earlier:
        try:
            nights.append(_compare(job, version, predictor))
        except Mistake as error:
            unavailable.append(Unavailable(version["version"], version["state"], str(error)))
    return Plan(job.model, tuple(nights), tuple(breaking), tuple(unavailable))


def _chosen(catalog: Catalog, model: str, backtest: int) -> list[Version]:
    served = catalog.model(model)["published_version"]
    if served is None:
        raise NotFound(f"{model} has no published version. `prescore run {model}` makes the first one.")
    chosen = [catalog.version(model, served)]
    # A version with the same predictions as a later one stands for the same night.
    seen = {chosen[0]["content_version"]}
    for version in catalog.versions(model):
        if version["version"] >= served or version["content_version"] in seen:
            continue
        if version["state"] in _CAN_BE_READ and version["trial_rows"] is None:
            chosen.append(version)
            seen.add(version["content_version"])
    return chosen[: 1 + backtest]


def _compare(job: Job, version: Version, predictor: Predictor) -> Night:
    """Score a version's snapshot again, and compare it with the version, but for its kept rows: they have no inputs.

    A session of its own leaves no temporary table for the next version when it fails.
    """
    with job.database.connect() as connection:
        require_table(Catalog(connection), version)
        with (
            replay.replayed(connection, job.store, version, predictor, job.on_progress) as again,
            kept.left_out(connection, version) as (scored, schema),
        ):
            compared = compare(
                connection,
                scored,
                again,
                job.spec.comparison.tolerances,
                schemas=(schema, replay.SCHEMA),
                precision=PRECISION,
            )
    return Night(version["version"], version["state"], compared, limits.results(compared, job.spec.comparison))
