"""The review of a version before it is published: its check results, and how it differs from the served version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from prescore.catalog.catalog import Catalog, CheckResult, Version
from prescore.checks.results import sentence
from prescore.comparison.comparison import compare
from prescore.comparison.differences import Comparison
from prescore.errors import NotAllowed
from prescore.project.spec import Spec
from prescore.run.report import unverified
from prescore.versions import withheld
from prescore.wording import short, utc


@dataclass(frozen=True)
class Review:
    """One version, as a person reviews it.

    `served` is the published version, None if there is none. `comparison` says how this version differs from it, and
    `comparison_error` why the two cannot be compared. A version is not published while its model is `on_hold`, nor if
    it is a `backfill`: one for a time before that of the published version.
    """

    model: str
    version: int
    rows: int
    rejected: int
    data_as_of: datetime | None
    checks: list[CheckResult]
    served: int | None
    comparison: Comparison | None
    comparison_error: str | None
    on_hold: bool
    hold_reason: str | None
    backfill: bool
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the review as a dict for JSON."""
        return asdict(self)

    def markdown(self) -> list[str]:
        """Return the review as lines of Markdown."""
        return [
            *self._summary(),
            *self._check_table(),
            *self._warnings(),
            *self._comparison_lines(),
        ]

    def _summary(self) -> Iterator[str]:
        as_of = "an unknown time" if self.data_as_of is None else utc(self.data_as_of)
        yield f"{self.rows:,} rows, {self.rejected:,} rejected, data as of {as_of}."
        yield ""

    def _check_table(self) -> Iterator[str]:
        yield "| check | observed | expected |"
        yield "|---|---|---|"
        for result in self.checks:
            cells = (result["name"], short(result["observed"]), result["expected"])
            yield f"| {' | '.join(_escape(cell) for cell in cells)} |"
        yield ""

    def _warnings(self) -> Iterator[str]:
        for result in withheld.warnings(self.checks):
            yield f"**Approval is required, because the version differs: {sentence(result)}.**"
            yield ""
        for warning in self.warnings:
            yield f"**{warning}**"
            yield ""
        if self.on_hold:
            yield f"**The model is on hold ({self.hold_reason}). Approval publishes nothing until it is released.**"
            yield ""
        if self.backfill:
            yield "**The served version has newer data. Approval publishes nothing: this version is kept beside it.**"
            yield ""

    def _comparison_lines(self) -> Iterator[str]:
        if self.served is None:
            yield "No version is served yet."
        elif self.comparison is None:
            yield f"Version {self.served} is served. {self.comparison_error}"
        else:
            counts = [f"{count:,} {name}" for name, count in asdict(self.comparison.keys).items()]
            yield f"Keys compared with version {self.served}, which is served: {', '.join(counts)}."
            for column in self.comparison.columns:
                yield f"- {column.column}: {column.sentence()}."


def report(catalog: Catalog, version: Version) -> Review:
    """Return the review of a version, compared with the version that is served now; raise NotFound."""
    model = catalog.model(version["model"])
    served = model["published_version"]
    compared, comparison_error = None, None
    if served is not None:
        try:
            served_row = catalog.version(version["model"], served)
            compared = compare(catalog.connection, served_row, version)
        except NotAllowed as error:
            comparison_error = str(error)
    return Review(
        model=version["model"],
        version=version["version"],
        rows=version["rows"] or 0,
        rejected=version["rejected"] or 0,
        data_as_of=version["data_as_of"],
        checks=version["checks"] or [],
        served=served,
        comparison=compared,
        comparison_error=comparison_error,
        on_hold=model["held_at"] is not None,
        hold_reason=model["hold_reason"],
        backfill=withheld.is_backfill(catalog, version),
        warnings=unverified(version),
    )


def require_same_spec(spec: Spec, version: Version) -> None:
    """Raise NotAllowed unless the version was built from the spec as it is now."""
    if version["spec_fingerprint"] != spec.fingerprint:
        raise NotAllowed(
            f"The spec of {spec.model} has changed since version {version['version']} was started. "
            "Start a new run, or clear the snapshot task of this one together with its downstream tasks."
        )


def _escape(value: Any) -> str:
    """Return a value as the text of one Markdown table cell."""
    return str(value).replace("|", "\\|").replace("\n", " ")
