"""What a lookup returns: keys, outputs and age of one version, without a format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from prescore import wording
from prescore.catalog import version_row
from prescore.errors import TooOld
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import OutputSelection, TableVersion


@dataclass(frozen=True)
class Age:
    """How old a version's data is at one moment, in seconds, and whether that is beyond its max age."""

    seconds: float
    stale: bool

    @classmethod
    def at(cls, version: TableVersion, now: float) -> Age:
        """Compute a version's age; `now` is in seconds since 1970 by the database's clock."""
        seconds = now - version.data_as_of
        return cls(seconds, version_row.is_stale(seconds, version.max_age))

    def require(self, version: TableVersion, options: LookupOptions) -> None:
        """Raise TooOld beyond the caller's bound, or beyond the max age if the model refuses stale lookups."""
        if options.max_age is not None and self.seconds > options.max_age:
            raise _too_old(version, self.seconds, f"max_age={options.max_age:g} allows {options.max_age:g} s")
        is_pinned = options.version is not None and not options.canary
        refuses_stale = version.row["refuse_stale"] and not is_pinned
        if self.stale and refuses_stale:
            raise _too_old(version, self.seconds, f"the model's max age is {version.max_age:g} s")


def _too_old(version: TableVersion, seconds: float, limit: str) -> TooOld:
    name = f"{version.model} version {version.version}"
    age, exact = wording.age(seconds), f"{seconds:.0f} s"
    in_seconds = "" if age == exact else f" ({exact})"
    return TooOld(
        f"{name} is too old: its data is {age} old{in_seconds}, and {limit}. "
        "Publish a newer version or allow a higher age."
    )


class Outputs(Protocol):
    """Columns of output values, by position among the version's outputs; undefined in rows whose key is not found."""

    def to_lists(self, positions: Sequence[int]) -> Sequence[Sequence[Any]]:
        """Return these columns as Python values."""

    def to_arrays(self, positions: Sequence[int]) -> Sequence[Any]:
        """Return these columns as Arrow arrays, or as sequences that Arrow converts."""


@dataclass(frozen=True)
class FetchedOutputs:
    """Columns of output values from the database."""

    columns: Sequence[Sequence[Any]]

    def to_lists(self, positions: Sequence[int]) -> Sequence[Sequence[Any]]:
        """Return these columns as Python values."""
        return [self.columns[position] for position in positions]

    to_arrays = to_lists


class Answer(NamedTuple):
    """The answer to one key: the key by column, each with a single value, and the row that was found for it."""

    table_version: TableVersion
    age: Age
    key: Sequence[Sequence[Any]]
    row: version_row.Row

    @property
    def is_found(self) -> bool:
        """Whether the version has the key."""
        return self.row[1] is True


class Tombstone(NamedTuple):
    """The last retained version with a key, and the time of its inputs in seconds since 1970."""

    version: int
    data_as_of: float


@dataclass(frozen=True)
class Answers:
    """The answers to a request's keys, as columns in the order of the request.

    `keys` has one column per key column, `found` says for each row whether the key exists, and `selection` names the
    outputs that the answers contain. `tombstones` are those of keys that were not found, by position, where they were
    looked for.
    """

    table_version: TableVersion
    age: Age
    keys: Sequence[Sequence[Any]]
    found: Sequence[bool | None]
    outputs: Outputs
    selection: OutputSelection
    tombstones: Mapping[int, Tombstone] = field(default_factory=dict)


@dataclass(frozen=True)
class MixedAnswers:
    """The answers to a request's keys while the model has a canary, which takes a `share` of the keys.

    `is_canary` says for each key, in the order of the request, whether its answer is the next one of `canary` or of
    `published`.
    """

    published: Answers
    canary: Answers
    share: float
    is_canary: Sequence[bool]
