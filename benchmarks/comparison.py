"""The time and the work of a comparison of two versions as a run makes it, beside those of counting their rows.

.venv/bin/python benchmarks/comparison.py --rows 1000000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.comparison.comparison import compare
from prescore.embedded import server
from prescore.project.project import Project, Settings
from prescore.versions import delta, table

# When a script is run, Python searches only the script's own folder for modules.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.meter import Server, Work, measured

_FILL = sql.SQL(
    "insert into prescore_versions.{} (id, score, late)"
    " select i, (0.5 + 0.2 * sin(i * 7919.0) + case when i % 100 >= {} then 0.01 * sin(i * 31.0) else 0 end)::real,"
    " i % 7 = 0 from generate_series(1, {}) i where i % 100 >= {}"
)
_VERSION = sql.SQL(
    "insert into prescore.versions (model, version, table_name, rows_version, rows_table, content_version,"
    " domain_fingerprint, spec_fingerprint, spec, key_columns, output_columns)"
    " values ('scores', {0}, {1}, {0}, {1}, {0}, '', '', '{{}}', {2}, {3})"
)
_STAGED = sql.SQL("update prescore.versions v set state = 'checked', rows = {}, rows_stored = {} where version = {}")
_KEY = [{"name": "id", "type": "bigint"}]
_OUTPUTS = [{"name": "score", "type": "real"}, {"name": "late", "type": "boolean"}]
_FULL = {2: 2, 3: 100}
"""Version → the percentage of its rows that differ from version 1, of full versions."""
_DELTAS = {4: 1, 5: 2}
"""The same of deltas over version 1."""
_COUNT = sql.SQL("select count(*) from prescore_versions.{}")


def main() -> None:
    """Print the seconds of comparisons of full versions and of deltas, and of counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prescore-bench-") as folder:
        project = Project(Path(folder), Settings(database="embedded"))
        database = server.database(project)
        try:
            migrations.migrate(database)
            with database.connect() as connection:
                work = Server(project.root / ".prescore" / "postgres")
                _measure(connection, work, options.rows, options.repeat)
        finally:
            server.stop(project)


def _measure(connection: Connection, server_work: Server, rows: int, repeat: int) -> None:
    connection.execute("insert into prescore.models (model) values ('scores')")
    first = _full(connection, 1, 0, rows)
    for number, changed in _FULL.items():
        second = _full(connection, number, changed, rows)
        actions: dict[str, Callable[[], object]] = {
            "comparison": partial(compare, connection, first, second, movers=False),
            "counting both": partial(_count, connection, number),
        }
        _print(server_work, f"{rows:,} rows, {changed} % changed", actions, repeat)
    small, large = (_delta(connection, number, first, changed) for number, changed in _DELTAS.items())
    actions = {"first comparison": partial(compare, connection, first, small, movers=False)}
    _print(server_work, f"{rows:,} rows, a delta of 1 %", actions, 1)
    actions = {
        "delta of 1 % with its base": partial(compare, connection, first, small, movers=False),
        "delta of 2 % with one of 1 %": partial(compare, connection, small, large, movers=False),
    }
    _print(server_work, f"{rows:,} rows", actions, repeat)


def _print(server_work: Server, label: str, actions: dict[str, Callable[[], object]], repeat: int) -> None:
    # Interleaved, so that what else the machine does meanwhile slows all.
    taken: dict[str, list[Work]] = {name: [] for name in actions}
    for _ in range(repeat):
        for name, action in actions.items():
            with measured(server_work) as work:
                action()
            taken[name].append(work)
    for name, works in taken.items():
        wall, cores = median(work.wall for work in works), median(work.cores for work in works)
        print(f"{label}: {name} {wall:.2f} s, {cores:.2f} core-seconds", flush=True)


def _full(connection: Connection, number: int, changed: int, rows: int) -> Version:
    version = _begin(connection, number)
    table.create(connection, version)
    return _finish(connection, version, changed, rows, rows)


def _delta(connection: Connection, number: int, base: Version, changed: int) -> Version:
    version = _begin(connection, number)
    table.create(connection, version)
    nothing = pa.table({"id": pa.array([], pa.int64())})
    delta.create(connection, version, base, nothing, changes={}, location=None)
    rows = base["rows"] or 0
    return _finish(connection, Catalog(connection).version("scores", number), changed, rows, rows * changed // 100)


def _begin(connection: Connection, number: int) -> Version:
    """Record a version without rows."""
    name = sql.Literal(f"scores_v{number}")
    connection.execute(_VERSION.format(sql.Literal(number), name, Jsonb(_KEY), Jsonb(_OUTPUTS)))
    return Catalog(connection).version("scores", number)


def _finish(connection: Connection, version: Version, changed: int, rows: int, stored: int) -> Version:
    """Fill the table of a version of which a percentage of the rows differ from the first; a delta has those alone."""
    equal_from = 100 - changed if stored < rows else 0
    name = table.identifier(version)
    # The rows that differ come last of every hundred.
    connection.execute(_FILL.format(name, sql.Literal(100 - changed), sql.Literal(rows), sql.Literal(equal_from)))
    table.index(connection, version, [])
    connection.execute(sql.SQL("vacuum (freeze, analyze) prescore_versions.{}").format(name))
    numbers = (rows, stored, version["version"])
    connection.execute(_STAGED.format(*map(sql.Literal, numbers)))
    return Catalog(connection).version("scores", version["version"])


def _count(connection: Connection, number: int) -> None:
    for each in (1, number):
        connection.execute(_COUNT.format(sql.Identifier(f"scores_v{each}")))


if __name__ == "__main__":
    main()
