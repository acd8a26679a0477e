"""The calls of a client, without I/O: which requests they send, and what they make of the responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast

from prescore_api.client import arrow, frames, json_body, requests, responses
from prescore_api.client.answers import Answer, Model, ScoreAnswer
from prescore_api.client.arrow import ArrowTable
from prescore_api.client.attempts import Call, Server, attempts
from prescore_api.client.errors import Unavailable
from prescore_api.client.json_body import Key, KeyValue, ScoreRow
from prescore_api.client.parts import Bulk, in_parts
from prescore_api.client.requests import ARROW, LookupOptions, Request, Source
from prescore_api.client.responses import Response

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

T = TypeVar("T")


def predict(
    server: Server, model: str, key: KeyValue | Key | None, columns: Mapping[str, Any], options: LookupOptions
) -> Call[Answer]:
    """Return the answer to one key, passed in one of three ways; raise TypeError, ValueError or ApiError."""
    passed_both_or_neither = (key is None) == (not columns)
    if passed_both_or_neither or key == {}:
        raise TypeError('A key is a value, or values by column name: 42, or {"carrier": "UA", "flight": 1545}.')
    if key is not None and not isinstance(key, Mapping):
        request = requests.predict_by_value(model, key, options)
        return (yield from _send(server, request, responses.answer))
    by_name = key or columns
    short_request = requests.predict_by_name(model, by_name, options)
    if short_request:
        return (yield from _send(server, short_request, responses.answer))
    (answer,) = yield from lookup_list(server, model, [by_name], options)
    return answer


def lookup(
    server: Server, model: str, keys: Iterable[Key] | pd.DataFrame, options: LookupOptions
) -> Call[list[Answer] | pd.DataFrame]:
    """Return the answers to keys in a list, as a list, or in a DataFrame, as a DataFrame."""
    if frames.is_frame(keys):
        return (yield from lookup_frame(server, model, keys, options))
    return (yield from lookup_list(server, model, cast("Iterable[Key]", keys), options))


def lookup_list(server: Server, model: str, keys: Iterable[Key], options: LookupOptions) -> Call[list[Answer]]:
    """Return the answers to any number of keys, in their order; raise TypeError or ApiError."""
    # Convert all keys first, so that a wrong one raises before anything is sent.
    json_keys = json_body.convert_keys(keys)

    def serialize(start: int, stop: int) -> bytes:
        return json_body.keys_body(json_keys[start:stop])

    bulk = Bulk(len(json_keys), serialize, partial(requests.lookup, model), responses.answers)
    parts = yield from in_parts(server, bulk, options)
    return list(chain.from_iterable(parts))


def lookup_frame(server: Server, model: str, frame: pd.DataFrame, options: LookupOptions) -> Call[pd.DataFrame]:
    """Return the answers to the keys in a frame's rows, as a frame with the same index; raise ApiError.

    The server takes the key's columns alone, so a first request reads their names.
    """
    arrow.import_pyarrow("The lookup of a DataFrame")
    key = yield from _send(server, requests.key_names(model, options), arrow.read_key_names)
    answers = yield from lookup_table(server, model, frames.to_table(model, frame, key), options)
    return frames.from_answers(frame, key, answers)


def lookup_table(server: Server, model: str, keys: ArrowTable, options: LookupOptions) -> Call[pa.Table]:
    """Return the answers to the keys in a table's rows, as a flat table; raise TypeError or ApiError."""
    table = arrow.to_table(keys, "lookup_table")
    return _send_table(server, table, partial(requests.lookup, model, form=ARROW), options)


def score(
    server: Server, model: str, rows: Iterable[ScoreRow] | pd.DataFrame, prefer: Source, options: LookupOptions
) -> Call[list[ScoreAnswer] | pd.DataFrame]:
    """Return the answers to rows in a list, as a list, or in a DataFrame, as a DataFrame."""
    if not frames.is_frame(rows):
        return (yield from score_list(server, model, cast("Iterable[ScoreRow]", rows), prefer, options))
    return (yield from score_frame(server, model, rows, prefer, options))


def score_frame(
    server: Server, model: str, frame: pd.DataFrame, prefer: Source, options: LookupOptions
) -> Call[pd.DataFrame]:
    """Return the answers to a frame's rows, as a frame with the same index; raise TypeError, ValueError or ApiError.

    A first request reads the features, the columns of the key, and the outputs with their types.
    """
    arrow.import_pyarrow("The scoring of a DataFrame")
    described = yield from _send(server, requests.model(model), responses.model)
    key = [column.name for column in described.key]
    features = [feature.name for feature in described.live.features] if described.live else []
    answers = yield from score_list(server, model, frames.to_rows(frame, key, features), prefer, options)
    outputs = {column.name: column for column in described.outputs}
    selected = options.outputs or outputs
    return frames.from_scores(frame, [outputs[name] for name in selected if name in outputs], answers)


def score_list(
    server: Server, model: str, rows: Iterable[ScoreRow], prefer: Source, options: LookupOptions
) -> Call[list[ScoreAnswer]]:
    """Return the answers to any number of rows, in their order; raise TypeError, ValueError or ApiError."""
    json_rows = json_body.convert_rows(rows)

    def serialize(start: int, stop: int) -> bytes:
        return json_body.rows_body(json_rows[start:stop])

    bulk = Bulk(len(json_rows), serialize, partial(requests.score, model, prefer=prefer), responses.scores)
    parts = yield from in_parts(server, bulk, options)
    return list(chain.from_iterable(parts))


def score_table(server: Server, model: str, rows: ArrowTable, prefer: Source, options: LookupOptions) -> Call[pa.Table]:
    """Return the answers to a table's rows, as a flat table; raise TypeError or ApiError."""
    table = arrow.to_table(rows, "score_table")
    return _send_table(server, table, partial(requests.score, model, prefer=prefer, form=ARROW), options)


def rows(server: Server, request: Request, model: str) -> Call[tuple[list[Answer], Request | None]]:
    """Return a page of rows, and the request for the next one, None after the last; raise ApiError."""
    page = yield from _send(server, request, partial(responses.rows, model=model))
    return page.answers, requests.next_rows(request, page.next) if page.next else None


def models(server: Server) -> Call[list[Model]]:
    """Return every published model; raise ApiError."""
    return _send(server, requests.get("/v1/models"), responses.models)


def model(server: Server, name: str) -> Call[Model]:
    """Return one published model with its columns; raise ApiError."""
    return _send(server, requests.model(name), responses.model)


def ready(server: Server) -> Call[bool]:
    """Return whether lookups can be answered, without a retry; raise ApiError if this is not a lookup API."""
    once = replace(server, retries=0)
    try:
        return (yield from _send(once, requests.get("/health/ready"), responses.ready))
    except Unavailable:
        return False


def _send_table(
    server: Server, table: pa.Table, request: Callable[[bytes, LookupOptions], Request], options: LookupOptions
) -> Call[pa.Table]:
    """Return the answers to the rows of a table, as a flat table."""

    def serialize(start: int, stop: int) -> bytes:
        return arrow.serialize(table.slice(start, stop - start))

    bulk = Bulk(table.num_rows, serialize, request, arrow.read_answers)
    parts = yield from in_parts(server, bulk, options)
    return arrow.concatenate(list(map(arrow.flatten, parts)))


def _send(server: Server, request: Request, read: Callable[[Response], T]) -> Call[T]:
    response = yield from attempts(request, server)
    return read(response)
