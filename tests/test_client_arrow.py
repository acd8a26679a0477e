"""Lookups of Arrow tables with the Python client, against the real API."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import httpx
import pyarrow as pa
import pytest

from fix_api import Api, Shelf
from fix_client import ClientCall, InterleavingTransport, address, publish
from prescore_api.client import MAX_KEYS, Client, Invalid, TooOld, arrow

ID = UUID("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d")


def test_each_key_gets_a_row_in_the_order_of_the_keys(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [(k, k / 2) for k in range(10)])
    answers = call(address(api.client), "lookup_table", name, pa.table({"k": [9, 3, 3, 1000]}))
    assert answers.drop_columns("data_as_of").to_pydict() == {
        "k": [9, 3, 3, 1000],
        "score": [4.5, 1.5, 1.5, None],
        "found": [True, True, True, False],
        "version": [1, 1, 1, 1],
    }
    assert answers.schema.types == [pa.int64(), pa.float32(), pa.bool_(), pa.int32(), pa.timestamp("us", "UTC")]


def test_the_metadata_holds_what_all_answers_share(api: Api, call: ClientCall) -> None:
    data_as_of = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    name = api.publish({"k": "bigint"}, [(7, 0.5)], data_as_of=data_as_of, freshness={"max_age": "1h"})
    answers = call(address(api.client), "lookup_table", name, pa.table({"k": [7]}))
    metadata = answers.schema.metadata
    assert answers["data_as_of"].to_pylist() == [data_as_of]
    assert (metadata[b"model"].decode(), int(metadata[b"version"])) == (name, 1)
    assert datetime.fromisoformat(metadata[b"data_as_of"].decode()) == data_as_of
    assert datetime.fromisoformat(metadata[b"published_at"].decode()) > data_as_of
    assert float(metadata[b"age_seconds"]) > 3600
    assert metadata[b"stale"].lower() == b"true"


@pytest.mark.parametrize(
    "type_",
    [pa.dictionary(pa.int8(), pa.string()), pa.string_view(), pa.dictionary(pa.int32(), pa.large_string())],
)
def test_keys_of_pandas_categories_and_polars_views_are_found(api: Api, call: ClientCall, type_: Any) -> None:
    name = api.publish({"k": "text"}, [("a", 0.5), ("b", 0.25)])
    answers = call(address(api.client), "lookup_table", name, pa.table({"k": pa.array(["b", "a", "b"]).cast(type_)}))
    assert answers["score"].to_pylist() == [0.25, 0.5, 0.25]


@pytest.mark.parametrize(
    ("kind", "value", "type_"),
    [
        ("smallint", 7, pa.int64()),
        ("text", "ü/", pa.string()),
        ("uuid", str(ID), pa.string()),
        ("date", date(2013, 7, 4), pa.date32()),
        # A Postgres timestamp has no time zone.
        ("timestamp", datetime(2013, 7, 4, 12, 30), pa.timestamp("us")),  # noqa: DTZ001
        ("timestamptz", datetime(2013, 7, 4, 12, 30, tzinfo=UTC), pa.timestamp("ns", "Europe/Zurich")),
    ],
)
def test_a_key_of_every_type_is_found(api: Api, call: ClientCall, kind: str, value: Any, type_: Any) -> None:
    name = api.publish({"k": kind}, [(value, 0.5)])
    answers = call(address(api.client), "lookup_table", name, pa.table({"k": pa.array([value], type_)}))
    assert answers["found"].to_pylist() == [True]
    assert answers["k"].to_pylist() == [value]


def test_a_table_lookup_takes_the_options_of_a_lookup(shelf: Shelf, client: httpx.Client, call: ClientCall) -> None:
    for version in (1, 2):
        publish(shelf, version)
    keys = pa.table({"k": [0]})
    answers = call(address(client), "lookup_table", "m", keys, version=1, outputs=["score"], max_age=3600)
    assert answers["score"].to_pylist() == [0.5]
    with pytest.raises(TooOld):
        call(address(client), "lookup_table", "m", keys, max_age=0)


def test_a_table_without_rows_has_no_answers(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [(7, 0.5)])
    answers = call(address(api.client), "lookup_table", name, pa.table({"k": pa.array([], pa.int64())}))
    assert (answers.num_rows, answers.column_names) == (0, ["k", "score", "found", "version", "data_as_of"])


def test_rows_beyond_the_limit_are_sent_in_parts_that_read_one_version(shelf: Shelf, client: httpx.Client) -> None:
    publish(shelf, 1)
    # These chunks do not end where the parts of the lookup do.
    keys = pa.chunked_array([pa.array(range(7)), pa.array(range(7, 2 * MAX_KEYS + 1))])
    transport = InterleavingTransport({1: lambda: publish(shelf, 2)})
    with Client(address(client), transport=transport) as python_client:
        answers = python_client.lookup_table("m", pa.table({"k": keys}))
    assert answers["k"].to_pylist() == list(range(2 * MAX_KEYS + 1))
    found_rows = answers.filter(answers["found"])
    assert found_rows["score"].to_pylist() == [0.5] * 2
    assert (answers.schema.metadata[b"version"], transport.request_count) == (b"1", 3)


def test_the_metadata_of_several_parts_is_that_of_the_last_part() -> None:
    parts = [pa.table({"found": [True]}).replace_schema_metadata({"age_seconds": age}) for age in ("1.0", "1.5")]
    answers = arrow.concatenate(parts)
    assert (answers.num_rows, answers.schema.metadata) == (2, {b"age_seconds": b"1.5"})


def test_a_table_that_the_api_rejects_raises_invalid(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [])
    for model, table, code in [
        ("nothing", pa.table({"k": [7]}), "not_found"),
        (name, pa.table({"other": [7]}), "key_invalid"),
        (name, pa.table({"k": ["seven"]}), "key_invalid"),
    ]:
        with pytest.raises(Invalid) as error:
            call(address(api.client), "lookup_table", model, table)
        assert error.value.code == code


def test_a_null_key_is_reported_with_its_position_in_the_whole_table(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [])
    keys: list[int | None] = list(range(MAX_KEYS + 3))
    keys[MAX_KEYS + 1] = None
    with pytest.raises(Invalid, match=rf"^keys\[{MAX_KEYS + 1}\]: "):
        call(address(api.client), "lookup_table", name, pa.table({"k": keys}))
