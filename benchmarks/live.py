"""Live answers per second, beside MLServer with the same scikit-learn model, and what they cost lookups:

    .venv/bin/python benchmarks/live.py --mlserver mlserver/bin/mlserver

Needs wrk, which Debian packages; mlserver.py says how to install MLServer. A server, with an API key, access log and
metrics, scores rows of twelve features with a logistic regression, one row or a hundred per request. So does MLServer.
Then the server of prescore answers lookups by key from Postgres on few connections, first alone and then while requests
for live answers keep another model busy, one of a hundred trees.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import mlserver, models, world
from benchmarks.http_load import Server
from benchmarks.meter import Row
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World

_OUTPUTS = "select i as id, {features} from range(1, {rows} + 1) as t(i)"
_SCORES = """
wrk.headers["Content-Type"] = "application/json"
local row = '{row}'
local body = '{{"rows": [' .. string.rep(row .. ', ', {rows} - 1) .. row .. ']}}'
request = function() return wrk.format("POST", "/v1/predictions/{model}/score?prefer=live", nil, body) end
"""
_LOOKUPS = """
math.randomseed(os.time())
request = function() return wrk.format("GET", "/v1/predictions/small/" .. math.random(1, {rows})) end
"""
_COUNTS = (1, 100)
"""Rows per request."""
_BUSY = 1000
"""Rows per request while a model is kept busy."""
_FEW = 4
"""Connections of lookups, and of requests that keep a model busy."""
_ALONE, _BESIDE = "lookups alone", "lookups beside a busy model"
Round = dict[str, Row]
"""What was measured, by subject."""


def main() -> None:
    """Measure, and print the tables of docs/benchmarks.md."""
    arguments = mlserver.arguments(__doc__)
    with world.opened({}) as where:
        _publish(where, arguments.rows)
        os.environ["PRESCORE_STORE"] = str(where.project().store)
        rounds = [_round(where, arguments) for _ in range(arguments.repeat)]
    print(markdown(_lines(rounds)))
    print(markdown(_ratios(rounds)))


def _publish(where: World, rows: int) -> None:
    """Publish a small model, and one of a hundred trees, which takes longer for each row."""
    where.fresh_database()
    features = ", ".join(f"sin(i * {n + 1})::float as {name}" for n, name in enumerate(FEATURES))
    for name, kind in (("small", "logistic"), ("large", "trees")):
        models.train(where.root / "models", kind, len(FEATURES))
        where.model(name, kind, _OUTPUTS.format(features=features, rows=rows))
        spec = where.root / f"specs/{name}.toml"
        spec.write_text(f"{spec.read_text()}[live]\nallowed = true\n")
        where.prescore("run", name)


def _round(where: World, arguments: argparse.Namespace) -> Round:
    measured = {}
    with Server.prescore(where, "--live") as server:
        for model in ("small", "large"):
            _warm_up(server, _scores(model, 1))
        for count in _COUNTS:
            script = _scores("small", count)
            measured[f"prescore, {count} per request"] = _load(server, script, count, arguments)
        measured[_ALONE] = _lookups(server, arguments)
        with ThreadPoolExecutor(1) as pool:
            busy = pool.submit(_load, server, _scores("large", _BUSY), _BUSY, arguments)
            measured[_BESIDE] = _lookups(server, arguments)
            measured[f"the busy model, {_BUSY} per request"] = busy.result()
    if arguments.mlserver:
        with mlserver.started(where, arguments.mlserver, "logistic") as server:
            _warm_up(server, mlserver.script("logistic", 1))
            for count in _COUNTS:
                script = mlserver.script("logistic", count)
                measured[f"MLServer, {count} per request"] = _load(server, script, count, arguments)
    return measured


def _scores(model: str, rows: int) -> str:
    row = {"features": {name: round((place + 1) / 16, 4) for place, name in enumerate(FEATURES)}}
    return _SCORES.format(row=json.dumps(row), rows=rows, model=model)


def _lookups(server: Server, arguments: argparse.Namespace) -> Row:
    load = server.load(_LOOKUPS.format(rows=arguments.rows), _FEW, arguments.seconds)
    return {"rows": 1, **load}


def _load(server: Server, script: str, rows: int, arguments: argparse.Namespace) -> Row:
    connections = _FEW if rows == _BUSY else arguments.connections
    return {"rows": rows, **server.load(script, connections, arguments.seconds)}


def _warm_up(server: Server, script: str) -> None:
    """Send requests until one is answered: the server may be loading the model."""
    deadline = time.monotonic() + 60
    load = server.load(script, 1, 1)
    while load["errors"] or not load["rate"]:
        load = server.load(script, 1, 1)
        if time.monotonic() > deadline:
            raise SystemExit(f"{server.url} did not score a row within 60 seconds")


def _lines(rounds: list[Round]) -> list[Row]:
    lines = []
    for subject in rounds[0]:
        measured = [each[subject] for each in rounds]
        line = {
            "": subject,
            "rows per second": spread([row["rate"] * row["rows"] for row in measured], 0),
            "p50, ms": spread([row["p50"] for row in measured], 2),
            "p99, ms": spread([row["p99"] for row in measured], 2),
            "server CPU, µs per request": spread([row["cpu"] for row in measured], 0),
            "errors": sum(row["errors"] for row in measured),
        }
        lines.append(line)
    return lines


def _ratios(rounds: list[Round]) -> list[Row]:
    """Return what depends less on the machine: ratios within a round."""
    p99 = [each[_BESIDE]["p99"] / each[_ALONE]["p99"] for each in rounds]
    lines = [{"": "p99 of lookups, beside a busy model and alone", "ratio": spread(p99, 2)}]
    for count in _COUNTS:
        ours, theirs = f"prescore, {count} per request", f"MLServer, {count} per request"
        if theirs in rounds[0]:
            rates = [each[ours]["rate"] / each[theirs]["rate"] for each in rounds]
            lines.append({"": f"rows per second, {ours} and {theirs}", "ratio": spread(rates, 1)})
    return lines


if __name__ == "__main__":
    main()
