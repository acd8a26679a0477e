"""Lookups by Arrow tables, through the Python client and the real API."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import httpx
import pyarrow as pa
import pytest

from fix_api import Api, Shelf
from fix_client import Asking, Meanwhile, address, publish
from prescore_api.client import MAX_KEYS, Client, Invalid, TooOld, arrow

ID = UUID("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d")


def test_a_row_for_each_row(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [(k, k / 2) for k in range(10)])
    answers = ask(address(api.client), "lookup_table", m, pa.table({"k": [9, 3, 3, 1000]}))
    assert answers.column_names == ["key", "found", "prediction"]
    assert answers["key"].to_pylist() == [{"k": 9}, {"k": 3}, {"k": 3}, {"k": 1000}]
    assert answers["found"].to_pylist() == [True, True, True, False]
    assert answers["prediction"].to_pylist() == [{"score": 4.5}, {"score": 1.5}, {"score": 1.5}, None]


def test_what_all_answers_share_is_in_the_metadata(api: Api, ask: Asking) -> None:
    clock = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    m = api.publish({"k": "bigint"}, [(7, 0.5)], data_as_of=clock, freshness={"max_age": "1h"})
    told = ask(address(api.client), "lookup_table", m, pa.table({"k": [7]})).schema.metadata
    assert (told[b"model"].decode(), int(told[b"version"])) == (m, 1)
    assert datetime.fromisoformat(told[b"data_as_of"].decode()) == clock
    assert datetime.fromisoformat(told[b"published_at"].decode()) > clock
    assert float(told[b"age_seconds"]) > 3600
    assert told[b"stale"].lower() == b"true"


@pytest.mark.parametrize(
    ("kind", "value", "type_"),
    [
        ("smallint", 7, pa.int64()),
        ("text", "ü/", pa.string()),
        ("uuid", str(ID), pa.string()),
        ("date", date(2013, 7, 4), pa.date32()),
        ("timestamp", datetime(2013, 7, 4, 12, 30), pa.timestamp("us")),  # noqa: DTZ001 - a timestamp has no zone
        ("timestamptz", datetime(2013, 7, 4, 12, 30, tzinfo=UTC), pa.timestamp("ns", "Europe/Zurich")),
    ],
)
def test_keys_of_every_type(api: Api, ask: Asking, kind: str, value: Any, type_: Any) -> None:
    m = api.publish({"k": kind}, [(value, 0.5)])
    answers = ask(address(api.client), "lookup_table", m, pa.table({"k": pa.array([value], type_)}))
    assert answers["found"].to_pylist() == [True]
    assert answers["key"].to_pylist() == [{"k": value}]


def test_terms_are_those_of_a_lookup(shelf: Shelf, client: httpx.Client, ask: Asking) -> None:
    for version in (1, 2):
        publish(shelf, version)
    keys = pa.table({"k": [0]})
    answers = ask(address(client), "lookup_table", "m", keys, version=1, outputs=["score"], max_age=3600)
    assert answers["prediction"].to_pylist() == [{"score": 0.5}]
    with pytest.raises(TooOld):
        ask(address(client), "lookup_table", "m", keys, max_age=0)


def test_no_rows_no_answers(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [(7, 0.5)])
    answers = ask(address(api.client), "lookup_table", m, pa.table({"k": pa.array([], pa.int64())}))
    assert (answers.num_rows, answers.column_names) == (0, ["key", "found", "prediction"])


def test_more_rows_than_a_request_takes(shelf: Shelf, client: httpx.Client) -> None:
    publish(shelf, 1)
    # In chunks that do not end where parts do.
    keys = pa.chunked_array([pa.array(range(7)), pa.array(range(7, 2 * MAX_KEYS + 1))])
    transport = Meanwhile({1: lambda: publish(shelf, 2)})
    with Client(address(client), transport=transport) as asking:
        answers = asking.lookup_table("m", pa.table({"k": keys}))
    assert answers["key"].to_pylist() == [{"k": k} for k in range(2 * MAX_KEYS + 1)]
    found = answers.filter(answers["found"])
    assert found["prediction"].to_pylist() == [{"score": 0.5}] * 2
    assert (answers.schema.metadata[b"version"], transport.sent) == (b"1", 3)


def test_the_clocks_of_several_parts_are_the_last_ones() -> None:
    parts = [pa.table({"found": [True]}).replace_schema_metadata({"age_seconds": age}) for age in ("1.0", "1.5")]
    answers = arrow.concatenate(parts)
    assert (answers.num_rows, answers.schema.metadata) == (2, {b"age_seconds": b"1.5"})


def test_wrong_tables_are_invalid(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [])
    for model, table, code in [
        ("nothing", pa.table({"k": [7]}), "not_found"),
        (m, pa.table({"other": [7]}), "key_invalid"),
        (m, pa.table({"k": ["seven"]}), "key_invalid"),
    ]:
        with pytest.raises(Invalid) as failed:
            ask(address(api.client), "lookup_table", model, table)
        assert failed.value.code == code


def test_a_null_key_is_told_by_its_position_among_all(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [])
    keys: list[int | None] = list(range(MAX_KEYS + 3))
    keys[MAX_KEYS + 1] = None
    with pytest.raises(Invalid, match=rf"^keys\[{MAX_KEYS + 1}\]: "):
        ask(address(api.client), "lookup_table", m, pa.table({"k": keys}))
