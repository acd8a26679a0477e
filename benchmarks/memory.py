"""The memory of a run as its domain grows; the domain query has a join and a filter."""

from __future__ import annotations

from benchmarks import models, world
from benchmarks.meter import Row
from benchmarks.tables import markdown
from benchmarks.world import FEATURES, World


def measure(where: World, kind: str, sizes: list[int]) -> list[Row]:
    """Measure one run per size: the peak memory of all its processes, without Postgres."""
    models.train(where.root / "models", kind, len(FEATURES))
    return [_once(where, kind, rows) for rows in sizes]


def _once(where: World, kind: str, rows: int) -> Row:
    name = f"joined_{rows}"
    where.model(name, kind, world.joined(where, rows))
    run = where.run(name, watch_memory=True)
    where.remove_run(name)
    return {"kind": kind, "rows": run.rows, "peak": run.peak, "seconds": run.report["seconds"], "wall": run.work.wall}


def tables(rows: list[Row]) -> str:
    """Return one line per size."""
    return markdown(
        [
            {
                "model": row["kind"],
                "rows": f"{row['rows']:,}",
                "peak, MB": f"{row['peak']:.0f}",
                "command, s": f"{row['wall']:.1f}",
            }
            for row in rows
        ]
    )
