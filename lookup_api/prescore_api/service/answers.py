"""What a lookup returns: keys, outputs and age of one version, without a format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, Self

from prescore import wording
from prescore.catalog import version_row
from prescore.errors import TooOld
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import OutputSelection, TableVersion


@dataclass(frozen=True)
class Age:
    """How old data is at one moment, in seconds, and whether that is beyond its model's max age.

    It is that of all rows of a version, but for those that the version keeps although their keys have vanished.
    `kept_data_as_of` is then the time of such a row's own inputs.
    """

    seconds: float
    stale: bool
    kept_data_as_of: datetime | None = None

    @classmethod
    def at(cls, version: TableVersion, now: float) -> Self:
        """Compute a version's age; `now` is in seconds since 1970 by the database's clock."""
        seconds = now - version.data_as_of
        return cls(seconds, version_row.is_stale(seconds, version.max_age))

    def of_kept(self, version: TableVersion, data_as_of: datetime) -> Self:
        """Return the age of a kept row at the same moment, by the time of its own inputs."""
        seconds = self.seconds + version.data_as_of - data_as_of.timestamp()
        return type(self)(seconds, version_row.is_stale(seconds, version.max_age), data_as_of)

    def data_as_of(self, version: TableVersion) -> datetime:
        """Return the time of the inputs."""
        return self.kept_data_as_of or version.row["data_as_of"]

    def exceeded(self, version: TableVersion, options: LookupOptions) -> str | None:
        """Return what it exceeds, as a clause: the caller's bound, or the max age of a model that refuses more."""
        if options.max_age is not None and self.seconds > options.max_age:
            return f"max_age={options.max_age:g} allows {options.max_age:g} s"
        refuses_stale = version.row["refuse_stale"] and not options.is_callers_choice
        if self.stale and refuses_stale:
            return f"the model's max age is {version.max_age:g} s"
        return None

    def require(self, version: TableVersion, options: LookupOptions) -> None:
        """Raise TooOld if it exceeds what the options or the model allow."""
        limit = self.exceeded(version, options)
        if limit is not None:
            raise TooOld(
                f"{version.model} version {version.version} is too old: its data is {self.describe()}, and {limit}. "
                "Publish a newer version or allow a higher age."
            )

    def describe(self) -> str:
        """Return it for a message: as people say it, and exactly."""
        age, exact = wording.age(self.seconds), f"{self.seconds:.0f} s"
        return f"{age} old" if age == exact else f"{age} old ({exact})"


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
    """The answer to one key: the key by column, each with a single value, and the row that was found, with its age."""

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
    outputs that the answers contain. `kept_ages` are those of kept rows, which are older than `age`, by position.
    `tombstones` are those of keys that were not found, by position, where they were looked for.
    """

    table_version: TableVersion
    age: Age
    keys: Sequence[Sequence[Any]]
    found: Sequence[bool | None]
    outputs: Outputs
    selection: OutputSelection
    kept_ages: Mapping[int, Age] = field(default_factory=dict)
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
