"""Keys and answers as Arrow IPC streams."""

from __future__ import annotations

import io
import random
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import httpx
import pyarrow as pa
import pytest

from fix_api import Api
from prescore.errors import RequestInvalid
from prescore_api.formats import arrow_validation

STREAM = "application/vnd.apache.arrow.stream"
ID = UUID("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d")
NOON = datetime.fromisoformat("2013-07-04T12:30:00.000250")


def _stream(table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _look_up(client: httpx.Client, model: str, table: pa.Table, query: str = "") -> pa.Table:
    response = client.post(
        f"/v1/predictions/{model}/lookup{query}",
        content=_stream(table),
        headers={"Content-Type": STREAM, "Accept": STREAM},
    )
    assert (response.status_code, response.headers["content-type"]) == (200, STREAM), response.text
    with pa.ipc.open_stream(response.content) as reader:
        return reader.read_all()


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    ("kind", "stored", "arrow"),
    [
        ("smallint", -7, pa.int8()),
        ("integer", 7, pa.int64()),
        ("bigint", 2**62, pa.int64()),
        ("bigint", 7, pa.uint16()),
        ("text", "a/b ü", pa.string()),
        ("text", "a", pa.large_string()),
        ("uuid", ID, pa.string()),
        ("date", date(2013, 7, 4), pa.date32()),
        ("timestamp", NOON, pa.timestamp("us")),
        ("timestamptz", NOON.replace(tzinfo=UTC), pa.timestamp("us", tz="Europe/Zurich")),
        ("timestamptz", NOON.replace(tzinfo=UTC), pa.string()),
    ],
)
def test_keys_of_every_type(api: Api, kind: str, stored: Any, arrow: pa.DataType, in_memory: bool) -> None:
    m = api.publish({"k": kind}, [(stored, 0.5)], lookup={"in_memory": in_memory})
    if in_memory:
        api.until_in_memory(m)
    text = kind == "uuid" or (kind == "timestamptz" and arrow == pa.string())
    given = (stored.isoformat() if isinstance(stored, datetime) else str(stored)) if text else stored
    answers = _look_up(api.client, m, pa.table({"k": pa.array([given], arrow)}))
    assert answers.column("found").to_pylist() == [True]
    assert answers.column("prediction").to_pylist() == [{"score": 0.5}]
    assert answers.column("key").to_pylist() == [{"k": str(stored) if kind == "uuid" else stored}]


@pytest.mark.parametrize("in_memory", [False, True])
def test_arrow_and_json_answers_are_equal(api: Api, in_memory: bool) -> None:
    outputs = {"score": "real", "lift": "double precision", "n": "smallint", "why": "text", "yes": "boolean"}
    rows = [(k, "ü", 0.1, 0.1, k, None, k % 2 == 0) for k in range(3)]
    outputs_given = dict(outputs)
    m = api.publish({"k": "bigint", "place": "text"}, rows, outputs_given, lookup={"in_memory": in_memory})
    if in_memory:
        api.until_in_memory(m)
    table = pa.table({"place": ["ü", "ü", "x", "ü"], "k": [2, 0, 0, 2]})
    answers = _look_up(api.client, m, table)
    keys = [{"k": k, "place": place} for k, place in zip([2, 0, 0, 2], ["ü", "ü", "x", "ü"], strict=True)]
    json = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": keys}).json()["answers"]
    assert answers.column("key").to_pylist() == [one["key"] for one in json] == keys
    assert answers.column("found").to_pylist() == [one["found"] for one in json] == [True, True, False, True]
    predicted = answers.column("prediction").to_pylist()
    for one, other in zip(predicted, [one["prediction"] for one in json], strict=True):
        assert one == (other and other | {"score": pytest.approx(other["score"])})
    kinds = [pa.float32(), pa.float64(), pa.int16(), pa.string(), pa.bool_()]
    assert answers.schema.field("prediction").type == pa.struct(list(zip(outputs, kinds, strict=True)))
    metadata = {name.decode(): value.decode() for name, value in answers.schema.metadata.items()}
    assert {name: metadata[name] for name in ("model", "version", "data_as_of", "published_at", "stale")} == {
        "model": m,
        "version": "1",
        "data_as_of": json[0]["data_as_of"],
        "published_at": json[0]["published_at"],
        "stale": "false",
    }
    assert abs(float(metadata["age_seconds"]) - json[0]["age_seconds"]) < 60


def test_formats_of_request_and_response_are_independent(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [(1, 0.5)])
    path = f"/v1/predictions/{m}/lookup"
    response = api.client.post(path, json={"keys": [{"k": 1}]}, headers={"Accept": f"{STREAM}, application/json;q=0.5"})
    assert response.headers["content-type"] == STREAM
    body = _stream(pa.table({"k": [1]}))
    assert api.client.post(path, content=body, headers={"Content-Type": STREAM}).json()["answers"][0]["found"] is True
    one = api.client.get(f"/v1/predictions/{m}/1", headers={"Accept": STREAM})
    with pa.ipc.open_stream(one.content) as reader:
        assert reader.read_all().column("prediction").to_pylist() == [{"score": 0.5}]
    none = api.client.get(f"/v1/predictions/{m}/2", headers={"Accept": STREAM})
    with pa.ipc.open_stream(none.content) as reader:
        assert (none.status_code, reader.read_all().column("prediction").to_pylist()) == (404, [None])


