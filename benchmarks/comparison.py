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
from typing import Any

from psycopg import sql

from prescore.catalog import migrations
from prescore.catalog.database import Connection
from prescore.comparison.comparison import compare
from prescore.embedded import server
from prescore.project.project import Project, Settings

# When a script is run, Python searches only the script's own folder for modules.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.meter import Server, Work, measured

_FILL = sql.SQL(
    "create table prescore_versions.{} as select i::bigint as id, 1 as version,"
    " (0.5 + 0.2 * sin(i * 7919.0) + case when i % 100 < {} then 0.01 * sin(i * 31.0) else 0 end)::real as score,"
    " i % 7 = 0 as late from generate_series(1, {}) i"
)
_CHANGED = {2: 2, 3: 100}
"""Version → the percentage of its rows that differ from version 1."""
_COUNT = sql.SQL("select count(*) from prescore_versions.{}")


def main() -> None:
    """Print the seconds of comparisons in which 2 % and 100 % of the rows differ, and of counts."""
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
    first = _version(connection, 1, rows)
    for number, changed in _CHANGED.items():
        second = _version(connection, number, rows)
        actions: dict[str, Callable[[], object]] = {
            "comparison": partial(compare, connection, first, second, movers=False),
            "counting both": partial(_count, connection, number),
        }
        # Interleaved, so that what else the machine does meanwhile slows both.
        taken: dict[str, list[Work]] = {name: [] for name in actions}
        for _ in range(repeat):
            for name, action in actions.items():
                with measured(server_work) as work:
                    action()
                taken[name].append(work)
        for name, works in taken.items():
            wall, cores = median(work.wall for work in works), median(work.cores for work in works)
            print(f"{rows:,} rows, {changed} % changed: {name} {wall:.2f} s, {cores:.2f} core-seconds")


def _version(connection: Connection, number: int, rows: int) -> Any:
    """Create a version's table, and return what `compare` needs of its row."""
    name = f"scores_v{number}"
    table = sql.Identifier(name)
    changed = sql.Literal(_CHANGED.get(number, 0))
    connection.execute(_FILL.format(table, changed, sql.Literal(rows)))
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


def _count(connection: Connection, number: int) -> None:
    for each in (1, number):
        connection.execute(_COUNT.format(sql.Identifier(f"scores_v{each}")))


if __name__ == "__main__":
    main()
