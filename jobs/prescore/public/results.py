"""Results of the public API: plain values, each with a form for JSON and a table for notebooks.

Nothing here imports pandas or Arrow, so that `prescore status` starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Generic, Self, TypeVar, overload

from prescore.catalog.catalog import Catalog, CheckResult
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

    The lookup API answers `share` of the keys from it, from 0 to 1; 0 for a canary in shadow. `awaits` are the check
    results for which it waits for a person's approval. `warnings` has a sentence if a table of it was changed by hand;
    only `start_canary` examines that.
    """

    model: str
    version: int
    share: float
    published_version: int
    awaits: Sequence[CheckResult] = field(hash=False, repr=False)
    warnings: Sequence[str] = field(default=(), repr=False, compare=False)

    @classmethod
    def from_catalog(cls, catalog: Catalog, name: str) -> Self | None:
        """Return the canary of a model, None if there is none; raise NotFound."""
        row = catalog.model(name)
        version, share, published = row["canary_version"], row["canary_share"], row["published_version"]
        if version is None or share is None or published is None:
            return None
        return cls(name, version, share, published, tuple(withheld.unapproved(catalog.version(name, version))))

    def sentence(self) -> str:
        """Return the canary as people read it."""
        return (
            f"{self.model} version {self.version} is the canary {format_share(self.share)}; "
            f"version {self.published_version} is published."
        )

    def approval(self) -> str | None:
        """Return why the canary waits for approval, as a clause; None unless it does."""
        return "; ".join(map(sentence, self.awaits)) or None


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
