"""Live answers as transports see them: predictions that the published version's model file computes on request.

The package `prescore_api.live` computes them; this module needs no model and no ONNX Runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

import pyarrow as pa

from prescore.catalog.catalog import Column
from prescore.errors import TooLarge
from prescore_api.service.answers import Age
from prescore_api.service.options import DEFAULTS, LookupOptions
from prescore_api.tables.version import TableVersion

T = TypeVar("T")

MAX_ROWS = 10_000
_MANY_ROWS = 256
MISSING: Any = ...
"""Stands for the value of a feature that a row does not have."""

Source = Literal["table", "live"]
Key = Mapping[str, Any]


class Features(NamedTuple):
    """The features of a request by name: the values of all `rows`, of JSON or as an Arrow array."""

    columns: Mapping[str, Sequence[Any] | pa.Array]
    rows: int


@dataclass(frozen=True)
class LiveModel:
    """A published version whose model file is loaded, and its signature as the catalog records it."""

    table_version: TableVersion
    signature: Mapping[str, Any]

    @cached_property
    def features(self) -> dict[str, str]:
        """The features with their dtypes, such as float32, int64, bool or string, in the order of the inputs."""
        return {name: node["dtype"] for node in self.signature["inputs"] for name in node["features"]}

    @cached_property
    def outputs(self) -> list[Column]:
        """The columns that live answers have: the outputs, without passthrough columns."""
        return [column for column in self.table_version.outputs if column["role"] == "output"]


ParseFeatures = Callable[[LiveModel], Features]
"""Parses the rows of a request as the features of a model; raises RequestInvalid. Other columns may be among them."""


class Rejection(NamedTuple):
    """Why a row has no prediction, and the feature or output at fault; None if the model failed on the row."""

    column: str | None
    reason: str


@dataclass(frozen=True)
class LiveAnswers:
    """Predictions in the order of the rows, as Arrow columns, null where a row was rejected.

    `to_lists` returns them by output as values of Python, those that a lookup returns: a real is the shortest decimal.
    `scored_at` is when each row was scored, in seconds since 1970: earlier than the request for an answer from the
    cache. `rejections` are by row number.
    """

    model: LiveModel
    predictions: pa.RecordBatch
    rejections: Mapping[int, Rejection]
    scored_at: Sequence[float]
    to_lists: Callable[[], dict[str, list[Any]]]


class ScoreRow(NamedTuple):
    """A row of a request: features by name, and the key if it has one. Either may be None."""

    features: Mapping[str, Any] | None
    key: Key | None


class ScoreAnswer(NamedTuple):
    """The answer to one row. `data_as_of` is in seconds since 1970; the prediction is None if the row was rejected."""

    table_version: TableVersion
    source: Source
    key: Key | None
    prediction: dict[str, Any] | None
    rejection: Rejection | None
    data_as_of: float
    age: Age


class LiveScoring(Protocol):
    """Scores rows of features, while it is entered as an async context manager.

    Every call raises NotFound, NotAllowed, and LiveUnavailable while a model cannot be loaded.
    """

    async def __aenter__(self) -> Self:
        """Begin to load the published models."""

    async def __aexit__(self, *_: object) -> None:
        """Stop for good."""

    async def describe(self, model: str, version: int | None = None) -> LiveModel:
        """Return a model as it is scored now; raise NotFound for a version that is not the published one."""

    async def score(self, model: str, parse: ParseFeatures, version: int | None = None) -> LiveAnswers:
        """Score a request's rows, all with one version.

        Also raises TooLarge, Overloaded, RequestInvalid for a column of the wrong type, and what `parse` raises.
        """

    async def answer(
        self, model: str, rows: Sequence[ScoreRow], prefer: Source, options: LookupOptions = DEFAULTS
    ) -> list[ScoreAnswer]:
        """Answer rows from the table, by their keys, and by scoring their features; all from one version.

        With `prefer` "table", rows whose keys are in the table are not scored, unless the table is older than the
        options allow. Otherwise raises like `score` and `Lookup.many`.
        """


async def aside(rows: int, function: Callable[[], T]) -> T:
    """Return what a function returns, called in a thread for many rows, so that lookups need not wait for them."""
    if rows < _MANY_ROWS:
        return function()
    return await asyncio.to_thread(function)


def too_many_rows(rows: int) -> TooLarge:
    """Return the error for a request with too many rows."""
    return TooLarge(f"The request has {rows:,} rows; the limit is {MAX_ROWS:,} per request. Send several requests.")
