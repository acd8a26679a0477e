"""Unmodified clients of the Open Inference Protocol against `prescore serve`: each in an environment of its own.

`make test-oip` installs the environments.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

from doc_pages import ROOT
from fix_api import Shelf, fresh_database
from fix_project import Sandbox
from fix_server import grpc_target, served
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.run import materialize
from test_live import WITHOUT_CHECKS

LARGE = 2**53 + 1
CLIENTS = {
    "triton_http": "triton",
    "triton_grpc": "triton",
    "kserve_rest": "kserve",
    "kserve_grpc": "kserve",
    "open_inference_rest": "open-inference",
    "open_inference_grpc": "open-inference",
}
"""The environment of each script."""
EXPECTED: dict[str, Any] = {
    "live": True,
    "ready": True,
    "server": "prescore",
    "model_ready": True,
    "stale_ready": False,
    "inputs": [{"name": "customer_id", "datatype": "INT64", "shape": [-1]}],
    "versions": ["2", "1"],
    "answer": {"score": [0.25, 0.75, 0.0], "plan": ["basic", "", ""], "found": [True, True, False]},
    "json_answer": {"score": [0.25, 0.75, 0.0], "plan": ["basic", "", ""], "found": [True, True, False]},
    "id": "r-1",
    "version": "2",
    "travel": [0.125],
    "embedding": [[0.5, -1.0], [0.0, 0.0]],
}
"""What every script prints, as far as its client has such calls."""


class Server(NamedTuple):
    """A server's URL, its address for gRPC, and an API key."""

    url: str
    target: str
    key: str


@pytest.fixture(scope="module")
def prescore(server: str) -> Iterator[Server]:
    """A server with the models churn, flights, texts, and stale, which is too old."""
    old = datetime.now(UTC) - timedelta(hours=2)
    refuse = {"max_age": "1h", "when_stale": "refuse"}
    with fresh_database(server) as database, pytest.MonkeyPatch.context() as patch:
        shelf = Shelf(database)
        for score in (0.125, 0.25):
            rows = [(7, score, "basic"), (LARGE, 0.75, None)]
            shelf.publish("churn", {"customer_id": "bigint"}, rows, passthrough={"plan": "text"})
        flights = {"carrier": "text", "flight": "integer"}
        shelf.publish("flights", flights, [("UA", 1, [0.5, -1.0])], {"embedding": "real[]"})
        shelf.publish("texts", {"code": "text"}, [("1", 0.5)])
        shelf.publish("stale", {"customer_id": "bigint"}, [(7, 0.5)], data_as_of=old, freshness=refuse)
        with database.connect() as connection:
            key = api_keys.create(Catalog(connection), "clients", None, None)
        patch.setenv("PRESCORE_DATABASE_URL", database.url)
        with served("--port", "0", "--grpc-port", "0", "--no-access-log") as (process, url):
            yield Server(url, grpc_target(process), key)


def _python(environment: str) -> Path:
    python = ROOT / ".venv-oip" / environment / "bin/python"
    assert python.exists(), "The clients are not installed; use make test-oip."
    return python


@pytest.mark.parametrize("script", CLIENTS)
def test_a_clients_own_sequence(prescore: Server, script: str) -> None:
    command: list[Any] = [_python(CLIENTS[script]), Path(__file__).with_name(f"{script}.py"), *prescore]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    expected = dict(EXPECTED)
    # This client sends integers as floats, so that it cannot look a large one up.
    if script == "open_inference_rest":
        expected["answer"] = {"score": [0.25, 0.0], "plan": ["basic", ""], "found": [True, False]}
        assert "beyond 2^53" in seen["large"]
        assert "the number 1.0, and BYTES takes text" in seen["text"]
    assert {name: value for name, value in seen.items() if name in expected} == {
        name: value for name, value in expected.items() if name in seen
    }
    assert "No model 'none' is published" in seen["unknown"]
    assert "has the datatype FP64, and this key takes INT64" in seen["datatype"]
    if "by_default" in seen:
        assert "RESTConfig(protocol='v2')" in seen["by_default"]
    if "age" in seen:
        assert 0 <= seen["age"] < 600
    if "extensions" in seen:
        assert all("Triton" in message for message in seen["extensions"])


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_rows_are_scored_with_what_the_metadata_says(sandbox: Sandbox, transport: str) -> None:
    sandbox.spec(WITHOUT_CHECKS)
    assert materialize.run(sandbox.job()).published
    sandbox.monkeypatch.setenv("PRESCORE_STORE", str(sandbox.root / ".prescore" / "store"))
    with served("--port", "0", "--grpc-port", "0", "--no-auth", "--live") as (process, url):
        script = Path(__file__).with_name("triton_live.py")
        command: list[Any] = [_python("triton"), script, url, grpc_target(process), "none", transport]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["ready"], seen["inputs"], seen["rejected"]) == (True, ["visits", "spend"], [False, False, True])
    # The model is linear, and rows with features that are not numbers are rejected.
    expected = 1 / (1 + np.exp(-0.5 * np.array([1, 2])))
    assert seen["score"][:2] == pytest.approx(expected.tolist(), abs=1e-6)
    assert "null or NaN" in seen["reason"][2]


def test_mlservers_command(prescore: Server, tmp_path: Path) -> None:
    keys = (7, LARGE, 8)
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(_request(key)) for key in keys))
    assert _infer(prescore, "churn", tmp_path) == {
        0: {"score": [0.25], "plan": ["basic"], "found": [True]},
        1: {"score": [0.75], "plan": [""], "found": [True]},
        2: {"score": [0.0], "plan": [""], "found": [False]},
    }
    assert "No model 'none' is published" in _infer(prescore, "none", tmp_path)[0]


def _request(key: int) -> dict[str, Any]:
    return {"inputs": [{"name": "customer_id", "shape": [1], "datatype": "INT64", "data": [key]}]}


def _infer(prescore: Server, model: str, folder: Path) -> dict[int, Any]:
    """Run `mlserver infer` with batches of two; return the answer to each request, or its error."""
    command: list[Any] = [
        _python("mlserver").with_name("mlserver"), "infer", "-u", httpx.URL(prescore.url).netloc.decode(), "-m", model,
        "-i", "in.jsonl", "-o", "out.jsonl", "-s", "2", "-r", "1", "-H", f"Authorization: Bearer {prescore.key}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, (folder / "out.jsonl").read_text().splitlines())
    return {line["parameters"]["batch_index"]: _answer(line) for line in lines}


def _answer(line: dict[str, Any]) -> Any:
    if "error" in line:
        return line["error"]["msg"]
    outputs = {output["name"]: output["data"] for output in line["outputs"]}
    return {name: outputs[name] for name in ("score", "plan", "found")}
