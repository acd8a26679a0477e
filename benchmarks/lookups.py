"""What the lookup API answers in a second: `make bench-api`; needs wrk, which is in Debian.

Everything happens in a temporary project with a Postgres of its own: two million rows, once read from Postgres and once
held in memory, each asked for over HTTP with an API key, the access log and the metrics on. Beside them, in the same
run: pgbench with the same select, and an endpoint as one writes it in ten minutes, FastAPI and psycopg.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

# Run as a script, Python looks in benchmarks/ only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import bulk, models, singles, swapped, world
from benchmarks.http_load import Server
from benchmarks.meter import Row
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World

_OUTPUTS = "select i as id, {features} from range(1, {rows} + 1) as t(i)"


_NAMES = {
    "pgbench": "pgbench, without HTTP",
    "plain": "FastAPI and psycopg",
    "stored": "prescore, from Postgres",
    "held": "prescore, from memory",
}


def main() -> None:
    """Measure, and print the tables of docs/benchmarks.md."""
    arguments = _arguments()
    with world.opened({}) as where:
        _publish(where, arguments.rows)
        rows = [row for _ in range(arguments.repeat) for row in _round(where, arguments)]
        swaps = swapped.measure(where, arguments.rows, arguments.swaps) if arguments.swaps else []
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "lookups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *swaps]))
    print(_tables(rows, swaps))


def _round(where: World, arguments: argparse.Namespace) -> list[Row]:
    measured = [singles.pgbench(where, connections, arguments) for connections in (16, 64)]
    with Server.plain(where) as server:
        measured += [singles.asked(server, "plain", connections, arguments) for connections in (16, 64)]
    with Server.prescore(where) as server:
        measured.append({"figure": "start", "second": server.start})
        server.until_held("held")
        for model in ("stored", "held"):
            measured += [singles.asked(server, model, connections, arguments) for connections in (16, 64)]
        measured += bulk.measure(where, server, arguments)
    return measured


def _publish(where: World, rows: int) -> None:
    """The same table twice: read from Postgres, and held in memory."""
    where.fresh_database()
    models.train(where.root / "models", "logistic", len(FEATURES))
    features = ", ".join(f"sin(i * {n + 1})::float as {name}" for n, name in enumerate(FEATURES))
    for name in ("stored", "held"):
        where.model(name, "logistic", _OUTPUTS.format(features=features, rows=rows))
    held = where.root / "specs/held.toml"
    held.write_text(held.read_text() + "[lookup]\nresident = true\n")
    for name in ("stored", "held"):
        where.prescore("run", name)


def _tables(rows: list[Row], swaps: list[Row]) -> str:
    started = spread([row["second"] for row in rows if row["figure"] == "start"], 2)
    parts = [markdown(_singles(rows)), markdown(_bulk(rows)), f"From the command to the first answer: {started} s."]
    if swaps:
        parts.append(markdown([{**row, "": _NAMES[row[""]]} for row in swaps]))
    return "\n\n".join(parts)


def _singles(rows: list[Row]) -> list[Row]:
    made = []
    for connections in (16, 64):
        mine = [row for row in rows if row.get("connections") == connections and row["figure"] == "single"]
        reference = statistics.median(row["second"] for row in mine if row["of"] == "pgbench")
        for of in dict.fromkeys(row["of"] for row in mine):
            some = [row for row in mine if row["of"] == of]
            second = [row["second"] for row in some]
            made.append(
                {
                    "connections": connections,
                    "": _NAMES[of],
                    "a second": spread(second, 0),
                    "of pgbench": f"{statistics.median(second) / reference:.2f}",
                    "p50, ms": spread([row["p50"] for row in some], 2),
                    "p99, ms": spread([row["p99"] for row in some], 2) if of != "pgbench" else "",
                    "errors": sum(row["errors"] for row in some),
                }
            )
    return made


def _bulk(rows: list[Row]) -> list[Row]:
    made = []
    mine = [row for row in rows if row["figure"] == "bulk"]
    reference = statistics.median(row["second"] for row in mine if row["of"] == bulk.STATEMENT)
    for of in dict.fromkeys(row["of"] for row in mine):
        second = [row["second"] for row in mine if row["of"] == of]
        ratio = f"{statistics.median(second) / reference:.2f}"
        made.append({"": of, "keys a second": spread(second, 0), "of the statement": ratio})
    return made


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--seconds", type=int, default=6, help="of each measurement")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--swaps", type=int, default=100, help="under load; 0: none")
    parser.add_argument("--out", type=Path, help="a folder for every measurement as JSON lines")
    return parser.parse_args()


if __name__ == "__main__":
    main()