def test_outputs_are_selected_and_no_keys_get_no_answers(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [(1, 0.5, 3)], {"score": "real", "lift": "integer"})
    answers = _look_up(api.client, m, pa.table({"k": [1]}), "?output=lift")
    assert answers.column("prediction").to_pylist() == [{"lift": 3}]
    none = _look_up(api.client, m, pa.table({"k": pa.array([], pa.int64())}))
    assert none.num_rows == 0
    assert none.schema.field("prediction").type == pa.struct([("score", pa.float32()), ("lift", pa.int32())])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"x": [1]}), "has the columns x. Send the columns of the key: k."),
        (pa.table({"k": [1], "x": [1]}), "has the columns k, x. Send the columns of the key: k."),
        (pa.table({"k": [1, None, 3]}), "keys[1]: k is null"),
        (pa.table({"k": ["1"]}), "k takes whole numbers (integer), not string"),
        (pa.table({"k": [2**40]}), "keys[0]: k must be a 32-bit integer"),
    ],
)
def test_malformed_keys_are_refused(api: Api, table: pa.Table, words: str) -> None:
    m = api.publish({"k": "integer"}, [(1, 0.5)])
    response = api.client.post(f"/v1/predictions/{m}/lookup", content=_stream(table), headers={"Content-Type": STREAM})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "key_invalid")
    assert words in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"no stream", b"\xff" * 100, _stream(pa.table({"k": [1]}))[:40]])
def test_a_body_that_is_not_a_stream_is_refused(api: Api, body: bytes) -> None:
    m = api.publish({"k": "integer"}, [(1, 0.5)])
    response = api.client.post(f"/v1/predictions/{m}/lookup", content=body, headers={"Content-Type": STREAM})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "request_invalid")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            _stream(pa.table({"k": [1.0]})),
            "Column k has the type double, which no key column has. Send the key columns alone",
        ),
        (_stream(pa.table({"k": pa.array(["a"]).dictionary_encode()})), "none of them dictionary-encoded"),
        (_stream(pa.table({"k": [[1]]})), "Column k has the type list"),
        (_stream(pa.table({"k": [0] * 100_000}), pa.ipc.IpcWriteOptions(compression="zstd")), "is compressed"),
        (_stream(pa.table({"k": [0] * 100_000}), pa.ipc.IpcWriteOptions(compression="lz4")), "is compressed"),
    ],
)
def test_columns_that_could_expand_are_refused(api: Api, body: bytes, words: str) -> None:
    m = api.publish({"k": "integer"}, [(1, 0.5)])
    response = api.client.post(f"/v1/predictions/{m}/lookup", content=body, headers={"Content-Type": STREAM})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "request_invalid")
    assert words in response.json()["error"]["message"]


def test_a_corrupt_stream_is_refused_and_reads_no_other_memory() -> None:
    """Arrow believes offsets; a few thousand streams with bytes changed must be refused, or be what they say."""
    good = _stream(pa.table({"k": ["abcdefgh"] * 5}))
    chosen = random.Random(7)
    for _ in range(3000):
        body = bytearray(good)
        for _ in range(chosen.randint(1, 4)):
            body[chosen.randrange(len(body))] = chosen.choice([0, 1, 255, chosen.randrange(256)])
        try:
            read = arrow_validation.read_table(bytes(body))
        except RequestInvalid:
            continue
        assert all(len(str(value)) <= len(good) for column in read.columns for value in column.to_pylist())
    offsets = good.index((8).to_bytes(4, "little") + (16).to_bytes(4, "little"))
    lying = good[: offsets - 4] + (10304).to_bytes(4, "little") + (10312).to_bytes(4, "little") + good[offsets + 4 :]
    with pytest.raises(RequestInvalid):
        arrow_validation.read_table(lying)


@pytest.mark.parametrize(
    ("accept", "arrow"),
    [
        (STREAM, True),
        (STREAM.upper(), True),
        (f"application/json;q=0.5, {STREAM}", True),
        (f"application/json, {STREAM};q=0.1", False),
        (f"{STREAM};q=0", False),
        (f"*/*, {STREAM}", True),
        ("*/*", False),
    ],
)
def test_weights_in_accept_are_followed(api: Api, accept: str, arrow: bool) -> None:
    m = api.publish({"k": "integer"}, [(1, 0.5)])
    response = api.client.get(f"/v1/predictions/{m}/1", headers={"Accept": accept})
    assert (response.headers["content-type"] == STREAM) is arrow


def test_times_beyond_arrows_range_are_null(api: Api) -> None:
    m = api.publish({"k": "integer"}, [(1, 0.5, None)], passthrough={"day": "date"})
    with api.shelf.database.connect() as connection:
        connection.execute(f"update prescore_versions.{m}_v1 set day = 'infinity'".encode())
    assert _look_up(api.client, m, pa.table({"k": [1]})).column("prediction").to_pylist() == [
        {"score": 0.5, "day": None}
    ]


def test_an_accept_header_in_two_lines_is_one_list(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [(1, 0.5)])
    headers = [("Accept", "text/html;q=0.1"), ("Accept", STREAM), ("Accept", "application/json;q=0.5")]
    assert api.client.get(f"/v1/predictions/{m}/1", headers=headers).headers["content-type"] == STREAM
