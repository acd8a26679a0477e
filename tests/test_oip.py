"""The Open Inference Protocol over REST: tensors in JSON and in binary, metadata, readiness and errors."""

from __future__ import annotations

import json
import math
import re
import struct
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest

from fix_api import Api, Shelf, serving
from prescore.catalog import api_keys, naming
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore_api.http.app import ServerSettings, build
from prescore_api.oip.datatypes import DATATYPES
from prescore_api.service.lookup import MAX_KEYS

ID = UUID("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d")
NOON = datetime.fromisoformat("2013-07-04T12:30:00")
KEY = {"k": "bigint"}
LENGTH = "Inference-Header-Content-Length"
LIMITED = ServerSettings(open_to_all=False)


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def infer(client: httpx.Client, model: str, *inputs: dict[str, Any], version: int | None = None, **more: Any) -> Any:
    path = f"/v2/models/{model}" if version is None else f"/v2/models/{model}/versions/{version}"
    return client.post(f"{path}/infer", json={"inputs": list(inputs), **more})


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output["data"] for output in response.json()["outputs"]}


def error(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    content = response.json()
    assert list(content) == ["error"]
    return str(content["error"])


def pack(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def binary_body(request: dict[str, Any], *parts: bytes) -> dict[str, Any]:
    content = json.dumps(request).encode()
    return {"content": b"".join([content, *parts]), "headers": {LENGTH: str(len(content))}}


def unpacked(response: httpx.Response) -> dict[str, Any]:
    """Return the outputs of a response in binary."""
    assert response.status_code == 200, response.text
    length = int(response.headers[LENGTH])
    found, rest = {}, response.content[length:]
    for output in json.loads(response.content[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        datatype = DATATYPES[output["datatype"]]
        found[output["name"]] = list(datatype.unpack(rest[:size], math.prod(output["shape"])))
        rest = rest[size:]
    assert not rest
    return found


def test_keys_are_inputs_and_columns_are_outputs(api: Api) -> None:
    clock = datetime.now(UTC) - timedelta(hours=2)
    key = {"carrier": "text", "flight": "integer"}
    m = api.publish(key, [("UA", 1, 0.5, 7)], {"score": "real"}, {"seats": "smallint"}, data_as_of=clock)
    answer = infer(api.client, m, tensor("flight", "INT32", [1, 2]), tensor("carrier", "BYTES", ["UA", "UA"]), id="a-b")
    content = answer.json()
    assert (content["model_name"], content["model_version"], content["id"]) == (m, "1", "a-b")
    parameters = content["parameters"]
    assert (parameters["source"], parameters["version"]) == ("table", 1)
    assert parameters["data_as_of"] == clock.isoformat()
    assert 7200 <= parameters["age_seconds"] < 7260
    assert datetime.fromisoformat(parameters["published_at"]) <= datetime.now(UTC)
    assert content["outputs"] == [
        tensor("score", "FP32", [0.5, 0.0]),
        tensor("seats", "INT16", [7, 0]),
        tensor("seats.is_null", "BOOL", [False, True]),
        tensor("found", "BOOL", [True, False]),
        tensor("stale", "BOOL", [False, False]),
    ]
    only = infer(
        api.client, m, tensor("flight", "INT32", [1]), tensor("carrier", "BYTES", ["UA"]), outputs=[{"name": "found"}]
    )
    assert outputs(only) == {"found": [True]}
    assert "id" not in only.json()


@pytest.fixture
def two_versions(shelf: Shelf) -> None:
    """Versions of one model that were published before the server starts, which trusts what it read for two seconds."""
    shelf.publish("m", KEY, [(1, 0.5)], {"old": "real"})
    shelf.publish(
        "m",
        {"k": "date"},
        [(date(2013, 7, 4), 0.5, [1.0], None)],
        {"new": "double precision", "many": "real[]"},
        {"note": "text"},
        breaking=True,
    )


@pytest.mark.usefixtures("two_versions")
def test_metadata_names_the_tensors_and_the_versions(client: httpx.Client) -> None:
    server = client.get("/v2").json()
    assert (server["name"], server["extensions"]) == ("prescore", ["binary_tensor_data"])
    assert client.get("/v2/models/m").json() == {
        "name": "m",
        "versions": ["2", "1"],
        "platform": "prescore_table",
        "inputs": [{"name": "k", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "new", "datatype": "FP64", "shape": [-1]},
            {"name": "many", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "note", "datatype": "BYTES", "shape": [-1]},
            {"name": "note.is_null", "datatype": "BOOL", "shape": [-1]},
            {"name": "found", "datatype": "BOOL", "shape": [-1]},
            {"name": "stale", "datatype": "BOOL", "shape": [-1]},
        ],
    }
    old = client.get("/v2/models/m/versions/1").json()
    assert old["inputs"] == [{"name": "k", "datatype": "INT64", "shape": [-1]}]
    assert [output["name"] for output in old["outputs"]] == ["old", "found", "stale"]
    # The path of a version is time travel.
    assert outputs(infer(client, "m", tensor("k", "INT64", [1]), version=1))["old"] == [0.5]
    assert infer(client, "m", tensor("k", "INT64", [1]), version=1).json()["model_version"] == "1"
    assert outputs(infer(client, "m", tensor("k", "BYTES", ["2013-07-04"])))["new"] == [0.5]
    for path in ("/v2/models/m", "/v2/models/m/versions/1", "/v2/models/m/versions/2"):
        assert client.get(f"{path}/ready").json() == {"name": "m", "ready": True}
    assert "has no version 3" in error(infer(client, "m", tensor("k", "INT64", [1]), version=3), 404)
    for version in ("3", "0", "latest", "1e3"):
        for tail in ("", "/ready"):
            error(client.get(f"/v2/models/m/versions/{version}{tail}"), 404)


def test_every_type_of_column_becomes_a_tensor(api: Api) -> None:
    columns = {
        "smallint": (-32768, "INT16", -32768),
        "integer": (2**31 - 1, "INT32", 2**31 - 1),
        "bigint": (2**53 + 1, "INT64", 2**53 + 1),
        "real": (0.1, "FP32", 0.1),
        "double precision": (1e-300, "FP64", 1e-300),
        "boolean": (True, "BOOL", True),
        "text": ("Zürich", "BYTES", "Zürich"),
        "uuid": (ID, "BYTES", str(ID)),
        "date": (date(2013, 7, 4), "BYTES", "2013-07-04"),
        "timestamp": (NOON, "BYTES", "2013-07-04T12:30:00"),
        "timestamptz": (NOON.replace(tzinfo=UTC), "BYTES", "2013-07-04T12:30:00+00:00"),
    }
    passthrough = {f"p{i}": kind for i, kind in enumerate(columns)}
    stored = [value for value, _, _ in columns.values()]
    m = api.publish(KEY, [(1, 0.5, *stored), (2, 0.25, *[None] * len(stored))], passthrough=passthrough)
    one = infer(api.client, m, tensor("k", "INT64", [1])).json()["outputs"]
    by_name = {output["name"]: output for output in one}
    for i, (_, datatype, value) in enumerate(columns.values()):
        assert by_name[f"p{i}"] == tensor(f"p{i}", datatype, [value])
        assert by_name[f"p{i}.is_null"]["data"] == [False]
    both = outputs(infer(api.client, m, tensor("k", "INT64", [2, 1, 3])))
    assert both["score"] == [0.25, 0.5, 0.0]
    assert both["found"] == [True, True, False]
    for i, (_, datatype, value) in enumerate(columns.values()):
        fill = {"BYTES": "", "BOOL": False}.get(datatype, 0)
        assert both[f"p{i}"] == [fill, value, fill]
        assert both[f"p{i}.is_null"] == [True, False, True]
    # The same values in binary.
    request = {"inputs": [tensor("k", "INT64", [2, 1, 3])], "parameters": {"binary_data_output": True}}
    raw = unpacked(api.client.post(f"/v2/models/{m}/infer", json=request))
    assert raw.pop("p3") == [np.float32(0), np.float32(0.1), np.float32(0)]
    both.pop("p3")
    assert raw == both


@pytest.mark.parametrize(
    ("kind", "stored", "datatype", "sent"),
    [
        ("smallint", 7, "INT64", 7),
        ("integer", 7, "UINT8", 7),
        ("bigint", 2**53 + 1, "INT64", 2**53 + 1),
        ("bigint", 7, "INT64", 7.0),
        ("bigint", -(2**53) + 1, "INT64", -(2.0**53) + 1),
        ("text", "00123", "BYTES", "00123"),
        ("uuid", ID, "BYTES", str(ID).upper()),
        ("date", date(2013, 7, 4), "BYTES", "2013-07-04"),
        ("timestamp", NOON, "BYTES", "2013-07-04T12:30:00"),
        ("timestamptz", NOON.replace(tzinfo=UTC), "BYTES", "2013-07-04T12:30:00Z"),
    ],
)
def test_a_key_of_every_type_is_found(api: Api, kind: str, stored: Any, datatype: str, sent: Any) -> None:
    m = api.publish({"k": kind}, [(stored, 0.5)])
    for input_tensor in (tensor("k", datatype, [sent]), tensor("k", datatype, [[sent], [sent]], [2, 1])):
        found = outputs(infer(api.client, m, input_tensor))
        assert set(found["found"]) == {True}
        assert set(found["score"]) == {0.5}
    raw = DATATYPES[datatype].pack([sent, sent])
    head = {**tensor("k", datatype, [], [2]), "parameters": {"binary_data_size": len(raw)}}
    request = binary_body({"inputs": [head]}, raw)
    assert outputs(api.client.post(f"/v2/models/{m}/infer", **request))["found"] == [True, True]


@pytest.mark.parametrize(
    ("kind", "input_tensor", "message"),
    [
        ("bigint", tensor("k", "INT64", [2.0**53]), r"data\[0\] is 9007199254740992.0, .* beyond 2\^53"),
        ("bigint", tensor("k", "INT64", [1, 1.5]), r"data\[1\] is the number 1.5, which is not a whole number"),
        ("bigint", tensor("k", "INT64", ["1"]), r"data\[0\] is the text '1', which is not a whole number"),
        ("bigint", tensor("k", "INT64", [True]), r"data\[0\] is true"),
        ("bigint", tensor("k", "INT64", [None]), r"data\[0\] is null"),
        ("bigint", tensor("k", "INT64", [2**63]), r"data\[0\] is 9223372036854775808, which is out of range"),
        ("bigint", tensor("k", "UINT64", [2**63]), r"keys\[0\]: k must be a 64-bit integer"),
        ("smallint", tensor("k", "INT64", [1, 40_000]), r"keys\[1\]: k must be a 16-bit integer"),
        ("bigint", tensor("k", "FP64", [1.0]), r"has the datatype FP64, and this key takes INT64"),
        ("bigint", tensor("k", "BYTES", ["1"]), r"has the datatype BYTES, and this key takes INT64"),
        ("text", tensor("k", "BYTES", [1.0]), r"data\[0\] is the number 1.0, and BYTES takes text. Some clients"),
        ("text", tensor("k", "INT64", [1]), r"has the datatype INT64, and this key takes BYTES"),
        ("text", tensor("k", "BYTES", ["a\x00"]), r"keys\[0\]: k must be text without NUL"),
        ("date", tensor("k", "BYTES", ["2013-02-30"]), r"keys\[0\]: k must be a date such as"),
    ],
)
def test_keys_are_never_guessed(api: Api, kind: str, input_tensor: dict[str, Any], message: str) -> None:
    m = api.publish({"k": kind}, [])
    found = error(infer(api.client, m, input_tensor))
    assert re.search(message, found), found


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ({}, "needs inputs"),
        ({"inputs": []}, "needs inputs"),
        ([], "must be an object"),
        ({"inputs": {"k": 1}}, "inputs must be a list of objects"),
        ({"inputs": [{"datatype": "INT64"}]}, "each of which has a name"),
        ({"inputs": [{"name": "k", "shape": [1], "data": [1]}]}, "has the datatype None. Datatypes are BOOL, UINT8"),
        ({"inputs": [tensor("k", "INT128", [1])]}, "has the datatype 'INT128'"),
        ({"inputs": [{"name": "k", "datatype": "INT64", "data": [1]}]}, "has the shape None"),
        ({"inputs": [tensor("k", "INT64", [1], [-1])]}, "has the shape [-1]"),
        ({"inputs": [tensor("k", "INT64", [1], [True])]}, "has the shape [True]"),
        ({"inputs": [tensor("k", "INT64", [1], [2])]}, "has 1 elements, and its shape [2] has 2"),
        ({"inputs": [tensor("k", "INT64", [[1, 2]], [2, 1])]}, "not nested as its shape [2, 1] is"),
        ({"inputs": [tensor("k", "INT64", [[1], 2], [2, 1])]}, "not nested as its shape [2, 1] is"),
        ({"inputs": [tensor("k", "INT64", [1, 2], [1, 2])]}, "Send one value per row: [n] or [n, 1]"),
        ({"inputs": [{"name": "k", "datatype": "INT64", "shape": [1]}]}, "needs data"),
        ({"inputs": [tensor("k", "INT64", [1]), tensor("k", "INT64", [2])]}, "given more than once"),
        ({"inputs": [tensor("key", "INT64", [1])]}, "has the inputs key. Send the key of mistakes: k (INT64)"),
        (
            {"inputs": [tensor("k", "INT64", [1])], "outputs": [{"name": "x"}]},
            "no output x; it has score, found",
        ),
        ({"inputs": [tensor("k", "INT64", [1])], "id": 7}, "id must be text"),
        ({"inputs": [tensor("k", "INT64", [1])], "parameters": []}, "parameters must be an object"),
        ({"inputs": [tensor("k", "INT64", [1])], "parameters": {"max_age": "1h"}}, "max_age takes a number of seconds"),
        ({"inputs": [{**tensor("k", "INT64", []), "parameters": {"binary_data_size": 8}}]}, LENGTH),
    ],
)
def test_mistakes_have_the_shape_of_the_protocol(oip: httpx.Client, request_body: Any, message: str) -> None:
    assert message in error(oip.post("/v2/models/mistakes/infer", json=request_body))


@pytest.fixture(scope="module")
def oip(api: Api) -> httpx.Client:
    """A client of a server with the model `mistakes`."""
    api.shelf.publish("mistakes", KEY, [(1, 0.5)])
    return api.client


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (b"", {}, "it is empty"),
        (b"{", {}, f"If binary tensors follow the JSON, the header {LENGTH}"),
        (b'{"inputs": []}\x01\x00', {}, f"the header {LENGTH} must have the length of the JSON in bytes"),
        (
            b"{}",
            {LENGTH: "3"},
            f"{LENGTH} is '3'. It takes the length of the JSON in bytes, at most that of the body",
        ),
        (b"{}", {LENGTH: "-1"}, f"{LENGTH} is '-1'"),
        (b"\x01\x00", {LENGTH: "0"}, "the body must begin with JSON that names the inputs"),
    ],
)
def test_a_body_that_cannot_be_split_says_how(
    oip: httpx.Client, content: bytes, headers: dict[str, str], message: str
) -> None:
    assert message in error(oip.post("/v2/models/mistakes/infer", content=content, headers=headers))


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "parts", "message"),
    [
        ("INT64", [1], 8, b"1234567", "has 8 bytes of binary data, and 7 bytes are left"),
        ("INT64", [2], 8, bytes(8), "2 elements take 16 bytes, and there are 8"),
        ("INT64", [1], "8", bytes(8), "a binary_data_size that is not a number"),
        ("INT64", [1], 8, bytes(9), "1 bytes follow the last binary tensor"),
        ("BYTES", [1], 3, bytes(3), "element 0 of 1 is missing"),
        ("BYTES", [1], 5, b"\x02\x00\x00\x00a", "element 0 has 2 bytes, which is more than there are"),
        ("BYTES", [1], 5, b"\x01\x00\x00\x00\xff", "element 0 is not text in UTF-8"),
        ("BYTES", [1], 9, pack(["a"]) + bytes(4), "4 bytes follow the last of 1 elements"),
    ],
)
def test_mistakes_in_binary_tensors(
    oip: httpx.Client, datatype: str, shape: list[int], size: Any, parts: bytes, message: str
) -> None:
    head = {"name": "k", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    found = error(oip.post("/v2/models/mistakes/infer", **binary_body({"inputs": [head]}, parts)))
    assert message in found


@pytest.mark.parametrize(
    ("found", "score", "default"),
    [({}, {"binary_data": True}, None), ({"binary_data": False}, {}, True)],
    ids=["one output", "all but one"],
)
def test_outputs_are_in_binary_where_the_request_wants_them(
    oip: httpx.Client, found: dict[str, bool], score: dict[str, bool], default: bool | None
) -> None:
    request = {
        "inputs": [tensor("k", "INT64", [1])],
        "outputs": [{"name": "found", "parameters": found}, {"name": "score", "parameters": score}],
        "parameters": {"binary_data_output": default},
    }
    response = oip.post("/v2/models/mistakes/infer", json=request)
    length = int(response.headers[LENGTH])
    assert response.headers["content-type"] == "application/octet-stream"
    assert json.loads(response.content[:length])["outputs"] == [
        tensor("found", "BOOL", [True]),
        {"name": "score", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}},
    ]
    assert response.content[length:] == struct.pack("<f", 0.5)


