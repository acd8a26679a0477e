"""What a lookup returns: keys, outputs and age of one version, without a format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prescore import wording
from prescore.catalog import lookup
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
        return cls(seconds, lookup.is_stale(seconds, version.max_age))

    def require(self, version: TableVersion, options: LookupOptions) -> None:
        """Raise TooOld beyond the caller's bound, or beyond the max age if the model refuses stale lookups."""
        if options.max_age is not None and self.seconds > options.max_age:
            raise TooOld(_too_old(version, self.seconds, f"max_age={options.max_age:g} allows {options.max_age:g} s"))
        if self.stale and version.row["refuse_stale"] and options.version is None:
            raise TooOld(_too_old(version, self.seconds, f"the model's max age is {version.max_age:g} s"))


def _too_old(version: TableVersion, age: float, allowed: str) -> str:
    return (
        f"{version.model} version {version.version} is too old: its data is {wording.age(age)} old ({age:.0f} s), "
        f"and {allowed}. Publish a newer version or allow a higher age."
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


@dataclass(frozen=True)
class Answers:
    """The answers to a request's keys, as columns in the order of the request.

    `keys` has one column per key column, `found` says for each row whether the key exists, and `selection` names the
    outputs that the answers contain.
    """

    table_version: TableVersion
    age: Age
    keys: Sequence[Sequence[Any]]
    found: Sequence[bool | None]
    outputs: Outputs
    selection: OutputSelection
