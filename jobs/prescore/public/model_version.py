"""One version of a model in the public API: its state, its place beside the others, and why it is not published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from prescore.catalog import edits
from prescore.catalog.catalog import Catalog, CheckResult, Model, Version
from prescore.checks.results import sentence
from prescore.public import html
from prescore.public.formatting import first_line
from prescore.public.results import Result
from prescore.versions import withheld


@dataclass(frozen=True)
class ModelVersion(Result):
    """One version of a model.

    `state` is one of building, staged, checked, published, superseded, refused, failed, retired. `data_as_of` is the
    time that the inputs describe. `pinned` versions are kept whatever retention says; `withdrawn` ones were rolled
    back from. `checks` are the check results, each `{name, passed, observed, expected}`. `canary` and `awaits`, the
    results for which the version waits for a person's approval, are set by `Project.versions` alone. `warnings` has a
    sentence if a table of the version was changed by hand; only `publish`, `promote` and `rollback` examine that.
    """

    model: str
    version: int
    state: str
    rows: int | None
    rejected: int | None
    data_as_of: datetime | None
    started_at: datetime
    published_at: datetime | None
    pinned: bool
    withdrawn: bool
    trial_rows: int | None
    as_of: datetime | None
    canary: bool
    awaits: Sequence[CheckResult] = field(repr=False)
    error: str | None
    checks: Sequence[CheckResult] = field(repr=False)
    row: Version = field(repr=False, compare=False)
    """The whole row of `prescore.versions`."""
    warnings: Sequence[str] = field(default=(), repr=False, compare=False)

    @classmethod
    def from_row(cls, row: Version, model: Model | None = None) -> Self:
        """Return the version that a row of `prescore.versions` describes, with `model` also its place beside others."""
        return cls(
            model=row["model"],
            version=row["version"],
            state=row["state"],
            rows=row["rows"],
            rejected=row["rejected"],
            data_as_of=row["data_as_of"],
            started_at=row["started_at"],
            published_at=row["published_at"],
            pinned=row["pinned_at"] is not None,
            withdrawn=row["withdrawn_at"] is not None,
            trial_rows=row["trial_rows"],
            as_of=row["as_of"],
            canary=model is not None and model["canary_version"] == row["version"],
            awaits=() if model is None else tuple(withheld.awaited(row, model)),
            error=row["error"],
            checks=tuple(row["checks"] or ()),
            row=row,
        )

    @classmethod
    def from_served(cls, catalog: Catalog, row: Version) -> Self:
        """Return a version that readers have from now on, with warnings if its tables were changed by hand."""
        return replace(cls.from_row(row), warnings=edits.warnings(catalog, row))

    def __hash__(self) -> int:
        return hash((self.model, self.version, self.state))

    @property
    def reason(self) -> str | None:
        """Why the version failed, was refused or waits for approval: its error or its checks; None for any other."""
        if self.awaits:
            return approval(self.model, self.version, self.awaits)
        if self.error or self.state != "refused":
            return self.error
        return "; ".join(sentence(result) for result in self.checks if not result["passed"])

    @property
    def marked_state(self) -> str:
        """The state and the marks `trial`, `canary`, `withdrawn` and `pinned` that apply: `superseded, pinned`."""
        is_trial = self.trial_rows is not None
        return mark_state(self.state, trial=is_trial, canary=self.canary, withdrawn=self.withdrawn, pinned=self.pinned)

    def as_dict(self) -> dict[str, Any]:
        """Return the whole row of `prescore.versions`, and `awaits`."""
        return {**self.row, "awaits": list(self.awaits)}

    def summary(self) -> dict[str, object]:
        """Return what tables show of the version: heading → value."""
        return {
            "version": self.version,
            "state": self.marked_state,
            "rows": self.rows,
            "data as of": self.data_as_of,
            "started at": self.started_at,
            "published at": self.published_at,
            "why": first_line(self.reason),
        }

    def _repr_html_(self) -> str:
        return html.record({"model": self.model, **self.summary()})


def mark_state(state: str, **marks: bool) -> str:
    """Return a state, followed by the marks that apply, such as `superseded, pinned`."""
    applicable = [mark for mark, applies in marks.items() if applies]
    return ", ".join([state, *applicable])


def approval(model: str, version: int, warnings: Iterable[CheckResult]) -> str:
    """Return what a version waits for, and the command that approves it."""
    reasons = "; ".join(map(sentence, warnings))
    return f"waits for approval by `prescore publish {model} {version}`: {reasons}"