def test_arrays_are_matrices(api: Api) -> None:
    types = {"embedding": "real[]", "labels": "text[]", "counts": "bigint[]"}
    rows = [(1, [0.5, 0.25], ["a", "b"], [1]), (2, [1.0, 2.0], ["c"], [2**53 + 1])]
    m = api.publish(KEY, rows, types)
    wanted = [{"name": "embedding"}, {"name": "counts"}]
    response = infer(api.client, m, tensor("k", "INT64", [1, 3, 2]), outputs=wanted)
    assert response.json()["outputs"] == [
        {"name": "embedding", "datatype": "FP32", "shape": [3, 2], "data": [0.5, 0.25, 0.0, 0.0, 1.0, 2.0]},
        {"name": "counts", "datatype": "INT64", "shape": [3, 1], "data": [1, 0, 2**53 + 1]},
    ]
    assert infer(api.client, m, tensor("k", "INT64", [3])).json()["outputs"][0]["shape"] == [1, 0]
    assert infer(api.client, m, tensor("k", "INT64", [])).json()["outputs"][0]["shape"] == [0, 0]
    message = error(infer(api.client, m, tensor("k", "INT64", [1, 2])))
    assert "labels has between 1 and 2 elements" in message


def test_what_a_tensor_cannot_say(api: Api) -> None:
    m = api.publish(KEY, [(1, None, math.nan), (2, 0.5, math.inf)], passthrough={"p": "real"})
    assert "score is null in row 1" in error(infer(api.client, m, tensor("k", "INT64", [2, 1])))
    both = outputs(infer(api.client, m, tensor("k", "INT64", [2, 1]), outputs=[{"name": "p"}, {"name": "p.is_null"}]))
    assert both == {"p": [0.0, 0.0], "p.is_null": [True, True]}


