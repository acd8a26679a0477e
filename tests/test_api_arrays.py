"""Array outputs over HTTP: the same lists in JSON and Arrow, from Postgres and from memory, and in the client."""

from __future__ import annotations

from typing import Any

import httpx
import pyarrow as pa
import pytest

from fix_api import Api, Shelf, until_in_memory
from fix_client import ClientCall, address
from fix_page import status_page
from fix_postgres import create_vector_extension
from prescore.catalog.database import Database
from prescore.catalog.types import ARRAYS

STREAM = "application/vnd.apache.arrow.stream"
KEY = {"k": "bigint"}
VALUES: dict[str, list[Any]] = {
    "real[]": [0.1, -2.5, 3e38],
    "double precision[]": [0.1, 1e-300, 2.0],
    "bigint[]": [2**63 - 1, -(2**63), 2**53 + 1],
    "text[]": ['a "quoted", one', "{1,2}", "", "NULL", "ü\n\\"],
    "vector": [0.1, -2.5, 0.0],
}
"""A value of each array type."""
ARROW = {
    "real[]": pa.list_(pa.float32()),
    "double precision[]": pa.list_(pa.float64()),
    "bigint[]": pa.list_(pa.int64()),
    "text[]": pa.list_(pa.string()),
    "vector": pa.list_(pa.float32()),
}
OUTPUTS = {f"o{i}": kind for i, kind in enumerate(VALUES)}
PREDICTION = {name: VALUES[kind] for name, kind in OUTPUTS.items()}


def _stored(value: list[Any], kind: str) -> Any:
    # psycopg has no type for vectors, and sends their text.
    return str(value) if kind == "vector" else value


def _publish(shelf: Shelf, model: str = "m", **more: Any) -> None:
    """Publish a version with two rows: 1 with a value of each type, 2 with none, as after an output was added."""
    with shelf.database.connect() as connection:
        create_vector_extension(connection)
    row = [_stored(VALUES[kind], kind) for kind in OUTPUTS.values()]
    shelf.publish(model, KEY, [(1, *row), (2, *[None] * len(row))], OUTPUTS, **more)


def _arrow_table(response: httpx.Response) -> pa.Table:
    assert response.status_code in (200, 404), response.text
    with pa.ipc.open_stream(response.content) as reader:
        return reader.read_all()


def test_every_array_type_has_a_value_here() -> None:
    assert set(VALUES) == set(ARROW) == set(ARRAYS)


@pytest.mark.parametrize("in_memory", [False, True])
def test_arrays_are_lists_in_json(shelf: Shelf, client: httpx.Client, in_memory: bool) -> None:
    _publish(shelf, lookup={"in_memory": in_memory})
    if in_memory:
        until_in_memory(client, "m")
    assert client.get("/v1/predictions/m/1").json()["prediction"] == PREDICTION
    assert client.get("/v1/predictions/m/2").json()["prediction"] == dict.fromkeys(OUTPUTS)
    keys = {"keys": [{"k": 1}, {"k": 3}, {"k": 2}]}
    answers = client.post("/v1/predictions/m/lookup", json=keys).json()["answers"]
    assert [answer["prediction"] for answer in answers] == [PREDICTION, None, dict.fromkeys(OUTPUTS)]
    one = client.get("/v1/predictions/m/1", params={"output": ["o2", "o0"]}).json()["prediction"]
    assert one == {"o2": VALUES["bigint[]"], "o0": VALUES["real[]"]}


@pytest.mark.parametrize("in_memory", [False, True])
def test_arrays_are_typed_lists_in_arrow(shelf: Shelf, client: httpx.Client, in_memory: bool) -> None:
    _publish(shelf, lookup={"in_memory": in_memory})
    if in_memory:
        until_in_memory(client, "m")
    accept = {"Accept": STREAM}
    keys = {"keys": [{"k": 2}, {"k": 1}, {"k": 3}]}
    table = _arrow_table(client.post("/v1/predictions/m/lookup", json=keys, headers=accept))
    prediction = table.schema.field("prediction").type
    assert {field.name: field.type for field in prediction} == {name: ARROW[kind] for name, kind in OUTPUTS.items()}
    none, one, absent = table.column("prediction").to_pylist()
    assert one == {name: pa.scalar(value, ARROW[OUTPUTS[name]]).as_py() for name, value in PREDICTION.items()}
    assert (none, absent) == (dict.fromkeys(OUTPUTS), None)
    single = _arrow_table(client.get("/v1/predictions/m/1", headers=accept))
    assert single.column("prediction").to_pylist() == [one]
    missing = _arrow_table(client.get("/v1/predictions/m/3", headers=accept))
    assert missing.column("prediction").to_pylist() == [None]


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_version_with_arrays_can_be_empty(shelf: Shelf, client: httpx.Client, in_memory: bool) -> None:
    shelf.publish("m", KEY, [], {"o": "real[]"}, lookup={"in_memory": in_memory})
    if in_memory:
        until_in_memory(client, "m")
    for headers in ({}, {"Accept": STREAM}):
        response = client.post("/v1/predictions/m/lookup", json={"keys": [{"k": 1}]}, headers=headers)
        assert response.status_code == 200
    assert _arrow_table(response).column("found").to_pylist() == [False]


def test_a_version_by_number_has_its_arrays(shelf: Shelf, client: httpx.Client) -> None:
    _publish(shelf)
    shelf.publish("m", KEY, [(1, 0.5)], {"o": "real"}, breaking=True)
    assert client.get("/v1/predictions/m/1", params={"version": 1}).json()["prediction"] == PREDICTION
    assert client.get("/v1/predictions/m/1").json()["prediction"] == {"o": 0.5}


def test_the_client_returns_lists(shelf: Shelf, client: httpx.Client, call: ClientCall) -> None:
    _publish(shelf)
    answer = call(address(client), "predict", "m", 1)
    assert answer.prediction == PREDICTION
    assert answer["o0"] == VALUES["real[]"]
    model = call(address(client), "model", "m")
    assert {column.name: column.type for column in model.outputs} == OUTPUTS
    table = call(address(client), "lookup_table", "m", pa.table({"k": [1, 3]}))
    assert table.column("o1").type == ARROW["double precision[]"]
    assert table.column("o2")[0].as_py() == VALUES["bigint[]"]


def test_the_openapi_document_has_arrays_in_predictions_and_not_in_keys(api: Api) -> None:
    schemas = api.client.get("/openapi.json").json()["components"]["schemas"]
    prediction = schemas["Answer"]["properties"]["prediction"]["anyOf"][0]["additionalProperties"]["anyOf"]
    elements = [{"type": name} for name in ("string", "integer", "number")]
    assert {"type": "array", "items": {"anyOf": elements}} in prediction
    key = schemas["Answer"]["properties"]["key"]["additionalProperties"]["anyOf"]
    assert {"type": "string"} in key
    assert "array" not in {kind["type"] for kind in key}


def test_the_status_page_names_arrays_and_draws_none(shelf: Shelf, database: Database) -> None:
    rows = [(n, n / 1000, [n + 0.25, n + 0.5], [str(n % 3)]) for n in range(1000)]
    for _ in range(2):
        shelf.publish("m", KEY, rows, {"score": "real", "embedding": "real[]", "labels": "text[]"})
    with status_page(database) as page:
        text = page.get("/").text
    assert "Arrays, which have no chart: embedding, labels." in text
    assert "score in version 2" in text
    assert "embedding in version" not in text
    assert "more output" not in text
