"""Every key comes back through HTTP as it went in: in paths, query strings, JSON and Arrow."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fix_api import Api
from fix_soak import SOAK
from prescore_api.oip.datatypes import DATATYPES
from prescore_api.service import poller
from test_oip import binary_body, infer, outputs

STREAM = "application/vnd.apache.arrow.stream"
_TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
_NAIVE = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 # these have none
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "text": _TEXT,
    "uuid": st.uuids(),
    "date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "timestamp": _NAIVE,
    "timestamptz": _NAIVE.map(lambda when: when.replace(tzinfo=UTC)),
}
_FEW = settings(max_examples=30 if SOAK else 2)


@pytest.fixture(autouse=True)
def frequent_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server read the catalog ten times a second, as many versions are loaded into memory here."""
    monkeypatch.setattr(poller, "POLL_SECONDS", 0.1)


def _written(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _stream(key: dict[str, Any]) -> bytes:
    plain = {name: [v if isinstance(v, int | str) else _written(v)] for name, v in key.items()}
    table, sink = pa.table(plain), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _responses(client: httpx.Client, model: str, key: dict[str, Any]) -> list[dict[str, Any]]:
    written = {name: _written(value) for name, value in key.items()}
    path = f"/v1/predictions/{model}"
    responses = [client.get(f"{path}?{urlencode(written)}")]
    # As a part of a path, these mean another page.
    if len(key) == 1 and not {".", ".."} & set(written.values()):
        responses.append(client.get(f"{path}/{quote(next(iter(written.values())), safe='')}"))
    typed = {name: value if isinstance(value, int) else written[name] for name, value in key.items()}
    responses.append(client.post(f"{path}/lookup", json={"keys": [typed]}))
    responses.append(client.post(f"{path}/lookup", content=_stream(key), headers={"Content-Type": STREAM}))
    assert {response.status_code for response in responses} == {200}, [response.text for response in responses]
    bodies = [response.json() for response in responses]
    return [body["answers"][0] if "answers" in body else body for body in bodies]


def _inferred(client: httpx.Client, model: str, key: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs of a key that was sent in tensors: in JSON, then in binary."""
    written = {name: value if isinstance(value, int) else _written(value) for name, value in key.items()}
    inputs, heads, parts = [], [], []
    for name, value in written.items():
        datatype = "INT64" if isinstance(value, int) else "BYTES"
        parts.append(DATATYPES[datatype].pack([value]))
        head = {"name": name, "datatype": datatype, "shape": [1]}
        inputs.append({**head, "data": [value]})
        heads.append({**head, "parameters": {"binary_data_size": len(parts[-1])}})
    path = f"/v2/models/{model}/infer"
    responses = [infer(client, model, *inputs), client.post(path, **binary_body({"inputs": heads}, *parts))]
    return list(map(outputs, responses))


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_one_column(api: Api, kind: str, in_memory: bool) -> None:
    @_FEW
    @given(st.lists(KEYS[kind], min_size=1, max_size=20, unique=True))
    def round_trip(values: list[Any]) -> None:
        m = api.publish(
            {"k": kind}, [(v, i) for i, v in enumerate(values)], {"n": "integer"}, lookup={"in_memory": in_memory}
        )
        if in_memory:
            api.until_in_memory(m)
        for i, value in enumerate(values):
            for answer in _responses(api.client, m, {"k": value}):
                assert (answer["found"], answer["prediction"]) == (True, {"n": i})
                returned = answer["key"]["k"]
                assert returned == (value if isinstance(value, int) else _written(value))
            assert _inferred(api.client, m, {"k": value}) == [{"n": [i], "found": [True], "stale": [False]}] * 2

    round_trip()


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_key_of_several_columns(api: Api, in_memory: bool) -> None:
    columns = {"text": "text", "number": "bigint", "id": "uuid", "day": "date"}

    @_FEW
    @given(st.lists(st.tuples(*(KEYS[kind] for kind in columns.values())), min_size=1, max_size=10, unique=True))
    def round_trip(keys: list[tuple[Any, ...]]) -> None:
        rows = [(*key, i) for i, key in enumerate(keys)]
        m = api.publish(columns, rows, {"n": "integer"}, lookup={"in_memory": in_memory})
        if in_memory:
            api.until_in_memory(m)
        for i, values in enumerate(keys):
            key = dict(zip(columns, values, strict=True))
            for answer in _responses(api.client, m, key):
                assert (answer["found"], answer["prediction"]) == (True, {"n": i})
                assert answer["key"] == {n: v if isinstance(v, int) else _written(v) for n, v in key.items()}

    round_trip()


def test_arbitrary_text_is_refused_or_not_found(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [])

    @settings(_FEW, max_examples=50)
    # As a part of a path, these mean another page.
    @given(text=_TEXT.filter(lambda text: text not in (".", "..")))
    def refused_or_not_found(text: str) -> None:
        response = api.client.get(f"/v1/predictions/{m}/{quote(text, safe='')}")
        assert response.status_code in (404, 422)
        assert (response.json().get("found") is False) == (response.status_code == 404)

    refused_or_not_found()
