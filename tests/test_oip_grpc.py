"""The Open Inference Protocol over gRPC: the same answers as over REST, and the same rules."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc
import pytest

from fix_api import Shelf, fresh_database, scraped, serving
from fix_grpc import GrpcClient, free_port, grpc_client
from fix_project import Sandbox
from fix_server import grpc_target, served, workers_of
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore_api.grpc.messages import MESSAGES
from prescore_api.grpc.server import GrpcAddress
from prescore_api.http.app import ServerSettings, build
from prescore_api.oip.datatypes import DATATYPES

KEY = {"k": "bigint"}
OLD = datetime.now(UTC) - timedelta(hours=2)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def shared(server: str) -> Iterator[tuple[Shelf, GrpcClient]]:
    """A server without authentication whose database the tests of this module share."""
    address = GrpcAddress("127.0.0.1", free_port())
    with fresh_database(server) as database:
        settings = ServerSettings(open_to_all=True, grpc=address)
        with serving(build(database, settings)), grpc_client(address.target) as client:
            yield Shelf(database), client


def typed(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    field = DATATYPES[datatype].contents
    contents = {field: [value.encode() if isinstance(value, str) else value for value in data]} if field else {}
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "contents": contents}


def typed_outputs(response: Any) -> dict[str, Any]:
    assert not response.raw_output_contents
    return {
        output.name: (
            output.datatype,
            list(output.shape),
            list(getattr(output.contents, DATATYPES[output.datatype].contents)),
        )
        for output in response.outputs
    }


def raw_outputs(response: Any) -> dict[str, Any]:
    assert not any(output.HasField("contents") for output in response.outputs)
    return {
        output.name: list(DATATYPES[output.datatype].unpack(content, math.prod(output.shape)))
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def failure(client: GrpcClient, method: str, **fields: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    with pytest.raises(grpc.RpcError) as raised:
        client.call(method, **fields)
    error: Any = raised.value
    return error.code(), error.details(), dict(error.trailing_metadata())


def test_keys_are_inputs_and_columns_are_outputs(shared: tuple[Shelf, GrpcClient]) -> None:
    shelf, client = shared
    key = {"carrier": "text", "day": "date"}
    rows = [("UA", date(2013, 7, 4), 0.5, [1, 2], None)]
    shelf.publish("flights", key, rows, {"score": "real", "counts": "bigint[]"}, {"note": "text"}, data_as_of=OLD)
    carrier, day = typed("carrier", "BYTES", ["UA", "DL"]), typed("day", "BYTES", ["2013-07-04"] * 2, [2, 1])
    response = client.call("ModelInfer", model_name="flights", id="a-b", inputs=[carrier, day])
    assert (response.model_name, response.model_version, response.id) == ("flights", "1", "a-b")
    parameters = response.parameters
    assert parameters["source"].string_param == "table"
    assert parameters["version"].int64_param == 1
    assert parameters["data_as_of"].string_param == OLD.isoformat()
    age = (datetime.now(UTC) - OLD).total_seconds()
    assert parameters["age_seconds"].double_param == pytest.approx(age, abs=60)
    assert typed_outputs(response) == {
        "score": ("FP32", [2], [0.5, 0.0]),
        "counts": ("INT64", [2, 2], [1, 2, 0, 0]),
        "note": ("BYTES", [2], [b"", b""]),
        "note.is_null": ("BOOL", [2], [True, True]),
        "found": ("BOOL", [2], [True, False]),
        "stale": ("BOOL", [2], [False, False]),
    }
    # A raw request gets a raw response.
    raw = [DATATYPES["BYTES"].pack(["UA"]), DATATYPES["BYTES"].pack(["2013-07-04"])]
    inputs = [{**tensor, "shape": [1], "contents": None} for tensor in (carrier, day)]
    wanted = [{"name": "found"}, {"name": "counts"}]
    response = client.call("ModelInfer", model_name="flights", inputs=inputs, outputs=wanted, raw_input_contents=raw)
    assert raw_outputs(response) == {"found": [True], "counts": [1, 2]}
    assert response.raw_output_contents[1] == struct.pack("<qq", 1, 2)


def test_metadata_readiness_and_time_travel(shared: tuple[Shelf, GrpcClient]) -> None:
    shelf, client = shared
    limit = {"max_age": "1h", "when_stale": "refuse"}
    shelf.publish("m", KEY, [(1, 0.25)])
    shelf.publish("m", KEY, [(1, 0.5)])
    shelf.publish("stale", KEY, [(1, 0.5)], data_as_of=OLD, freshness=limit)
    assert client.call("ServerLive").live
    assert client.call("ServerReady").ready
    server = client.call("ServerMetadata")
    assert (server.name, list(server.extensions)) == ("prescore", ["binary_tensor_data"])
    metadata = client.call("ModelMetadata", name="m", version="1")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("m", ["2", "1"], "prescore_table")
    described = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in (*metadata.inputs, *metadata.outputs)]
    assert described == [
        ("k", "INT64", [-1]),
        ("score", "FP32", [-1]),
        ("found", "BOOL", [-1]),
        ("stale", "BOOL", [-1]),
    ]
    assert client.call("ModelReady", name="m").ready
    assert client.call("ModelReady", name="m", version="1").ready
    assert not client.call("ModelReady", name="stale").ready
    key = [typed("k", "INT64", [1])]
    scores = [
        typed_outputs(client.call("ModelInfer", model_name="m", model_version=version, inputs=key))["score"][2]
        for version in ("1", "2", "")
    ]
    assert scores == [[0.25], [0.5], [0.5]]
    code, message, trailer = failure(client, "ModelInfer", model_name="stale", inputs=key)
    assert (code, trailer["retry-after"]) == (grpc.StatusCode.UNAVAILABLE, "60")
    assert "is too old" in message
    code, message, _ = failure(client, "ModelReady", name="unknown")
    assert (code, message) == (
        grpc.StatusCode.NOT_FOUND,
        "No model 'unknown' is published. The server lists those that are at /v1/models, over HTTP.",
    )
    for version in ("3", "latest"):
        assert failure(client, "ModelMetadata", name="m", version=version)[0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("kind", "request_fields", "message"),
    [
        ("bigint", {}, "The request has no inputs"),
        ("bigint", {"inputs": [typed("k", "INT64", [1], [2])]}, "has 2 elements, and there are 1 in int64_contents"),
        ("bigint", {"inputs": [typed("k", "INT32", [1], [1, 2])]}, "has 2 elements, and there are 1 in int_contents"),
        ("bigint", {"inputs": [typed("k", "FP64", [1.0])]}, "has the datatype FP64, and this key takes INT64"),
        ("bigint", {"inputs": [typed("k", "INT8", [200])]}, "data[0] is 200, which is out of range"),
        ("bigint", {"inputs": [typed("k", "FP16", [1.0])]}, "no typed contents. Send it in raw_input_contents"),
        ("bigint", {"inputs": [typed("k", "INT64", [])], "raw_input_contents": [b"", b""]}, "1 inputs and 2 raw_input"),
        (
            "bigint",
            {"inputs": [typed("k", "INT64", [1])], "raw_input_contents": [b"1"]},
            "take 8 bytes, and there are 1",
        ),
        ("text", {"inputs": [typed("k", "INT64", [1])]}, "has the datatype INT64, and this key takes BYTES"),
        ("text", {"inputs": [{**typed("k", "BYTES", [b"\xff"])}]}, "element 0 is not text in UTF-8"),
        ("text", {"inputs": [typed("k", "BYTES", ["a"])], "outputs": [{"name": "x"}]}, "no output x; it has score"),
    ],
)
def test_mistakes(shared: tuple[Shelf, GrpcClient], kind: str, request_fields: Any, message: str) -> None:
    shelf, client = shared
    shelf.publish(f"mistakes_{kind}", {"k": kind}, [])
    code, found, _ = failure(client, "ModelInfer", model_name=f"mistakes_{kind}", **request_fields)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in found


def test_limits_are_those_of_http(shared: tuple[Shelf, GrpcClient]) -> None:
    shelf, client = shared
    shelf.publish("limits", KEY, [(1, 0.5)])
    raw = [struct.pack("<10000q", *range(10_000))]
    response = client.call(
        "ModelInfer", model_name="limits", inputs=[typed("k", "INT64", [], [10_000])], raw_input_contents=raw
    )
    assert sum(raw_outputs(response)["found"]) == 1
    fields = {"inputs": [typed("k", "INT64", list(range(10_001)))], "model_name": "limits"}
    code, message, _ = failure(client, "ModelInfer", **fields)
    assert (code, "the limit is 10,000" in message) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    code, *_ = failure(client, "ModelInfer", model_name="limits", raw_input_contents=[bytes(9 << 20)])
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure(client, "ModelInfer", model_name="limits", inputs=[typed("k", "INT64", [1])] * 2)[0] is (
        grpc.StatusCode.INVALID_ARGUMENT
    )


def test_keys_metrics_and_log(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    Shelf(database).publish("m", KEY, [(1, 0.5)])
    with database.connect() as connection:
        full = api_keys.create(Catalog(connection), "full", None, None)
        limited = api_keys.create(Catalog(connection), "limited", ["other"], None)
    address = GrpcAddress("127.0.0.1", free_port())
    settings = ServerSettings(access_log=True, open_metrics=True, grpc=address)
    fields = {"model_name": "m", "inputs": [typed("k", "INT64", [1, 2])]}
    with serving(build(database, settings)) as http, grpc_client(address.target) as client:
        before = scraped(http, "prescore_lookup_keys_total", model="m", result="hit") or 0
        assert client.call("ServerLive").live
        assert client.call("ServerReady").ready
        assert client.is_serving()
        for method, more in (("ServerMetadata", {}), ("ModelReady", {"name": "m"}), ("ModelInfer", fields)):
            code, message, _ = failure(client, method, **more)
            assert (code, "An API key is required" in message) == (grpc.StatusCode.UNAUTHENTICATED, True)
        client.metadata["authorization"] = f"Bearer {limited}"
        assert failure(client, "ModelInfer", **fields)[:2] == (
            grpc.StatusCode.PERMISSION_DENIED,
            "This API key does not open 'm'.",
        )
        client.metadata = {"authorization": f"Bearer {full}", "x-request-id": "from-client", "traceparent": TRACE}
        _, trailer = client.call_with_trailer("ModelInfer", **fields)
        assert trailer == {"x-request-id": "from-client"}
        assert scraped(http, "prescore_lookup_keys_total", model="m", result="hit") == before + 1
        assert (scraped(http, "prescore_grpc_requests_total", method="ModelInfer", code="OK") or 0) >= 1
        assert (scraped(http, "prescore_grpc_requests_total", method="ModelInfer", code="PERMISSION_DENIED") or 0) >= 1
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    (line,) = [line for line in lines if line["request_id"] == "from-client"]
    assert {name: line[name] for name in line if name not in ("at", "ms", "bytes")} == {
        "request_id": "from-client",
        "method": "GRPC",
        "route": "grpc_ModelInfer",
        "model": "m",
        "version": 1,
        "keys": 2,
        "found": 1,
        "status": 0,
        "client": "127.0.0.1",
        "api_key": full.removeprefix("psk_")[:12],
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "parent_id": "b7ad6b7169203331",
    }
    assert [line["status"] for line in lines if line["route"] == "grpc_ModelInfer"] == [16, 7, 0]


def test_messages_do_not_collide_with_those_of_a_client() -> None:
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
    assert MESSAGES["ModelInferRequest"].DESCRIPTOR.fields_by_name["raw_input_contents"].number == 7


def test_several_workers_share_the_port_and_stop(shelf: Shelf, sandbox: Sandbox) -> None:
    shelf.publish("m", KEY, [(1, 0.5)])
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    fields = {"model_name": "m", "inputs": [typed("k", "INT64", [1])]}
    arguments = ("--port", "0", "--grpc-port", "0", "--no-auth", "--no-access-log", "--workers", "2")
    with served(*arguments) as (process, _):
        target = grpc_target(process)
        assert len(workers_of(process)) == 2
        for _ in range(8):
            with grpc_client(target) as client:
                assert typed_outputs(client.call("ModelInfer", **fields))["found"][2] == [True]
        # Another server does not share the port.
        port = target.rpartition(":")[2]
        second = sandbox.cli("serve", "--port", "0", "--grpc-port", port, "--no-auth")
        assert (second.code, f"--grpc-port {int(port) + 1}" in second.err) == (3, True), second.err
        with grpc_client(target) as client:
            assert client.call("ServerLive").live
            process.terminate()
            assert process.wait(20) == 0
            assert failure(client, "ServerLive")[0] is grpc.StatusCode.UNAVAILABLE
