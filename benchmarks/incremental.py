"""Incremental runs: the work, the WAL and the time of nights on which some rows changed, beside those of a full run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import duckdb
import psycopg
from benchmarks import models, world
from benchmarks.meter import Row, calm, measured
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World

_STAMP = "data/stamp.txt"
NIGHTS: dict[str, tuple[float, bool]] = {
    "a full run": (0.01, True),
    "unchanged_if has the same value": (0.0, False),
    "the same file": (0.0, False),
    "the same rows in another order": (0.0, False),
    "1 % changed": (0.01, False),
    "9 % changed": (0.09, False),
    "11 % changed, and rebased": (0.11, False),
    "100 % changed": (1.0, False),
}
"""What happened since the version that is served → the share of the rows that changed, and whether all are scored."""
CHECKS = {"all": 3, "rows": 1, "none": 0}
"""How many of the spec's checks are kept: the first judges each row by itself, the others the whole version."""
FLOOR = "the same rows in another order"
"""The night that reads and compares all rows, and has nothing to score or to write."""


def measure(where: World, kind: str, rows: int, repeat: int, checks: str) -> list[Row]:
    """Measure nights `repeat` times, each after the same version: all, or with fewer `CHECKS` three of them."""
    models.train(where.root / "models", kind, len(FEATURES))
    first = world.plain(where, rows)
    where.model(kind, kind, first)
    _make_incremental(where, kind, CHECKS[checks])
    where.fresh_database()
    _stamp(where, "first")
    where.prescore("run", kind)
    where.prescore("pin", kind, "1")
    measurements = []
    for night in NIGHTS if checks == "all" else ("a full run", FLOOR, "1 % changed"):
        share, full = NIGHTS[night]
        _write(where, first, night, share)
        if night != "unchanged_if has the same value":
            _stamp(where, night)
        measurements += calm(lambda night=night, full=full: _once(where, kind, night, checks, full=full), repeat)  # type: ignore[misc]
    return measurements


def _make_incremental(where: World, kind: str, checks: int) -> None:
    path = where.root / f"specs/{kind}.toml"
    before, *blocks = path.read_text().split("[[checks]]\n")
    last, after = blocks[-1].split("[retention]")
    kept = "".join(f"[[checks]]\n{block}" for block in [*blocks[:-1], last][:checks])
    text = f"{before}{kept}[retention]{after}".replace("versions = 1", 'versions = 1\ngrace = "0s"\ncandidates = "0s"')
    query = f"unchanged_if = \"select content from read_text('{_STAMP}')\"\n"
    path.write_text(text.replace("[key]", f"{query}[key]") + "[incremental]\n")


def _stamp(where: World, content: str) -> None:
    where.write(_STAMP, content)


def _write(where: World, first: str, night: str, share: float) -> None:
    """Write the file of a night. Its domain query keeps its text, so that its rows can be reused."""
    path = Path(first.split("'")[1])
    original = path.with_name(f"first_{path.name}")
    if not (where.root / original).exists():
        (where.root / path).rename(where.root / original)
    changed = f"hash(id, 'night') % 1000000 < {share * 1_000_000:.0f}"
    columns = f"* replace (case when {changed} then -f00 else f00 end as f00)"
    order = "order by hash(id)" if night == FLOOR else ""
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select {columns} from read_parquet('{where.root / original}') {order}) "
            f"to '{where.root / path}' (format parquet)"
        )


def _once(where: World, kind: str, night: str, checks: str, *, full: bool) -> Row:
    """Measure one night, and go back to the version before it."""
    where.flush()
    before = _wal(where)
    with measured(where.server) as work:
        report = json.loads(where.prescore("run", kind, "--json", *(["--full"] if full else [])))
    wal = _wal(where) - before
    where.prescore("rollback", kind, "--to", "1")
    where.prescore("release", kind)
    where.prescore("retire", kind)
    return {
        "kind": kind,
        "rows": report["rows"],
        "night": night,
        "changes": report["changes"],
        "wall": work.wall,
        "cores": work.cores,
        "server_cores": work.server,
        "wal": wal,
        "seconds": report["seconds"],
        "checks": checks,
        "checks_start": 0.0 if checks == "none" else _checks_start(),
        "disturbance": work.disturbance,
    }


def _checks_start() -> float:
    """Return the core-seconds that importing Great Expectations takes."""
    with measured() as work:
        subprocess.run([sys.executable, "-c", "import great_expectations"], check=True)
    return work.cores


def _wal(where: World) -> int:
    with psycopg.connect(where.url, autocommit=True) as connection:
        row = connection.execute("select (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone() or (0,)
        return int(row[0])


def tables(rows: list[Row]) -> str:
    """Return one table per model: each night in seconds, core-seconds and WAL, and as shares of the full run's."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    return "\n\n".join(_table(kind, [row for row in rows if row["kind"] == kind]) for kind in kinds)


def _table(kind: str, rows: list[Row]) -> str:
    nights = dict.fromkeys(row["night"] for row in rows)
    by_night = {night: [row for row in rows if row["night"] == night] for night in nights}
    whole = by_night["a full run"]
    lines = [_line(kind, night, measured, whole) for night, measured in by_night.items()]
    floor = _median(by_night[FLOOR], "cores")
    # A night without a change starts everything but the checks.
    floor += median(row["checks_start"] for row in rows)
    ratio = _median(by_night["1 % changed"], "cores") / floor
    return f"{markdown(lines)}\n\n1 % changed: {ratio:.2f} times the work of starting, reading and comparing alone."


def _line(kind: str, night: str, rows: list[Row], whole: list[Row]) -> Row:
    return {
        "model": kind,
        "since the served version": night,
        "seconds": spread([row["wall"] for row in rows], 1),
        "core-seconds": spread([row["cores"] for row in rows], 1),
        "of a full run's": f"{_median(rows, 'cores') / _median(whole, 'cores'):.0%}",
        "scoring, of a full run's": f"{_scoring(rows) / _scoring(whole):.1%}",
        "WAL, MB": spread([row["wal"] / 1e6 for row in rows], 1),
        "of a full run's WAL": f"{_median(rows, 'wal') / _median(whole, 'wal'):.1%}",
    }


def _scoring(rows: list[Row]) -> float:
    return float(median(row["seconds"].get("score", 0.0) for row in rows))


def _median(rows: list[Row], name: str) -> float:
    return float(median(row[name] for row in rows))
