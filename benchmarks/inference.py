"""Lookups per second through the Open Inference Protocol, beside MLServer with the same scikit-learn model:

    python3 -m venv mlserver
    mlserver/bin/pip install 'mlserver==1.7.1' 'mlserver-sklearn==1.7.1' 'scikit-learn==1.9.1'
    .venv/bin/python benchmarks/inference.py --mlserver mlserver/bin/mlserver

wrk requests one row, then a hundred rows at a time, in JSON: keys from prescore, rows of twelve features from MLServer.
Each server is one process: MLServer 1.7.1 cannot start its inference workers with the uvloop that pip installs today.
A client in Python, which uses more of the machine than the server, calls prescore over gRPC.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import models, world
from benchmarks.http_load import Server, until_ready
from benchmarks.meter import Row
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World

from prescore_api.grpc.handlers import SERVICE
from prescore_api.grpc.messages import MESSAGES

_PORT, _GRPC_PORT = 8089, 8090
_COUNTS = (1, 100)
_OUTPUTS = "select i as id, {features} from range(1, {rows} + 1) as t(i)"
_PORTS = {"http_port": _PORT, "grpc_port": _PORT + 2, "metrics_port": _PORT + 3}
_SETTINGS = {**_PORTS, "parallel_workers": 0, "debug": False}
_MODEL = {
    "name": "logistic",
    "implementation": "mlserver_sklearn.SKLearnModel",
    "parameters": {"uri": "./logistic.joblib", "version": "1"},
}
_REQUESTS = """
math.randomseed(os.time())
wrk.headers["Content-Type"] = "application/json"
request = function()
  local values = {{}}
  for row = 1, {rows} do {value} end
  local data = table.concat(values, ", ")
  local head = '{{"inputs": [{{"name": "{name}", "shape": {shape}, "datatype": "{datatype}", "data": ['
  return wrk.format("POST", "/v2/models/{model}/infer", nil, head .. data .. ']}}]}}')
end
"""
_KEY = "values[row] = math.random(1, {keys})"
_FEATURES = "values[row] = '{features}'"


def main() -> None:
    """Measure, and print the table of docs/benchmarks.md."""
    arguments = _arguments()
    with world.opened({}) as where:
        _publish(where, arguments.rows)
        rows = [row for _ in range(arguments.repeat) for row in _round(where, arguments)]
    print(markdown(_lines(rows)))


def _publish(where: World, rows: int) -> None:
    where.fresh_database()
    models.train(where.root / "models", "logistic", len(FEATURES))
    features = ", ".join(f"sin(i * {n + 1})::float as {name}" for n, name in enumerate(FEATURES))
    for name in ("stored", "held"):
        where.model(name, "logistic", _OUTPUTS.format(features=features, rows=rows))
    held = where.root / "specs/held.toml"
    held.write_text(held.read_text() + "[lookup]\nin_memory = true\n")
    for name in ("stored", "held"):
        where.prescore("run", name)


def _round(where: World, arguments: argparse.Namespace) -> list[Row]:
    rows = []
    with Server.prescore(where, "--grpc-port", str(_GRPC_PORT)) as server:
        server.wait_until_in_memory("held")
        for model, count in product(("stored", "held"), _COUNTS):
            tensor = {"name": "id", "datatype": "INT64", "shape": [count], "value": _KEY.format(keys=arguments.rows)}
            rows.append(_load(where, server, f"prescore, REST, {model}", model, tensor, arguments))
        calls = _calls(server.headers["Authorization"], arguments)
        rows.append({"subject": "prescore, gRPC, stored", "rows": 1, **asyncio.run(calls)})
    if arguments.mlserver:
        with _mlserver(where, arguments.mlserver) as server:
            value = _FEATURES.format(features=", ".join(str(n / 12) for n in range(len(FEATURES))))
            for count in _COUNTS:
                tensor = {"name": "predict", "datatype": "FP32", "shape": [count, len(FEATURES)], "value": value}
                rows.append(_load(where, server, "MLServer, REST", "logistic", tensor, arguments))
    return rows


def _load(where: World, server: Server, subject: str, model: str, tensor: Row, arguments: argparse.Namespace) -> Row:
    rows = tensor["shape"][0]
    script = _REQUESTS.format(model=model, rows=rows, **tensor)
    measured = server.load(script, arguments.connections, arguments.seconds, where.root)
    return {"subject": subject, "rows": rows, **measured}


async def _calls(authorization: str, arguments: argparse.Namespace) -> Row:
    """Call prescore from as many tasks as there are connections; return what wrk returns."""
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{_GRPC_PORT}") as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=MESSAGES["ModelInferRequest"].SerializeToString,
            response_deserializer=MESSAGES["ModelInferResponse"].FromString,
        )
        ends_at = time.perf_counter() + arguments.seconds

        async def call() -> None:
            while (began := time.perf_counter()) < ends_at:
                key = random.randint(1, arguments.rows)
                tensor = {"name": "id", "datatype": "INT64", "shape": [1], "contents": {"int64_contents": [key]}}
                request = MESSAGES["ModelInferRequest"](model_name="stored", inputs=[tensor])
                await infer(request, metadata=(("authorization", authorization),))
                latencies.append(1000 * (time.perf_counter() - began))

        await asyncio.gather(*(call() for _ in range(arguments.connections)))
    p50, p99 = (statistics.quantiles(latencies, n=100)[place] for place in (49, 98))
    return {"rate": len(latencies) / arguments.seconds, "p50": p50, "p99": p99, "errors": 0}


@contextmanager
def _mlserver(where: World, command: Path) -> Iterator[Server]:
    folder = where.root / "mlserver"
    folder.mkdir(exist_ok=True)
    shutil.copy(where.root / "models/logistic.joblib", folder)
    (folder / "settings.json").write_text(json.dumps(_SETTINGS))
    (folder / "model-settings.json").write_text(json.dumps(_MODEL))
    path = f"{command.resolve().parent}:{os.environ['PATH']}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [command.resolve(), "start", "."], cwd=folder, env={**os.environ, "PATH": path}, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{_PORT}"
        until_ready(f"{url}/v2/models/logistic/ready")
        yield Server(url)
    finally:
        process.kill()
        process.wait()


def _lines(rows: list[Row]) -> list[Row]:
    lines = []
    for subject, count in dict.fromkeys((row["subject"], row["rows"]) for row in rows):
        measured = [row for row in rows if (row["subject"], row["rows"]) == (subject, count)]
        line = {
            "": subject,
            "rows a request": count,
            "rows per second": spread([count * row["rate"] for row in measured], 0),
            "p50, ms": spread([row["p50"] for row in measured], 2),
            "p99, ms": spread([row["p99"] for row in measured], 2),
            "errors": sum(row["errors"] for row in measured),
        }
        lines.append(line)
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlserver", type=Path, help="the command mlserver in an environment of its own")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=6, help="duration of each measurement")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
