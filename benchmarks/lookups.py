"""Requests per second of the lookup API: `make bench-api`. Needs wrk, which Debian packages.

Everything happens in a temporary project with its own Postgres: two million rows, served once from Postgres and once
from memory, over HTTP with an API key, access log and metrics. The same run also measures pgbench with the same select,
and an endpoint that takes ten minutes to write, with FastAPI and psycopg.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

# When a script is run, Python searches only the script's own folder for modules.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import bulk, singles, swapped, twins, world
from benchmarks.http_load import Server
from benchmarks.meter import Row
from benchmarks.tables import markdown, spread
from benchmarks.world import World

_NAMES = {
    "pgbench": "pgbench, without HTTP",
    "plain": "FastAPI and psycopg",
    twins.STORED: "prescore, from Postgres",
    twins.HELD: "prescore, from memory",
}


def main() -> None:
    """Measure, and print the tables of docs/benchmarks.md."""
    arguments = _arguments()
    with world.opened({}) as where:
        twins.publish(where, arguments.rows)
        rows = [row for _ in range(arguments.repeat) for row in _round(where, arguments)]
        swaps = swapped.measure(where, arguments.rows, arguments.swaps) if arguments.swaps else []
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "lookups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *swaps]))
    print(_tables(rows, swaps))


def _round(where: World, arguments: argparse.Namespace) -> list[Row]:
    measured = [singles.pgbench(where, connections, arguments) for connections in (16, 64)]
    with Server.plain(where) as server:
        measured += [singles.http(server, "plain", connections, arguments) for connections in (16, 64)]
    with Server.prescore(where) as server:
        measured.append({"figure": "start", "seconds": server.start})
        server.wait_until_in_memory(twins.HELD)
        for model in (twins.STORED, twins.HELD):
            measured += [singles.http(server, model, connections, arguments) for connections in (16, 64)]
        measured += bulk.measure(where, server, arguments)
    return measured


def _tables(rows: list[Row], swaps: list[Row]) -> str:
    start = spread([row["seconds"] for row in rows if row["figure"] == "start"], 2)
    parts = [markdown(_singles(rows)), markdown(_bulk(rows)), f"From the command to the first answer: {start} s."]
    if swaps:
        parts.append(markdown([{**row, "": _NAMES[row[""]]} for row in swaps]))
    return "\n\n".join(parts)


def _singles(rows: list[Row]) -> list[Row]:
    lines = []
    single_rows = [row for row in rows if row["figure"] == "single"]
    for connections in (16, 64):
        by_subject = _group(row for row in single_rows if row["connections"] == connections)
        reference = _median_rate(by_subject["pgbench"])
        for subject, measured in by_subject.items():
            line = _single(subject, measured, reference)
            lines.append({"connections": connections, **line})
    return lines


def _single(subject: str, measured: list[Row], reference: float) -> Row:
    return {
        "": _NAMES[subject],
        "per second": spread([row["rate"] for row in measured], 0),
        "of pgbench": f"{_median_rate(measured) / reference:.2f}",
        "p50, ms": spread([row["p50"] for row in measured], 2),
        "p99, ms": spread([row["p99"] for row in measured], 2) if subject != "pgbench" else "",
        "errors": sum(row["errors"] for row in measured),
    }


def _bulk(rows: list[Row]) -> list[Row]:
    by_subject = _group(row for row in rows if row["figure"] == "bulk")
    reference = _median_rate(by_subject[bulk.STATEMENT])
    lines = []
    for subject, measured in by_subject.items():
        line = {
            "": subject,
            "keys per second": spread([row["rate"] for row in measured], 0),
            "of the statement": f"{_median_rate(measured) / reference:.2f}",
        }
        lines.append(line)
    return lines


def _group(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows by subject, in the order of their first appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["subject"], []).append(row)
    return groups


def _median_rate(rows: list[Row]) -> float:
    return float(statistics.median(row["rate"] for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--seconds", type=int, default=6, help="duration of each measurement")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--swaps", type=int, default=100, help="swaps under load; 0 for none")
    parser.add_argument("--out", type=Path, help="folder to write every measurement to, as JSON lines")
    return parser.parse_args()


if __name__ == "__main__":
    main()
