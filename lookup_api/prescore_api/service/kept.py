"""Rows that a version keeps although their keys have vanished: their age is that of their own inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prescore.catalog.version_row import Row
from prescore.errors import TooOld
from prescore_api.service.answers import Age, Outputs
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion

Keys = Sequence[Sequence[Any]]
"""Keys by column."""


def own_age(version: TableVersion, age: Age, row: Row) -> Age:
    """Return the age of a row, which is that of its version unless the row is kept."""
    if version.kept_position is None or not row[1]:
        return age
    time = row[2 + version.kept_position]
    return age if time is None else age.of_kept(version, time)


def own_ages(version: TableVersion, age: Age, found: Sequence[bool | None], outputs: Outputs) -> Mapping[int, Age]:
    """Return the ages of the kept rows among those that were found, by position."""
    if version.kept_position is None:
        return {}
    (times,) = outputs.to_lists([version.kept_position])
    return {
        position: age.of_kept(version, time)
        for position, (is_found, time) in enumerate(zip(found, times, strict=True))
        if is_found and time is not None
    }


def require(version: TableVersion, ages: Mapping[int, Age], keys: Keys, options: LookupOptions) -> None:
    """Raise TooOld for the first kept row that is older than the options or the model allow.

    `keys` are those of all rows, by column.
    """
    for position, age in ages.items():
        limit = age.exceeded(version, options)
        if limit is not None:
            raise too_old(version, age, [column[position] for column in keys], limit)


def too_old(version: TableVersion, age: Age, key: Sequence[Any], limit: str) -> TooOld:
    """Return the error for the kept row of a key, whose age exceeds a limit, given as a clause."""
    named = ", ".join(f"{column['name']}={value}" for column, value in zip(version.key, key, strict=True))
    return TooOld(
        f"The row of {named} in {version.model} version {version.version} is too old: it is kept although its key has "
        f"vanished from the domain. Its data is {age.describe()}, and {limit}. Allow a higher age, or leave it out."
    )