def test_a_version_in_memory_is_answered_alike(api: Api) -> None:
    rows = [(n, n / 8, f"text {n}", None if n % 2 else NOON) for n in range(8)]
    passthrough = {"t": "text", "at": "timestamp"}
    m = api.publish(KEY, rows, passthrough=passthrough, lookup={"in_memory": True})
    api.until_in_memory(m)
    found = outputs(infer(api.client, m, tensor("k", "INT64", [3, 9, 4])))
    assert (found["score"], found["t"]) == ([0.375, 0.0, 0.5], ["text 3", "", "text 4"])
    assert (found["at"], found["at.is_null"]) == (["", "", NOON.isoformat()], [True, True, False])
    single = outputs(infer(api.client, m, tensor("k", "INT64", [4])))
    assert single == {name: values[2:] for name, values in found.items()}


def test_a_request_has_at_most_as_many_keys_as_under_v1(oip: httpx.Client) -> None:
    most = list(range(MAX_KEYS))
    assert sum(outputs(infer(oip, "mistakes", tensor("k", "INT64", most)))["found"]) == 1
    assert "has 10,001 elements; the limit is 10,000 rows" in error(
        infer(oip, "mistakes", tensor("k", "INT64", [*most, 0])), 413
    )


def test_stale_predictions_are_marked_or_refused(api: Api) -> None:
    old = datetime.now(UTC) - timedelta(hours=2)
    limit = {"max_age": "1h"}
    marked = api.publish(KEY, [(1, 0.5)], data_as_of=old, freshness=limit)
    refused = api.publish(KEY, [(1, 0.5)], data_as_of=old, freshness={**limit, "when_stale": "refuse"})
    assert outputs(infer(api.client, marked, tensor("k", "INT64", [1])))["stale"] == [True]
    assert api.client.get(f"/v2/models/{marked}/ready").status_code == 200
    # A version that was chosen by number is served at any age.
    assert outputs(infer(api.client, refused, tensor("k", "INT64", [1]), version=1))["stale"] == [True]
    assert api.client.get(f"/v2/models/{refused}/versions/1/ready").status_code == 200
    bounded = infer(api.client, marked, tensor("k", "INT64", [1]), parameters={"max_age": 60})
    not_ready = api.client.get(f"/v2/models/{refused}/ready")
    for response in (infer(api.client, refused, tensor("k", "INT64", [1])), not_ready, bounded):
        assert "is too old" in error(response, 503)
        assert response.headers["retry-after"] == "60"


