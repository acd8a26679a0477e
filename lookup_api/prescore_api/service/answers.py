"""Answers of one version as JSON: what is the same in all of them is written once.

Integers are exact, also beyond 2^53. Floats are the shortest text that comes back as the column's own value. Times are
ISO 8601, those with a zone in UTC. A passed-through NaN or infinity has no JSON number and is null; outputs never are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from prescore import wording
from prescore.catalog import lookup
from prescore.errors import TooOld
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion

JSON = b"application/json"
_FOUND = b',"found":true,"prediction":'
_NOT_FOUND = b',"found":false,"prediction":null'
_STALE = (b',"stale":false}', b',"stale":true}')


@dataclass(frozen=True)
class Age:
    """How old a version is at one moment: what a request's answers all say. Raised for as TooOld by `require`."""

    seconds: float
    stale: bool

    @classmethod
    def at(cls, described: TableVersion, now: float) -> Age:
        """At a moment, in seconds since 1970 by the database's clock."""
        seconds = now - described.data_as_of
        return cls(seconds, lookup.is_stale(seconds, described.max_age))

    def require(self, described: TableVersion, terms: LookupOptions) -> None:
        """Raise TooOld beyond the caller's bound, or the owner's promise where the owner wants that."""
        if terms.max_age is not None and self.seconds > terms.max_age:
            raise TooOld(_too_old(described, self.seconds, f"max_age={terms.max_age:g} allows {terms.max_age:g} s"))
        if self.stale and described.published["refuse_stale"] and terms.version is None:
            promised = f"its owner allows {described.max_age:g} s"
            raise TooOld(_too_old(described, self.seconds, promised))

    def texts(self, described: TableVersion) -> dict[bytes, str]:
        """What answers share, as texts."""
        published_at = described.published["published_at"]
        return {
            b"data_as_of": described.published["data_as_of"].isoformat(),
            b"published_at": published_at.isoformat() if published_at else "",
            b"age_seconds": f"{self.seconds:.3f}",
            b"stale": str(self.stale).lower(),
        }

    def json(self, described: TableVersion) -> bytes:
        """How every answer ends."""
        return b"%b%.3f%b" % (described.clocks, self.seconds, _STALE[self.stale])


def _too_old(described: TableVersion, age: float, allowed: str) -> str:
    return (
        f"{described.model} version {described.version} is of data {wording.age(age)} ago ({age:.0f} s); {allowed}. "
        "A newer version has to be published first."
    )


class Outputs(Protocol):
    """Columns of outputs, by their places among the version's; anything where a key is not there."""

    def lists(self, chosen: Sequence[int]) -> Sequence[Sequence[Any]]:
        """As Python's values."""

    def arrays(self, chosen: Sequence[int]) -> Sequence[Any]:
        """As what Arrow makes arrays of."""


@dataclass(frozen=True)
class Listed:
    """Columns of outputs as the database gave them."""

    columns: Sequence[Sequence[Any]]

    def lists(self, chosen: Sequence[int]) -> Sequence[Sequence[Any]]:
        """As Python's values."""
        return [self.columns[place] for place in chosen]

    arrays = lists


@dataclass(frozen=True)
class Answers:
    """What was asked and found: columns of keys, whether each is there, columns of outputs, in the order asked."""

    described: TableVersion
    age: Age
    keys: Sequence[Sequence[Any]]
    found: Sequence[bool | None]
    outputs: Outputs
    chosen: list[tuple[int, str]] | None

    def json(self) -> bytes:
        """`{"answers": […]}`."""
        names = [column["name"] for column in self.described.key]
        columns = [
            _texts(column) for column in [*self.keys, *self.outputs.lists([place for place, _ in self.places()])]
        ]
        begun, tail = _percent(self.described.head) + _object(names), _percent(self.age.json(self.described))
        hit = begun + _FOUND + _object([name for _, name in self.places()]) + tail
        miss, width = begun + _NOT_FOUND + tail, len(names)
        rows = zip(self.found, zip(*columns, strict=True), strict=True)
        return b'{"answers":[%b]}' % b",".join([hit % row if found else miss % row[:width] for found, row in rows])

    def places(self) -> list[tuple[int, str]]:
        """The outputs that are told, each with its place among the version's."""
        return self.chosen or [(place, column["name"]) for place, column in enumerate(self.described.outputs)]


def _texts(values: Sequence[Any]) -> list[bytes]:
    """Each value in JSON; numbers, which hold no comma, in one go."""
    if set(map(type, values)) <= {int, float, type(None)}:
        return orjson.dumps(values)[1:-1].split(b",") if values else []
    return list(map(orjson.dumps, values))


def _object(names: Sequence[str]) -> bytes:
    """A JSON object with a place for each of its values."""
    return b"{%b}" % b",".join(_percent(orjson.dumps(name)) + b":%b" for name in names)


def _percent(text: bytes) -> bytes:
    """Text as a format that gives it."""
    return text.replace(b"%", b"%%")


def single(
    described: TableVersion, age: Age, key: dict[str, Any], row: lookup.Row, chosen: list[tuple[int, str]] | None
) -> bytes:
    """One answer, to a key by column name."""
    if not row[1]:
        return described.head + orjson.dumps(key) + _NOT_FOUND + age.json(described)
    if chosen is None:
        prediction = {column["name"]: value for column, value in zip(described.outputs, row[2:], strict=True)}
    else:
        prediction = {name: row[2 + place] for place, name in chosen}
    return b"".join((described.head, orjson.dumps(key), _FOUND, orjson.dumps(prediction), age.json(described)))
