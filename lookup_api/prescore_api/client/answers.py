"""Answers, models and versions as Python objects. Fields that only a newer server sends are ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Prediction:
    """What every answer has: a prediction or none, its version, and the age of its data."""

    model: str
    version: int
    key: dict[str, Any] | None
    prediction: dict[str, Any] | None
    data_as_of: datetime
    published_at: datetime | None
    age_seconds: float
    stale: bool

    def __getitem__(self, output: str) -> Any:
        """Return an output's value; raise KeyError if there is no prediction, or no such output."""
        if self.prediction is None:
            raise KeyError(f"{self.model} version {self.version} has no {output} for {self._describe()}")
        if output not in self.prediction:
            raise KeyError(f"the answer has no {output}; it has {', '.join(self.prediction)}")
        return self.prediction[output]

    def _describe(self) -> str:
        """Return what has no prediction, for a message."""
        return f"the key {self.key}"


@dataclass(frozen=True, slots=True)
class Answer(_Prediction):
    """The prediction for one key, with its version and the age of its data.

    Values are as in JSON: dates, times and UUIDs are text. `prediction` is None if the key was not `found`. If the
    model has tombstones and the key has vanished, `last_version` is the last version that had it, and `last_data_as_of`
    the time of its inputs.
    """

    key: dict[str, Any]
    found: bool
    last_version: int | None = None
    last_data_as_of: datetime | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build an answer from decoded JSON; raise LookupError, TypeError or ValueError if it is not an answer."""
        return cls(
            **_of_prediction(content),
            found=content["found"],
            last_version=content.get("last_version"),
            last_data_as_of=_parse_time(content.get("last_data_as_of")),
        )

    @classmethod
    def from_row(cls, model: str, content: Mapping[str, Any], headers: Mapping[str, str]) -> Self:
        """Build the answer for a row of a page, whose headers hold what all of its rows share.

        Raises LookupError, TypeError or ValueError if it is not such a page.
        """
        shared = {
            "model": model,
            "version": int(headers["Prescore-Version"]),
            "data_as_of": headers["Prescore-Data-As-Of"],
            "published_at": headers["Prescore-Published-At"] or None,
            "age_seconds": float(headers["Prescore-Age-Seconds"]),
            "stale": headers["Prescore-Stale"] == "true",
        }
        # A kept row has times of its own.
        return cls.from_json({**shared, "found": True, **content})


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row has no prediction, and the feature or output at fault, if it is one."""

    column: str | None
    reason: str

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build a rejection from decoded JSON; raise LookupError or TypeError if it is not a rejection."""
        return cls(column=content["column"], reason=content["reason"])


@dataclass(frozen=True, slots=True)
class ScoreAnswer(_Prediction):
    """The prediction for one row of features or one key: from the table, or live, as `source` says.

    `prediction` is None if the row was rejected. `data_as_of` of a live answer is when it was computed.
    """

    source: str
    rejected: Rejection | None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build an answer from decoded JSON; raise LookupError, TypeError or ValueError if it is not an answer."""
        return cls(
            **_of_prediction(content),
            source=content["source"],
            rejected=_parse(Rejection.from_json, content["rejected"]),
        )

    def _describe(self) -> str:
        return f"the row, which was rejected: {self.rejected.reason if self.rejected else 'no reason is known'}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its comment from the model's spec. `role` is `key`, `output` or `passthrough`."""

    name: str
    type: str
    comment: str
    role: str = "key"

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build a column from decoded JSON; raise LookupError or TypeError if it is not a column."""
        return cls(
            name=content["name"],
            type=content["type"],
            comment=content["comment"],
            role=content.get("role", "key"),
        )


@dataclass(frozen=True, slots=True)
class Version:
    """A version that can be requested by number.

    `state` is `published`, `superseded`, or `checked` for one that has not been published.
    """

    version: int
    state: str
    data_as_of: datetime
    published_at: datetime | None
    rows: int

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build a version from decoded JSON; raise LookupError, TypeError or ValueError if it is not a version."""
        return cls(
            version=content["version"],
            state=content["state"],
            data_as_of=datetime.fromisoformat(content["data_as_of"]),
            published_at=_parse_time(content["published_at"]),
            rows=content["rows"],
        )


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that is tried beside the published one, and the share of the keys that it answers, from 0 to 1."""

    version: int
    share: float

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build a canary from decoded JSON; raise LookupError or TypeError if it is not a canary."""
        return cls(version=content["version"], share=content["share"])


@dataclass(frozen=True, slots=True)
class InMemory:
    """What the server process that answered has in memory of a model: a version, its `bytes`, or why it has none."""

    version: int | None
    bytes: int
    refused: str | None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build it from decoded JSON; raise LookupError or TypeError if it is not that."""
        return cls(version=content["version"], bytes=content["bytes"], refused=content["refused"])


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of live answers. Null rejects a row, unless the feature is `nullable`."""

    name: str
    dtype: str
    nullable: bool

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build a feature from decoded JSON; raise LookupError or TypeError if it is not a feature."""
        return cls(name=content["name"], dtype=content["dtype"], nullable=content["nullable"])


@dataclass(frozen=True, slots=True)
class Live:
    """What live answers take, and for how many seconds a server may repeat one.

    `runtime` is the release of ONNX Runtime that scored the table, and `server_runtime` the one with which the server
    scores, None if it has not loaded a model.
    """

    features: tuple[Feature, ...]
    cache_seconds: float
    runtime: str
    server_runtime: str | None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build it from decoded JSON; raise LookupError or TypeError if it is not that."""
        return cls(
            features=tuple(map(Feature.from_json, content["features"])),
            cache_seconds=content["cache_seconds"],
            runtime=content["runtime"],
            server_runtime=content["server_runtime"],
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A published model and the age of its data.

    `canary`, `in_memory` and `live` are None for a model without. In a list of models, `live` is None, and `key`,
    `outputs` and `versions` are empty.
    """

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
    canary: Canary | None = None
    in_memory: InMemory | None = None
    live: Live | None = None
    key: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()
    versions: tuple[Version, ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build a model from decoded JSON; raise LookupError, TypeError or ValueError if it is not a model."""
        return cls(
            model=content["model"],
            description=content["description"],
            version=content["version"],
            rows=content["rows"],
            data_as_of=datetime.fromisoformat(content["data_as_of"]),
            published_at=_parse_time(content["published_at"]),
            age_seconds=content["age_seconds"],
            max_age_seconds=content["max_age_seconds"],
            stale=content["stale"],
            held=content["held"],
            canary=_parse(Canary.from_json, content["canary"]),
            in_memory=_parse(InMemory.from_json, content["in_memory"]),
            live=_parse(Live.from_json, content.get("live")),
            key=tuple(map(Column.from_json, content.get("key", ()))),
            outputs=tuple(map(Column.from_json, content.get("outputs", ()))),
            versions=tuple(map(Version.from_json, content.get("versions", ()))),
        )


def _of_prediction(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": content["model"],
        "version": content["version"],
        "key": content["key"],
        "prediction": content["prediction"],
        "data_as_of": datetime.fromisoformat(content["data_as_of"]),
        "published_at": _parse_time(content["published_at"]),
        "age_seconds": content["age_seconds"],
        "stale": content["stale"],
    }


def _parse(from_json: Callable[[Mapping[str, Any]], T], content: Mapping[str, Any] | None) -> T | None:
    return None if content is None else from_json(content)


def _parse_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
