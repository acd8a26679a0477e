"""The time of a publication and of a rollback, for tables of several sizes, with and without a long reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psycopg
from benchmarks.meter import Row
from benchmarks.tables import markdown, spread
from benchmarks.world import World
from psycopg import sql

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection, Database
from prescore.catalog.queries import query
from prescore.project.spec import Retention, Spec
from prescore.store.store import Store
from prescore.versions import hold, lifecycle, pointer, retirement
from prescore.versions.options import PublishOptions
from prescore.versions.rollback import rollback

_SPEC = {
    "model": "swapped",
    "domain": {"query": "none.sql"},
    "key": {"id": "bigint"},
    "onnx": {"file": "none.onnx", "inputs": {"x": "x"}},
    "outputs": {"score": {"from": "score", "type": "real"}},
}
_NAMES = ("model_fingerprint", "domain_fingerprint", "spec_fingerprint", "runtime")
_FINGERPRINTS = {**dict.fromkeys(_NAMES, "none"), "chunk_rows": None}
_KEEP_NONE = Retention.model_validate({"versions": 1, "grace": "0s", "candidates": "0s"})


def measure(where: World, sizes: list[int], repeat: int) -> list[Row]:
    """Measure per size a first publication, then rollbacks and publications in turn, with and without a reader."""
    measured: list[Row] = []
    for rows in sizes:
        where.fresh_database()
        database = Database(where.database)
        migrations.migrate(database)
        measured += [_swaps(database, where.root / "none", rows, repeat, reader=reader) for reader in (False, True)]
    return measured


def _swaps(database: Database, store: Path, rows: int, repeat: int, *, reader: bool) -> Row:
    with database.connect() as connection:
        first = _staged(connection, rows)
        pointer.publish(connection, "swapped", first)
        second = _staged(connection, rows)
        with _long_reader(database) if reader else nullcontext():
            attached = _seconds(lambda: pointer.publish(connection, "swapped", second))
            back, forth = [], []
            for _ in range(repeat):
                back.append(_seconds(lambda: rollback(connection, "swapped", first)))
                hold.release(connection, "swapped")
                again = PublishOptions(allow_older=True)
                forth.append(_seconds(lambda terms=again: pointer.publish(connection, "swapped", second, terms)))  # type: ignore[misc]
        list(retirement.retire(connection, Store(store), "swapped", _KEEP_NONE))
    return {"rows": rows, "reader": reader, "first": attached, "back": back, "forth": forth}


def _staged(connection: Connection, rows: int) -> int:
    """Create a checked version of `rows` rows inside Postgres; return its number."""
    catalog, spec = Catalog(connection), Spec.model_validate(_SPEC)
    catalog.execute("models_register", model=spec.model, description="")
    number = lifecycle.create(connection, spec, _FINGERPRINTS)
    table = sql.Identifier(catalog.version(spec.model, number)["table_name"])
    fill = sql.SQL("insert into prescore_versions.{} select i, 0.5 from generate_series(1, {}) i")
    connection.execute(fill.format(table, sql.Literal(rows)))
    connection.execute(query("tables_key", table=table, keys=identifiers(["id"])))
    connection.execute(query("tables_vacuum", table=table))
    connection.execute(
        "update prescore.versions set state = 'checked', checked_at = now(), data_as_of = now() where version = %s",
        [number],
    )
    return number


@contextmanager
def _long_reader(database: Database) -> Iterator[None]:
    """Keep a transaction open that has read the whole version."""
    with psycopg.connect(database.url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("select count(*), avg(score) from predictions.swapped")
        yield


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def tables(rows: list[Row]) -> str:
    """Return one line per size, with and without a reader, in milliseconds."""
    return markdown(
        [
            {
                "rows": f"{row['rows']:,}",
                "a long reader": "yes" if row["reader"] else "no",
                "first publication, ms": f"{row['first'] * 1e3:.1f}",
                "rollback, ms": spread([s * 1e3 for s in row["back"]], 1),
                "publishing again, ms": spread([s * 1e3 for s in row["forth"]], 1),
            }
            for row in rows
        ]
    )
