"""Lookups of pandas DataFrames with the Python client, against the real API."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from fix_api import Api, Shelf
from fix_client import ClientCall, InterleavingTransport, address, publish
from prescore_api.client import MAX_KEYS, AsyncClient, Client, Invalid, TooOld

ID = UUID("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d")
OUTPUTS = {"score": "real", "visits": "integer", "leaves": "boolean", "segment": "text"}
PASSTHROUGH = {"since": "date"}
ROWS = [(k, k / 2, k, k % 2 == 0, f"s{k}", date(2026, 1, k + 1)) for k in range(10)]


def test_a_frame_is_answered_row_by_row_with_its_own_index_and_keys(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, ROWS, OUTPUTS, PASSTHROUGH)
    keys = pd.Series([9, 3, 3, 1000], dtype="int32")
    frame = pd.DataFrame({"income": [1.5, 2.5, 3.5, 4.5], "k": keys, "score": [7, 7, 7, 7]}).set_axis(list("wxyz"))
    answers = call(address(api.client), "lookup", name, frame)
    assert list(answers.columns) == ["k", *OUTPUTS, "since", "found", "version", "data_as_of"]
    assert answers.index.tolist() == list("wxyz")
    pd.testing.assert_series_equal(answers["k"], frame["k"])
    assert {column: str(dtype) for column, dtype in answers.dtypes.items()} == {
        "k": "int32",
        "score": "float32",
        "visits": "Int32",
        "leaves": "boolean",
        "segment": str(pd.Series(["a"]).dtype),
        "since": "object",
        "found": "bool",
        "version": "int32",
        "data_as_of": "datetime64[us, UTC]",
    }
    assert answers["found"].tolist() == [True, True, True, False]
    assert answers["score"].tolist()[:3] == [4.5, 1.5, 1.5]
    assert answers.loc["w", ["visits", "leaves", "segment", "since"]].tolist() == [9, False, "s9", date(2026, 1, 10)]
    assert answers.loc["z", [*OUTPUTS, "since"]].isna().all()
    assert answers["version"].tolist() == [1] * 4


def test_what_the_answers_share_is_in_attrs_and_fits_into_a_file(api: Api, call: ClientCall, tmp_path: Any) -> None:
    data_as_of = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    name = api.publish({"k": "bigint"}, [(7, 0.5)], data_as_of=data_as_of, freshness={"max_age": "1h"})
    answers = call(address(api.client), "lookup", name, pd.DataFrame({"k": [7]}))
    assert (answers.attrs["model"], answers.attrs["version"], answers.attrs["stale"]) == (name, 1, True)
    assert datetime.fromisoformat(answers.attrs["data_as_of"]) == data_as_of
    assert datetime.fromisoformat(answers.attrs["published_at"]) > data_as_of
    assert answers.attrs["age_seconds"] > 3600
    assert answers["data_as_of"].tolist() == [pd.Timestamp(data_as_of)]
    # pandas writes attrs as JSON.
    answers.to_parquet(tmp_path / "answers.parquet")
    assert json.loads(json.dumps(answers.attrs)) == answers.attrs


@pytest.mark.parametrize(
    ("kind", "values", "dtype"),
    [
        ("integer", [7], "Int64"),
        ("text", ["ü/"], "category"),
        ("text", ["ü/"], "object"),
        ("uuid", [ID], "object"),
        ("date", [date(2013, 7, 4)], "object"),
        ("date", ["2013-07-04"], "datetime64[ns]"),
        ("timestamp", ["2013-07-04 12:30"], "datetime64[s]"),
        ("timestamptz", ["2013-07-04 12:30"], "datetime64[ns, Europe/Zurich]"),
    ],
)
def test_keys_of_pandas_types_are_found(api: Api, call: ClientCall, kind: str, values: list[Any], dtype: Any) -> None:
    keys = pd.Series(values, dtype=dtype)
    stored = values[0] if kind != "timestamptz" else "2013-07-04 12:30 Europe/Zurich"
    name = api.publish({"k": kind}, [(stored, 0.5)])
    answers = call(address(api.client), "lookup", name, keys.to_frame("k"))
    assert answers["found"].tolist() == [True]
    pd.testing.assert_series_equal(answers["k"], keys.rename("k"))


def test_a_key_may_be_in_the_index(api: Api, call: ClientCall) -> None:
    name = api.publish({"shop": "text", "k": "bigint"}, [("a", 1, 0.5), ("b", 2, 0.25)])
    frame = pd.DataFrame({"shop": ["b", "a"], "k": [2, 1]}).set_index("k")
    answers = call(address(api.client), "lookup", name, frame)
    assert list(answers.columns) == ["shop", "score", "found", "version", "data_as_of"]
    assert answers["score"].to_dict() == {2: 0.25, 1: 0.5}
    assert answers.index.name == "k"


def test_a_frame_takes_the_options_of_a_lookup(shelf: Shelf, client: httpx.Client, call: ClientCall) -> None:
    for version in (1, 2):
        publish(shelf, version)
    frame = pd.DataFrame({"k": [0]})
    answers = call(address(client), "lookup", "m", frame, version=1, outputs="score", max_age=3600)
    assert (answers["score"].tolist(), answers["version"].tolist()) == ([0.5], [1])
    with pytest.raises(TooOld):
        call(address(client), "lookup", "m", frame, max_age=0)


def test_a_frame_without_rows_has_the_same_columns(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [])
    answers = call(address(api.client), "lookup", name, pd.DataFrame({"k": pd.Series([], dtype="int64")}))
    assert (len(answers), list(answers.columns)) == (0, ["k", "score", "found", "version", "data_as_of"])


def test_a_long_frame_is_answered_by_one_version(shelf: Shelf, client: httpx.Client) -> None:
    publish(shelf, 1)
    transport = InterleavingTransport({2: lambda: publish(shelf, 2)})
    with Client(address(client), transport=transport) as python_client:
        answers = python_client.lookup("m", pd.DataFrame({"k": range(2 * MAX_KEYS + 1)}))
    assert (len(answers), set(answers["version"]), transport.request_count) == (2 * MAX_KEYS + 1, {1}, 4)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"other": [7]}, r"no column k, which the key of \w+ needs\. Its columns are other\.$"),
        ({"K": [7]}, r"Rename them first: frame\.rename\(columns=\{'K': 'k'\}\)\.$"),
        ({"k": [7.0, None]}, r"Column k of the frame is float64, .* frame\.astype\(\{'k': 'int64'\}\)\.$"),
        ({"k": [{"a": 1}, 2]}, r"Column k of the frame cannot be a key"),
        ({"k": ["seven"]}, r"k takes whole numbers"),
        ({"k": pd.Series([7, None], dtype="Int64")}, r"^keys\[1\]: k is null"),
    ],
)
def test_a_frame_without_valid_keys_raises_invalid(api: Api, call: ClientCall, frame: Any, message: str) -> None:
    name = api.publish({"k": "bigint"}, [(7, 0.5)])
    with pytest.raises(Invalid, match=message) as error:
        call(address(api.client), "lookup", name, pd.DataFrame(frame))
    assert error.value.code == "key_invalid"


@pytest.mark.parametrize(
    ("method", "keys", "advice"),
    [
        ("lookup", {"k": 7}, r"For a single key, use predict\.$"),
        ("lookup", "7", r"For a single key, use predict\.$"),
        ("lookup", pd.Series([7], name="k"), r"Pass keys\.to_frame\(\)\.$"),
        ("lookup", pa.table({"k": [7]}), r"Pass other tables to lookup_table\.$"),
        ("lookup_table", [{"k": 7}], r"not list\. Pass a pandas DataFrame or a list of mappings to lookup\.$"),
    ],
)
def test_other_objects_raise_with_what_to_pass(call: ClientCall, method: str, keys: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        call("http://127.0.0.1:9", method, "m", keys)


def test_a_frame_needs_pyarrow_and_says_so() -> None:
    code = (
        "import sys, pandas; sys.modules['pyarrow'] = None\n"
        "from prescore_api.client import Client\n"
        "Client('http://127.0.0.1:9').lookup('m', pandas.DataFrame({'k': [7]}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.rstrip().endswith("needs pyarrow, which is not installed. Run: pip install pyarrow"), done.stderr


def test_the_frame_overloads_are_those_of_both_clients() -> None:
    assert AsyncClient.lookup.__annotations__ == Client.lookup.__annotations__
