"""A model file as a model of the Open Inference Protocol, under the name NAME.live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
import pytest

from fix_api import serving
from fix_grpc import GrpcClient, free_port, grpc_client
from fix_project import Sandbox, customers
from prescore.run import materialize
from prescore_api.grpc.server import GrpcAddress
from prescore_api.http.app import ServerSettings, build
from test_live import WITHOUT_CHECKS
from test_oip import binary_body, error, infer, outputs, tensor, unpacked
from test_oip_grpc import failure, raw_outputs, typed, typed_outputs


class Live(NamedTuple):
    """A server that scores rows, over HTTP and gRPC, and the scores of the first customers in its table."""

    http: httpx.Client
    grpc: GrpcClient
    scores: list[float]


@pytest.fixture
def live(sandbox: Sandbox) -> Iterator[Live]:
    sandbox.spec(WITHOUT_CHECKS)
    assert materialize.run(sandbox.job()).published
    scores = [score for (score,) in sandbox.rows("select score from predictions.churn order by customer limit 3")]
    address = GrpcAddress("127.0.0.1", free_port())
    settings = ServerSettings(open_to_all=True, store=sandbox.root / ".prescore" / "store", grpc=address)
    with serving(build(sandbox.database, settings)) as http, grpc_client(address.target) as client:
        yield Live(http, client, scores)


def test_features_are_scored(live: Live) -> None:
    rows = customers().slice(0, 3)
    columns = {name: rows.column(name).to_numpy().astype("<f4") for name in ("visits", "spend")}
    assert live.http.get("/v2/models/churn.live").json() == {
        "name": "churn.live",
        "versions": ["1"],
        "platform": "prescore_live",
        "inputs": [{"name": name, "datatype": "FP32", "shape": [-1]} for name in columns],
        "outputs": [
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "rejected", "datatype": "BOOL", "shape": [-1]},
            {"name": "rejected.reason", "datatype": "BYTES", "shape": [-1]},
        ],
    }
    assert live.http.get("/v2/models/churn.live/ready").json() == {"name": "churn.live", "ready": True}
    assert live.grpc.call("ModelReady", name="churn.live").ready
    close = pytest.approx(live.scores, abs=1e-6)

    # Numbers in JSON are the shortest text of a float.
    in_json = [tensor(name, "FP32", [float(str(value)) for value in column]) for name, column in columns.items()]
    answer = infer(live.http, "churn.live", *in_json, id="r-1")
    assert outputs(answer) == {"score": close, "rejected": [False] * 3, "rejected.reason": [""] * 3}
    content = answer.json()
    assert (content["model_name"], content["model_version"], content["id"]) == ("churn.live", "1", "r-1")
    assert (content["parameters"]["source"], content["parameters"]["version"]) == ("live", 1)
    assert 0 <= content["parameters"]["age_seconds"] < 60

    # The same in binary: as the model takes it, and in the datatype that NumPy prefers.
    for datatype, dtype in (("FP32", "<f4"), ("FP64", "<f8")):
        parts = [column.astype(dtype).tobytes() for column in columns.values()]
        heads = [
            {"name": name, "datatype": datatype, "shape": [3, 1], "parameters": {"binary_data_size": len(part)}}
            for name, part in zip(columns, parts, strict=True)
        ]
        request = {"inputs": heads, "parameters": {"binary_data_output": True}}
        response = live.http.post("/v2/models/churn.live/infer", **binary_body(request, *parts))
        assert unpacked(response)["score"] == close

    # Over gRPC, typed and raw.
    inputs = [typed(name, "FP32", column.tolist()) for name, column in columns.items()]
    assert typed_outputs(live.grpc.call("ModelInfer", model_name="churn.live", inputs=inputs))["score"][2] == close
    raw = [column.tobytes() for column in columns.values()]
    raw_heads = [{"name": name, "datatype": "FP32", "shape": [3]} for name in columns]
    in_raw = live.grpc.call("ModelInfer", model_name="churn.live", inputs=raw_heads, raw_input_contents=raw)
    assert raw_outputs(in_raw)["score"] == close
    described = live.grpc.call("ModelMetadata", name="churn.live", version="1")
    assert [each.name for each in described.inputs] == ["visits", "spend"]


def test_rows_that_cannot_be_scored_are_rejected_and_other_mistakes_are_errors(live: Live) -> None:
    visits, spend = tensor("visits", "FP64", [1 / 3, 1e300]), tensor("spend", "INT64", [1, 2])
    found = outputs(infer(live.http, "churn.live", visits, spend))
    assert (found["rejected"], found["score"][0] > 0, found["score"][1]) == ([False, True], True, 0)
    assert (found["rejected.reason"][0], "Feature visits is 1e+300" in found["rejected.reason"][1]) == ("", True)
    # A double is rounded, as a fraction in JSON is, and a whole number is not.
    doubles, integers = tensor("visits", "FP64", [33.2, 16_777_217.0]), tensor("spend", "INT64", [16_777_217, 1])
    found = outputs(infer(live.http, "churn.live", doubles, integers))
    assert (found["rejected"], "Feature spend is 16777217" in found["rejected.reason"][0]) == ([True, False], True)
    # Without the flag, zeros would look like predictions.
    message = error(infer(live.http, "churn.live", visits, spend, outputs=[{"name": "score"}]))
    assert "Row 1 cannot be scored: Feature visits is 1e+300" in message
    wanted = [{"name": "rejected"}, {"name": "score"}]
    assert list(outputs(infer(live.http, "churn.live", visits, spend, outputs=wanted))) == ["rejected", "score"]

    mistakes: list[tuple[list[Any], str]] = [
        ([visits], "Send the features of the model: visits (FP32), spend (FP32)"),
        ([visits, tensor("spend", "BYTES", ["1", "2"])], "has the datatype BYTES, and this feature takes FP32"),
        ([visits, tensor("spend", "FP32", [1])], "differ in their number of rows"),
        ([tensor("visits", "FP32", [[1, 2]], [1, 2]), spend], "Send one value per row"),
    ]
    for inputs, words in mistakes:
        assert words in error(infer(live.http, "churn.live", *inputs))
    many = [tensor(name, "FP32", [0.0] * 10_001) for name in ("visits", "spend")]
    assert "the limit is 10,000" in error(infer(live.http, "churn.live", *many), 413)
    message = error(infer(live.http, "churn.live", visits, spend, version=2), 404)
    assert "live answers come from the published version alone" in message
    assert "No model 'none' is published" in error(live.http.get("/v2/models/none.live"), 404)

    code, *_ = failure(live.grpc, "ModelInfer", model_name="churn.live", inputs=[typed("visits", "FP32", [1.0])])
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    missing = [typed("visits", "FP32", [np.nan]), typed("spend", "FP32", [1.0])]
    answer = typed_outputs(live.grpc.call("ModelInfer", model_name="churn.live", inputs=missing))
    assert (answer["rejected"][2], b"null or NaN" in answer["rejected.reason"][2][0]) == ([True], True)
    heads = [{"name": name, "datatype": "FP32", "shape": [1]} for name in ("visits", "spend")]
    raw = [np.float32(value).tobytes() for value in (1.0, np.nan)]
    in_raw = live.grpc.call("ModelInfer", model_name="churn.live", inputs=heads, raw_input_contents=raw)
    assert raw_outputs(in_raw)["rejected"] == [True]


def test_a_server_without_live_answers_says_so(sandbox: Sandbox) -> None:
    with serving(build(sandbox.database, ServerSettings(open_to_all=True))) as client:
        for path in ("/v2/models/churn.live", "/v2/models/churn.live/ready"):
            assert "prescore serve --live" in error(client.get(path))
