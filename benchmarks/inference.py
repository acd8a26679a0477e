"""Lookups per second through the Open Inference Protocol, beside MLServer with the same scikit-learn model:

    .venv/bin/python benchmarks/inference.py --mlserver mlserver/bin/mlserver

mlserver.py says how to install MLServer. wrk requests one row, then a hundred rows at a time, in JSON: keys from
prescore, rows of twelve features from MLServer. A client in Python, which uses more of the machine than the server,
calls prescore over gRPC. prescore is one process, except where the table says two. MLServer is two by default.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from itertools import product
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import mlserver, twins, world
from benchmarks.http_load import Server, free_ports
from benchmarks.meter import Row
from benchmarks.tables import markdown, spread
from benchmarks.world import World

from prescore_api.grpc.handlers import SERVICE
from prescore_api.grpc.messages import MESSAGES

_COUNTS = (1, 100)
_NAMES = {twins.STORED: "from Postgres", twins.HELD: "from memory"}
_MLSERVERS: dict[str, dict[str, int]] = {
    "MLServer, REST": {},
    "MLServer, REST, without a worker": {"parallel_workers": 0},
}
_REQUESTS = """
math.randomseed(os.time())
wrk.headers["Content-Type"] = "application/json"
request = function()
  local values = {{}}
  for row = 1, {rows} do values[row] = math.random(1, {keys}) end
  local data = table.concat(values, ", ")
  local head = '{{"inputs": [{{"name": "id", "shape": [{rows}], "datatype": "INT64", "data": ['
  return wrk.format("POST", "/v2/models/{model}/infer", nil, head .. data .. ']}}]}}')
end
"""


def main() -> None:
    """Measure, and print the table of docs/benchmarks.md."""
    arguments = mlserver.arguments(__doc__)
    with world.opened({}) as where:
        twins.publish(where, arguments.rows)
        rows = [row for _ in range(arguments.repeat) for row in _round(where, arguments)]
    print(markdown(_lines(rows)))


def _round(where: World, arguments: argparse.Namespace) -> list[Row]:
    rows = _one_process(where, arguments)
    with Server.prescore(where, "--workers", "2") as server:
        server.wait_until_in_memory(twins.HELD, answers=20)
        rows.append(_look_up(server, twins.HELD, 1, "two workers, ", arguments))
    for subject, settings in _MLSERVERS.items() if arguments.mlserver else ():
        with mlserver.started(where, arguments.mlserver, "logistic", **settings) as server:
            rows += [_load(server, subject, mlserver.script("logistic", count), count, arguments) for count in _COUNTS]
    return rows


def _one_process(where: World, arguments: argparse.Namespace) -> list[Row]:
    (port,) = free_ports(1)
    with Server.prescore(where, "--grpc-port", str(port)) as server:
        server.wait_until_in_memory(twins.HELD)
        cases = product((twins.STORED, twins.HELD), _COUNTS)
        rows = [_look_up(server, model, count, "", arguments) for model, count in cases]
        before = server.cpu_seconds()
        calls = asyncio.run(_calls(port, server.headers["Authorization"], arguments))
        cpu = (server.cpu_seconds() - before) / (calls["rate"] * arguments.seconds) * 1e6
    return [*rows, {"subject": "prescore, gRPC, from Postgres", "rows": 1, **calls, "cpu": cpu}]


def _look_up(server: Server, model: str, count: int, how: str, arguments: argparse.Namespace) -> Row:
    script = _REQUESTS.format(model=model, rows=count, keys=arguments.rows)
    return _load(server, f"prescore, REST, {how}{_NAMES[model]}", script, count, arguments)


def _load(server: Server, subject: str, script: str, rows: int, arguments: argparse.Namespace) -> Row:
    return {"subject": subject, "rows": rows, **server.load(script, arguments.connections, arguments.seconds)}


async def _calls(port: int, authorization: str, arguments: argparse.Namespace) -> Row:
    """Call prescore from as many tasks as there are connections; return what wrk returns."""
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
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
            "server CPU, µs a request": spread([row["cpu"] for row in measured], 0),
            "errors": sum(row["errors"] for row in measured),
        }
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