def test_a_key_that_has_vanished_has_its_last_version(api: Api) -> None:
    spec: Any = {"vanished": {"policy": "tombstone"}}
    model = api.publish(KEY, [(1, 0.5), (2, 0.5)], **spec)
    api.shelf.publish(model, KEY, [(1, 0.5)], **spec)
    assert outputs(infer(api.client, model, tensor("k", "INT64", [1, 2, 3])))["last_version"] == [0, 1, 0]
    assert outputs(infer(api.client, model, tensor("k", "INT64", [2])))["last_version"] == [1]
    found = outputs(infer(api.client, model, tensor("k", "INT64", [2]), outputs=[{"name": "found"}]))
    assert found == {"found": [False]}
    described = api.client.get(f"/v2/models/{model}").json()["outputs"]
    assert {"name": "last_version", "datatype": "INT32", "shape": [-1]} in described
    assert "last_version" not in outputs(infer(api.client, api.publish(KEY, []), tensor("k", "INT64", [2])))


def test_keys_of_the_api_hold(database: Database) -> None:
    Shelf(database).publish("m", KEY, [(1, 0.5)])
    with database.connect() as connection:
        full = api_keys.create(Catalog(connection), "full", None, None)
        limited = api_keys.create(Catalog(connection), "limited", ["other"], None)
    with serving(build(database, LIMITED)) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json() == {"ready": True}
        for path in ("/v2", "/v2/models/m", "/v2/models/m/ready", "/v2/models/m/versions/1", "/v2/nothing"):
            response = client.get(path)
            assert "An API key is required" in error(response, 401)
            assert "Bearer" in response.headers["www-authenticate"]
        client.headers["Authorization"] = f"Bearer {limited}"
        assert "does not open 'm'" in error(infer(client, "m", tensor("k", "INT64", [1])), 403)
        for tail in ("", "/ready", "/versions/1"):
            error(client.get(f"/v2/models/m{tail}"), 403)
        client.headers["Authorization"] = f"Bearer {full}"
        assert outputs(infer(client, "m", tensor("k", "INT64", [1])))["score"] == [0.5]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/mistakes:predict", 404, "/v2/models/mistakes/infer. For a KServe client: RESTConfig(prot"),
        ("GET", "/v2/models/mistakes/config", 404, "There is nothing at /v2/models/mistakes/config. This server has"),
        ("POST", "/v2/repository/index", 404, "none of Triton's other extensions"),
        ("GET", "/v2/models/stats", 404, "GET /metrics"),
        ("GET", "/v2/models/mistakes/stats", 404, "none of Triton's"),
        ("GET", "/v2/models/unknown", 404, "No model 'unknown' is published"),
        ("GET", "/v2/models/unknown/ready", 404, "No model 'unknown' is published"),
        ("POST", "/v2/models/mistakes%2F/infer", 404, "No model 'mistakes/' is published"),
        ("GET", "/v2/models/mistakes/infer", 405, "does not take GET. It takes POST"),
        ("GET", "/v2/models/mistakes?version=1", 400, "Unknown parameters: version"),
        ("POST", "/v2/models/mistakes/infer?version=1", 400, "Unknown parameters: version"),
        ("GET", "/v2/", 404, "There is nothing at /v2/"),
    ],
)
def test_paths_that_other_servers_have(oip: httpx.Client, method: str, path: str, status: int, message: str) -> None:
    body = {"inputs": [tensor("k", "INT64", [1])]}
    assert message in error(oip.request(method, path, json=body if method == "POST" else None), status)


