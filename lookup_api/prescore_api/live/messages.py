"""What a server and its scoring process send each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from prescore.catalog.catalog import Column
from prescore_api.formats.scores import ScoreFrame
from prescore_api.service.live import Rejection, Source


@dataclass(frozen=True)
class ModelLocation:
    """Where the model file of a version is: in the store at `place`, a folder or a URL, for a catalog.

    `name` is what messages call the version, `signature` is that of the catalog, and `cache_seconds` is how long
    answers may be repeated.
    """

    name: str
    place: Path | str
    catalog: str
    fingerprint: str
    signature: Mapping[str, Any]
    cache_seconds: float


class Times(NamedTuple):
    """When a request was sent, in seconds: since 1970 by the database's clock, and by the system's monotonic clock."""

    now: float
    sent_at: float


class BodyRequest(NamedTuple):
    """A body with rows to score. `answered` has the answers from the table, by row number; other rows have features.

    `frame`, `key` and `outputs` are those of the version.
    """

    body: bytes
    answered: Mapping[int, bytes]
    frame: ScoreFrame
    key: list[Column]
    outputs: Sequence[str]
    times: Times


class ArrowRequest(NamedTuple):
    """An Arrow IPC stream, and the numbers of the rows to score.

    `key` and `outputs` are those of the version, and `now` is in seconds since 1970.
    """

    body: bytes
    numbers: Sequence[int]
    key: Sequence[Column]
    outputs: Sequence[Column]
    now: float


class ColumnsRequest(NamedTuple):
    """Rows to score, given as columns: values of JSON, or Arrow arrays."""

    columns: Mapping[str, Sequence[Any] | pa.Array]
    rows: int
    times: Times


class KeysRequest(NamedTuple):
    """A body whose rows have keys: those that `prefer` has looked up in the table are wanted."""

    body: bytes
    prefer: Source


ScoreRequest = BodyRequest | ArrowRequest | ColumnsRequest


class Counts(NamedTuple):
    """How many rows of a request were scored, repeated from the cache and rejected."""

    scored: int
    cached: int
    rejected: int


class ScoredBody(NamedTuple):
    """The answers to the rows of a body, as JSON."""

    content: bytes
    counts: Counts


class ScoredArrow(NamedTuple):
    """The answers to the rows of an Arrow IPC stream, as a stream whose metadata the server adds."""

    content: bytes
    counts: Counts


class ScoredColumns(NamedTuple):
    """Predictions by output, with None where a row was rejected, as `LiveAnswers` has them."""

    predictions: Mapping[str, Sequence[Any]]
    rejections: Mapping[int, Rejection]
    scored_at: Sequence[float]
    counts: Counts


ScoreReply = ScoredBody | ScoredArrow | ScoredColumns
