"""Lookups and reads of deltas beside those of a full version with the same rows, all by turns.

.venv/bin/python benchmarks/delta_lookups.py --rows 1000000
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import psycopg
from psycopg import sql

from prescore.catalog import lookup_statements, session
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database

# When a script is run, Python searches only the script's own folder for modules.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import models, world
from benchmarks.tables import markdown
from benchmarks.world import World

SHARES = {"full": 10, "delta_1": 1, "delta_10": 10}
"""Model → the percentage of rows that changed in the last of its two versions; the full one is made without reuse."""
_INCREMENTAL = "[incremental]\nrebase = 0.5\n"
_KEYS = (1, 16, 1000)
_READS = {
    "count(*)": "select count(*) from predictions.{}",
    "avg": "select avg(probability) from predictions.{}",
}
_BY_KEY = sql.SQL("select id, probability from predictions.{} where id = any(%s)")

Read = Callable[[], Any]


def main() -> None:
    """Print the medians of each statement for each model, and their ratios to those of the full version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=200, help="rounds of lookups; a tenth as many of reads")
    options = parser.parse_args()
    with world.opened({}) as where:
        _publish(where, options.rows)
        with psycopg.connect(where.database, autocommit=True) as connection:
            rows = _measure(connection, where.database, options.repeat)
    print(markdown(rows))


def _publish(where: World, rows: int) -> None:
    """Publish two versions of each model."""
    models.train(where.root / "models", "logistic", len(world.FEATURES))
    where.fresh_database()
    names = ", ".join(world.FEATURES)
    for model in SHARES:
        where.model(model, "logistic", f"select id, {names} from read_parquet('data/night.parquet')")
        if model != "full":
            spec = where.root / f"specs/{model}.toml"
            where.write(f"specs/{model}.toml", spec.read_text() + _INCREMENTAL)
    for night in (dict.fromkeys(SHARES, 0), SHARES):
        for model, share in night.items():
            _write_night(where, rows, share)
            where.prescore("run", model)


def _write_night(where: World, rows: int, share: int) -> None:
    """Write the rows of a night, of which a percentage differs from the first."""
    first = f"case when hash(i, 'night') % 100 < {share} then -1 else 1 end"
    features = [
        f"({first} * (hash(i, '{name}') / 9223372036854775808.0 - 1))::float as {name}" for name in world.FEATURES
    ]
    path = where.root / "data/night.parquet"
    path.parent.mkdir(exist_ok=True)
    with duckdb.connect() as connection:
        query = f"select i as id, {', '.join(features)} from range({rows}) as t(i)"
        connection.execute(f"copy ({query}) to '{path}' (format parquet)")


def _measure(connection: psycopg.Connection[Any], url: str, repeat: int) -> list[dict[str, Any]]:
    connection.execute(session.reader_settings(0))
    with Database(url).connect() as described:
        versions = {model: Catalog(described).one("lookup_version", model=model, version=None) for model in SHARES}
    count = versions["full"]["rows"]
    rows = []
    for number in _KEYS:
        by_name = {
            model: partial(
                _look_up, connection, lookup_statements.published_statement(version).as_bytes(), number, count
            )
            for model, version in versions.items()
        }
        rows.append(_row(f"the lookup API's statement, {number:,} keys", by_name, repeat))
    for number in (1, 1000):
        by_key = {model: partial(_select, connection, model, number, count) for model in SHARES}
        rows.append(_row(f"the view, {number:,} keys = any(…)", by_key, repeat))
    for name, statement in _READS.items():
        reads = {model: partial(_read, connection, statement, model) for model in SHARES}
        rows.append(_row(f"the view, {name}", reads, max(3, repeat // 10)))
    return rows


def _row(name: str, reads: Mapping[str, Read], repeat: int) -> dict[str, Any]:
    """Run reads by turns, and return their medians in ms, with the ratios to that of the full version."""
    for read in reads.values():
        # Five runs may be planned for their values, and later ones are not.
        for _ in range(6 if repeat > 100 else 1):
            read()
    seconds: dict[str, list[float]] = {model: [] for model in reads}
    for _ in range(repeat):
        for model, read in reads.items():
            began = time.perf_counter()
            read()
            seconds[model].append(time.perf_counter() - began)
    medians = {model: median(taken) for model, taken in seconds.items()}
    row: dict[str, Any] = {"": name, "full, ms": f"{1000 * medians['full']:.2f}"}
    for model, share in SHARES.items():
        if model != "full":
            ratio = medians[model] / medians["full"]
            row[f"delta, {share} %"] = f"{1000 * medians[model]:.2f} ({ratio:.2f})"
    return row


def _look_up(connection: psycopg.Connection[Any], statement: bytes, number: int, count: int) -> None:
    keys = random.sample(range(count), number)
    psycopg.RawCursor(connection).execute(statement, lookup_statements.parameters([keys])).fetchall()


def _select(connection: psycopg.Connection[Any], model: str, number: int, count: int) -> None:
    keys = random.sample(range(count), number)
    connection.execute(_BY_KEY.format(sql.Identifier(model)), [keys]).fetchall()


def _read(connection: psycopg.Connection[Any], statement: Any, model: str) -> None:
    connection.execute(sql.SQL(statement).format(sql.Identifier(model))).fetchall()


if __name__ == "__main__":
    main()
