"""Live answers as transports see them: predictions that the published version's model file computes on request.

The package `prescore_api.live` computes them; this module needs no model and no ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, Self

import pyarrow as pa

from prescore.catalog.catalog import Column
from prescore.errors import TooLarge
from prescore_api.service.options import DEFAULTS, LookupOptions
from prescore_api.tables.version import TableVersion

MAX_ROWS = 10_000

Source = Literal["table", "live"]


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
    """Predictions by output, in the order of the rows, None where a row was rejected.

    The values are those that a lookup returns: a real is the shortest decimal. `rejections` are by row number.
    `scored_at` is when each row was scored, in seconds since 1970: earlier than the request for an answer from the
    cache.
    """

    model: LiveModel
    predictions: Mapping[str, Sequence[Any]]
    rejections: Mapping[int, Rejection]
    scored_at: Sequence[float]


class RenderedAnswers(NamedTuple):
    """The answers to a request's rows, all from one version: as JSON, `{"answers": […]}`, or as an Arrow stream."""

    version: int
    content: bytes


class LiveScoring(Protocol):
    """Scores rows of features, while it is entered as an async context manager.

    Every call raises NotFound, NotAllowed, and LiveUnavailable while a model cannot be loaded.
    """

    async def __aenter__(self) -> Self:
        """Begin to load the published models."""

    async def __aexit__(self, *_: object) -> None:
        """Stop for good."""

    @property
    def runtime(self) -> str | None:
        """The release of ONNX Runtime that scores here, None before a model is loaded."""

    async def describe(self, model: str, version: int | None = None) -> LiveModel:
        """Return a model as it is scored now; raise NotFound for a version that is not the published one."""

    async def score(self, model: str, parse: ParseFeatures, version: int | None = None) -> LiveAnswers:
        """Score a request's rows, all with one version.

        Also raises TooLarge, Overloaded, RequestInvalid for a column of the wrong type, and what `parse` raises.
        """

    async def answer(
        self, model: str, body: bytes, prefer: Source, options: LookupOptions = DEFAULTS
    ) -> RenderedAnswers:
        """Answer the rows in a body from the table, by their keys, and by scoring their features.

        With `prefer` "table", rows whose keys are in the table are not scored, unless the table is older than the
        options allow; with "live", only rows without features are looked up. Otherwise raises like `score` and
        `Lookup.many`.
        """

    async def answer_arrow(
        self, model: str, body: bytes, prefer: Source, options: LookupOptions = DEFAULTS
    ) -> RenderedAnswers:
        """Answer the rows of an Arrow IPC stream, whose columns are features, those of the key or both, like `answer`.

        The answers are such a stream, too.
        """


def require_few(rows: int) -> None:
    """Raise TooLarge for a request with too many rows."""
    if rows > MAX_ROWS:
        raise TooLarge(f"The request has {rows:,} rows; the limit is {MAX_ROWS:,} per request. Send several requests.")