def test_compressed_bodies_are_refused_and_responses_are_compressed(oip: httpx.Client) -> None:
    response = oip.post("/v2/models/mistakes/infer", content=b"x", headers={"Content-Encoding": "gzip"})
    assert "without compression" in error(response, 415)
    many = infer(oip, "mistakes", tensor("k", "INT64", list(range(5000))))
    assert many.headers["content-encoding"] == "gzip"
    assert len(outputs(many)["found"]) == 5000


VALUES: dict[str, tuple[list[Any], list[Any]]] = {
    "BOOL": ([True, 0, 1.0], [True, False, True]),
    "FP16": ([1, 0.5, -2.0], [1.0, 0.5, -2.0]),
    "BF16": ([1, 0.5, -2.0], [1.0, 0.5, -2.0]),
    "FP32": ([1, 0.5, -2.0], [1.0, 0.5, -2.0]),
    "FP64": ([1, 0.1, -2.0], [1.0, 0.1, -2.0]),
    "BYTES": (["", "ä", "1"], ["", "ä", "1"]),
}


@pytest.mark.parametrize("name", DATATYPES)
def test_every_datatype_is_read_from_json_and_from_binary(name: str) -> None:
    datatype = DATATYPES[name]
    if datatype.kind == "int":
        limits = np.iinfo(datatype.dtype)
        sent, values = [int(limits.min), 1.0, int(limits.max)], [int(limits.min), 1, int(limits.max)]
    else:
        sent, values = VALUES[name]
    assert datatype.parse(sent) == values
    raw = b"\x80\x3f\x00\x3f\x00\xc0" if name == "BF16" else datatype.pack(values)
    assert list(datatype.unpack(raw, 3)) == values
    assert datatype.parse([]) == list(datatype.unpack(b"", 0)) == []
    wrongs: tuple[list[Any], ...] = ([None], ["x"], [[1]], [{}], [2.5, True])
    for wrong in wrongs:
        if wrong != ["x"] or name != "BYTES":
            with pytest.raises(ValueError, match=r"data\[[01]\] is"):
                datatype.parse(wrong)


def test_a_column_cannot_be_called_like_a_tensor_of_the_protocol() -> None:
    for name in ("stale", "found", "last_version", "score.is_null"):
        with pytest.raises(ValueError, match="prescore's own"):
            naming.require_column_name(name)
