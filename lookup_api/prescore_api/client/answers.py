"""What the server tells, as Python objects. What a newer server tells besides is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Answer:
    """The prediction of one key, with the version that it is from and how old that is.

    Values are as JSON has them: dates, times and UUIDs are text. `prediction` is None where the key is not `found`.
    """

    model: str
    version: int
    key: dict[str, Any]
    found: bool
    prediction: dict[str, Any] | None
    data_as_of: datetime
    published_at: datetime | None
    age_seconds: float
    stale: bool

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """As the server tells it; raises LookupError, TypeError or ValueError for what is no answer."""
        return cls(
            model=told["model"],
            version=told["version"],
            key=told["key"],
            found=told["found"],
            prediction=told["prediction"],
            data_as_of=datetime.fromisoformat(told["data_as_of"]),
            published_at=_moment(told["published_at"]),
            age_seconds=told["age_seconds"],
            stale=told["stale"],
        )

    def __getitem__(self, output: str) -> Any:
        """An output's value; raises KeyError where the key was not found, or has no such output."""
        if self.prediction is None:
            raise KeyError(f"{self.model} version {self.version} has no key {self.key}, and so no {output}")
        if output not in self.prediction:
            raise KeyError(f"the answer has no {output}; it has {', '.join(self.prediction)}")
        return self.prediction[output]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as its model's owner describes it. `role` is `key`, `output` or `passthrough`."""

    name: str
    type: str
    comment: str
    role: str = "key"

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """As the server tells it; raises LookupError or TypeError for what is no column."""
        return cls(told["name"], told["type"], told["comment"], told.get("role", "key"))


@dataclass(frozen=True, slots=True)
class Version:
    """A version that may be asked for by number. `state` is `published`, `superseded`, or `checked`: not published."""

    version: int
    state: str
    data_as_of: datetime
    published_at: datetime | None
    rows: int

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """As the server tells it; raises LookupError, TypeError or ValueError for what is no version."""
        clocks = datetime.fromisoformat(told["data_as_of"]), _moment(told["published_at"])
        return cls(told["version"], told["state"], *clocks, told["rows"])


@dataclass(frozen=True, slots=True)
class Model:
    """A published model and how old it is. `key`, `outputs` and `versions` are empty in a list of models."""

    model: str
    description: str
    version: int
    rows: int
    data_as_of: datetime
    published_at: datetime | None
    age_seconds: float
    max_age_seconds: float | None
    stale: bool
    held: bool
    key: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()
    versions: tuple[Version, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """As the server tells it; raises LookupError, TypeError or ValueError for what is no model."""
        return cls(
            model=told["model"],
            description=told["description"],
            version=told["version"],
            rows=told["rows"],
            data_as_of=datetime.fromisoformat(told["data_as_of"]),
            published_at=_moment(told["published_at"]),
            age_seconds=told["age_seconds"],
            max_age_seconds=told["max_age_seconds"],
            stale=told["stale"],
            held=told["held"],
            key=tuple(map(Column.of, told.get("key", ()))),
            outputs=tuple(map(Column.of, told.get("outputs", ()))),
            versions=tuple(map(Version.of, told.get("versions", ()))),
        )


def _moment(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromisoformat(told)
