"""The time of a comparison of two versions, beside that of counting their rows.

.venv/bin/python benchmarks/comparison.py --rows 1000000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from psycopg import sql

from prescore.catalog import migrations
from prescore.catalog.database import Connection
from prescore.comparison.comparison import compare
from prescore.embedded import server
from prescore.project.project import Project, Settings

_FILL = sql.SQL(
    "create table prescore_versions.{} as select i::bigint as id, 1 as version,"
    " (0.5 + 0.2 * sin(i * 7919.0) + case when i % 100 = {} then 0.05 else 0 end)::real as score, i % 7 = 0 as late"
    " from generate_series(1, {}) i"
)
_COUNT = sql.SQL("select count(*) from prescore_versions.{}")


def main() -> None:
    """Print the median seconds of a comparison in which 2 % of the rows differ, and of two counts."""
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
                _measure(connection, options.rows, options.repeat)
        finally:
            server.stop(project)


def _measure(connection: Connection, rows: int, repeat: int) -> None:
    versions = [_version(connection, number, rows) for number in (1, 2)]
    seconds = _median(lambda: compare(connection, *versions), repeat)
    counting = _median(lambda: _count(connection), repeat)
    print(f"{rows:,} rows: comparison {seconds:.2f} s, counting both {counting:.2f} s, ratio {seconds / counting:.0f}")


def _version(connection: Connection, number: int, rows: int) -> Any:
    """Create a version's table, and return what `compare` needs of its row."""
    name = f"scores_v{number}"
    table = sql.Identifier(name)
    connection.execute(_FILL.format(table, sql.Literal(number), sql.Literal(rows)))
    connection.execute(sql.SQL("alter table prescore_versions.{} add primary key (id)").format(table))
    connection.execute(sql.SQL("vacuum (freeze, analyze) prescore_versions.{}").format(table))
    return {
        "model": "scores",
        "version": number,
        "state": "checked",
        "table_name": name,
        "rows": rows,
        "key_columns": [{"name": "id", "type": "bigint"}],
        "output_columns": [{"name": "score", "type": "real"}, {"name": "late", "type": "boolean"}],
    }


def _count(connection: Connection) -> None:
    for number in (1, 2):
        connection.execute(_COUNT.format(sql.Identifier(f"scores_v{number}")))


def _median(action: Callable[[], object], repeat: int) -> float:
    taken = []
    for _ in range(repeat):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return median(taken)


if __name__ == "__main__":
    main()
