"""Live answers per second, and what they cost lookups: `python benchmarks/live.py`. Needs wrk, which Debian packages.

One server process, with an API key, access log and metrics, scores rows of twelve features with a logistic regression,
one row or a hundred per request. Then the same server answers lookups by key from Postgres on few connections, first
alone and then while requests for live answers keep another model busy, one of a hundred trees.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import models, world
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
_BUSY = 1000
"""Rows per request while a model is kept busy."""


def main() -> None:
    """Measure, and print the table of docs/benchmarks.md."""
    arguments = _arguments()
    with world.opened({}) as where:
        _publish(where, arguments.rows)
        os.environ["PRESCORE_STORE"] = str(where.project().store)
        rows = [row for _ in range(arguments.repeat) for row in _round(where, arguments)]
    print(markdown(_lines(rows)))


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


def _round(where: World, arguments: argparse.Namespace) -> list[Row]:
    measured = []
    with Server.prescore(where, "--live") as server:
        for count in (1, 100):
            load = _load(server, _scores("small", count), arguments.connections, arguments)
            measured.append({"subject": f"live, {count} rows per request", **load, "rows": count})
        measured.append({"subject": "lookups alone", **_lookups(server, arguments), "rows": 1})
        with ThreadPoolExecutor(1) as pool:
            busy = pool.submit(_load, server, _scores("large", _BUSY), 4, arguments)
            lookups = _lookups(server, arguments)
            measured.append({"subject": "lookups beside a busy model", **lookups, "rows": 1})
            measured.append({"subject": f"the busy model, {_BUSY} rows per request", **busy.result(), "rows": _BUSY})
    return measured


def _scores(model: str, rows: int) -> str:
    row = {"features": {name: round((place + 1) / 16, 4) for place, name in enumerate(FEATURES)}}
    return _SCORES.format(row=json.dumps(row), rows=rows, model=model)


def _lookups(server: Server, arguments: argparse.Namespace) -> Row:
    return _load(server, _LOOKUPS.format(rows=arguments.rows), 2, arguments)


def _load(server: Server, script: str, connections: int, arguments: argparse.Namespace) -> Row:
    return server.load(script, connections, arguments.seconds)


def _lines(rows: list[Row]) -> list[Row]:
    lines = []
    for subject in dict.fromkeys(row["subject"] for row in rows):
        measured = [row for row in rows if row["subject"] == subject]
        line = {
            "": subject,
            "requests per second": spread([row["rate"] for row in measured], 0),
            "rows per second": spread([row["rate"] * row["rows"] for row in measured], 0),
            "p50, ms": spread([row["p50"] for row in measured], 2),
            "p99, ms": spread([row["p99"] for row in measured], 2),
            "errors": sum(row["errors"] for row in measured),
        }
        lines.append(line)
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=6, help="duration of each measurement")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
