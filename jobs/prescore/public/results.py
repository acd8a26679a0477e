"""Results of the public API: plain values, each with a form for JSON and a table for notebooks.

Nothing here imports pandas or Arrow, so that `prescore status` starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Generic, Self, TypeVar, overload

from prescore.catalog.catalog import CheckResult, Model, Version
from prescore.checks.results import sentence
from prescore.public import html
from prescore.public.formatting import first_line, format_age, format_share
from prescore.versions import withheld


@dataclass(frozen=True)
class Result:
    """The base of every result."""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as the command line's `--json` prints it; times stay datetimes."""
        return asdict(self)

    def summary(self) -> dict[str, object]:
        """Return what tables show of the result: heading → value."""
        return self.as_dict()

    def _repr_html_(self) -> str:
        return html.record(self.summary())


R = TypeVar("R", bound=Result)


class Results(Sequence[R], Generic[R]):
    """A read-only list of results; a notebook shows it as one table."""

    def __init__(self, items: Iterable[R]) -> None:
        self._items = tuple(items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Results[R]: ...
    def __getitem__(self, index: int | slice) -> R | Results[R]:
        if isinstance(index, slice):
            return Results(self._items[index])
        return self._items[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Results) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        lines = "".join(f"\n  {item!r}," for item in self._items)
        return f"Results([{lines}\n])" if lines else "Results([])"

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return every item's `as_dict()`, such as for `pandas.DataFrame`."""
        return [item.as_dict() for item in self._items]

    def _repr_html_(self) -> str:
        return html.table([item.summary() for item in self._items])


@dataclass(frozen=True)
class ValidationResult(Result):
    """A model whose spec, model file, domain and checks fit together.

    `rows` is the number of rows of the domain, `rejected` how many of them a run would reject. `warnings` has a
    sentence for what could not be verified.
    """

    model: str
    rows: int
    rejected: int
    warnings: Sequence[str] = ()

    def summary(self) -> dict[str, object]:
        """Return what tables show of the validation: heading → value."""
        return {
            "model": self.model,
            "valid": True,
            "rows": self.rows,
            "rejected rows": self.rejected,
            "warnings": "; ".join(self.warnings) or None,
        }


@dataclass(frozen=True)
class ModelVersion(Result):
    """One version of a model.

    `state` is one of building, staged, checked, published, superseded, refused, failed, retired. `data_as_of` is the
    time that the inputs describe. `pinned` versions are kept whatever retention says; `withdrawn` ones were rolled
    back from. `checks` are the check results, each `{name, passed, observed, expected}`. `canary` and `awaits`, the
    results for which the version waits for a person's approval, are set by `Project.versions` alone.
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


@dataclass(frozen=True)
class Event(Result):
    """One entry of a model's history: what happened to which version, who did it (`actor`), and why."""

    at: datetime
    model: str
    version: int | None
    event: str
    actor: str
    reason: str | None
    detail: Mapping[str, Any] = field(hash=False)

    def summary(self) -> dict[str, object]:
        """Return what tables show of the event: heading → value."""
        return {
            "at": self.at,
            "event": self.event,
            "version": self.version,
            "by": self.actor,
            "why": first_line(self.reason),
        }

    def _repr_html_(self) -> str:
        return html.record({"model": self.model, **self.summary()})


@dataclass(frozen=True)
class Canary(Result):
    """A version that is tried beside the published one.

    The lookup API answers `share` of the keys from it, from 0 to 1; 0 for a canary in shadow.
    """

    model: str
    version: int
    share: float
    published_version: int

    def sentence(self) -> str:
        """Return the canary as people read it."""
        return (
            f"{self.model} version {self.version} is the canary {format_share(self.share)}; "
            f"version {self.published_version} is published."
        )


@dataclass(frozen=True)
class LookupResult(Result):
    """The prediction of one key, with its age.

    `prediction` maps output and passthrough columns to values; it is None when the version does not have the key,
    and `found` is then False. `stale` says whether the inputs are older than the model's max age. `last_version` is the
    last version that had the key, if the model has tombstones and the key has vanished, and `last_data_as_of` the time
    of its inputs.
    """

    model: str
    version: int
    key: Mapping[str, Any] = field(hash=False)
    found: bool
    prediction: Mapping[str, Any] | None = field(hash=False)
    data_as_of: datetime
    published_at: datetime | None
    age_seconds: float
    stale: bool
    last_version: int | None = None
    last_data_as_of: datetime | None = None

    def summary(self) -> dict[str, object]:
        """Return what tables show of the answer: name → value."""
        # A key is not a quantity: without separators, it can be pasted back.
        key = {name: str(value) for name, value in self.key.items()}
        values = {"prediction": "not found"} if self.prediction is None else dict(self.prediction)
        return {
            **key,
            **values,
            "version": self.version,
            "age": format_age(self.age_seconds),
            "stale": self.stale,
        }


@dataclass(frozen=True)
class Finding(Result):
    """One thing that `doctor` examined.

    `state` is `ok`, `warning` for what will become a problem or wastes space, or `fault` for what keeps runs or readers
    from working. `observed` is what it found, and `advice` what to do; empty when there is nothing to do.
    """

    subject: str
    state: str
    observed: str
    advice: str


@dataclass(frozen=True)
class RetentionDecision:
    """Why retention keeps a version, as a clause; `reason` is None for a version that is to be retired."""

    version: int
    state: str
    reason: str | None

    def summary(self) -> dict[str, object]:
        """Return what tables show of the decision: heading → value."""
        return {
            "version": self.version,
            "state": self.state,
            "kept because": self.reason,
        }


@dataclass(frozen=True)
class RetirementResult(Result):
    """The versions that a retirement dropped, or with `dry_run` would drop.

    `in_use` are versions that are retired but still being read; the next retirement drops their tables. `dependents`
    names, by version, the objects that keep a table from being dropped, such as views. `decisions` explain a dry run:
    one for each version that exists, newest first.
    """

    model: str
    dry_run: bool
    retired: tuple[int, ...]
    in_use: tuple[int, ...] = ()
    dependents: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    decisions: tuple[RetentionDecision, ...] = ()

    def summary(self) -> dict[str, object]:
        """Return what a notebook shows of the retirement: name → value."""
        if self.dry_run:
            return {
                "model": self.model,
                "would retire": _listed(self.retired),
                "versions": html.nested([decision.summary() for decision in self.decisions]),
            }
        return {
            "model": self.model,
            "retired": _listed(self.retired),
            "still being read": _listed(self.in_use),
            "kept by other objects": _listed(tuple(self.dependents)),
        }


@dataclass(frozen=True)
class RemovalResult(Result):
    """What a removal dropped, or with `dry_run` would drop: the view, and `versions` with tables of `bytes` in all.

    `dependents` are other people's objects, which a removal does not drop and which keep the model from being removed.
    `api_keys` are the names of API keys that name the model; they stay. `spec_file` is the spec if it is still there:
    the next run of it would make the model again.
    """

    model: str
    dry_run: bool
    versions: tuple[int, ...]
    bytes: int
    dependents: tuple[str, ...]
    api_keys: tuple[str, ...]
    spec_file: str | None


def mark_state(state: str, **marks: bool) -> str:
    """Return a state, followed by the marks that apply, such as `superseded, pinned`."""
    applicable = [mark for mark, applies in marks.items() if applies]
    return ", ".join([state, *applicable])


def approval(model: str, version: int, warnings: Iterable[CheckResult]) -> str:
    """Return what a version waits for, and the command that approves it."""
    reasons = "; ".join(map(sentence, warnings))
    return f"waits for approval by `prescore publish {model} {version}`: {reasons}"


def _listed(versions: Sequence[int]) -> str | None:
    return ", ".join(map(str, versions)) or None
