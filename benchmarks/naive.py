"""A hand-written script for the same work: pandas reads, scikit-learn predicts, `to_sql` writes, then a primary key."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks import models, world
from benchmarks.meter import Row, Work, calm, measured
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World

# It runs in its own process, so that its imports count as those of `prescore run` do. With "multi" a statement has
# about as many rows as Postgres has parameters for (65,535).
_SCRIPT = f"""
import sys
import joblib, pandas as pd, sqlalchemy as sa
data, model, url, method = sys.argv[1:]
frame = pd.read_parquet(data)
scores = joblib.load(model).predict_proba(frame[{FEATURES}].to_numpy())[:, 1]
engine = sa.create_engine(url)
many = dict(method="multi", chunksize=30_000) if method == "multi" else {{}}
pd.DataFrame({{"id": frame["id"], "probability": scores}}).to_sql("naive", engine, index=False, **many)
with engine.begin() as connection:
    connection.execute(sa.text("alter table naive add primary key (id)"))
"""


def measure(where: World, kind: str, rows: int, repeat: int) -> list[Row]:
    """Measure the script with the defaults of pandas and with many rows per statement, then `prescore run`."""
    models.train(where.root / "models", kind, len(FEATURES))
    where.model(kind, kind, world.plain(where, rows))
    measurements = [
        partial(_naive, where, kind, rows, "default"),
        partial(_naive, where, kind, rows, "multi"),
        partial(_prescore, where, kind),
    ]
    return [row for once in measurements for row in calm(once, repeat)]


def _naive(where: World, kind: str, rows: int, method: str) -> Row:
    where.fresh_database()
    data, model = where.root / f"data/plain_{rows}.parquet", where.root / f"models/{kind}.joblib"
    url = where.database.replace("postgresql://", "postgresql+psycopg://", 1)
    with measured(where.server) as work:
        subprocess.run([sys.executable, "-c", _SCRIPT, str(data), str(model), url, method], check=True)
    return _row(kind, rows, f"pandas, to_sql {method}", work)


def _prescore(where: World, kind: str) -> Row:
    run = where.run(kind)
    return _row(kind, run.rows, "prescore run, with its checks", run.work)


def _row(kind: str, rows: int, program: str, work: Work) -> Row:
    return {"kind": kind, "rows": rows, "program": program, "wall": work.wall, "disturbance": work.disturbance}


def tables(rows: list[Row]) -> str:
    """Return one line per model, size and program."""
    lines = []
    for kind, size, program in dict.fromkeys(map(_subject, rows)):
        walls = [row["wall"] for row in rows if _subject(row) == (kind, size, program)]
        line = {
            "model": kind,
            "rows": f"{size:,}",
            "program": program,
            "seconds": spread(walls, 1),
            "1,000 rows/s": spread([size / wall / 1e3 for wall in walls], 0),
        }
        lines.append(line)
    return markdown(lines)


def _subject(row: Row) -> tuple[str, int, str]:
    return row["kind"], row["rows"], row["program"]
