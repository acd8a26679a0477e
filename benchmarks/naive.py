"""The naive way on the same work: pandas reads, scikit-learn predicts, `to_sql` writes, then the primary key."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks import models, world
from benchmarks.meter import Row, Work, calm, measured
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World

# What people write; a script of its own, so that its imports count as ours do. multi: as many rows a statement as
# Postgres has parameters for (65,535), in round numbers.
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
    """The naive way twice, as pandas does it by default and with many rows a statement, then ours."""
    models.train(where.root / "models", kind, len(FEATURES))
    where.model(kind, kind, world.plain(where, rows))
    ways = [partial(_naive, where, kind, rows, method) for method in ("default", "multi")]
    return [row for way in (*ways, partial(_ours, where, kind)) for row in calm(way, repeat)]


def _naive(where: World, kind: str, rows: int, method: str) -> Row:
    where.fresh_database()
    data, model = where.root / f"data/plain_{rows}.parquet", where.root / f"models/{kind}.joblib"
    url = where.database.replace("postgresql://", "postgresql+psycopg://", 1)
    with measured(where.server) as work:
        subprocess.run([sys.executable, "-c", _SCRIPT, str(data), str(model), url, method], check=True)
    return _row(kind, rows, f"pandas, to_sql {method}", work)


def _ours(where: World, kind: str) -> Row:
    run = where.run(kind)
    return _row(kind, run.rows, "prescore run, with its checks", run.work)


def _row(kind: str, rows: int, way: str, work: Work) -> Row:
    return {"kind": kind, "rows": rows, "way": way, "wall": work.wall, "disturbance": work.disturbance}


def tables(rows: list[Row]) -> str:
    """One line a model, size and way."""
    lines = []
    for kind, size, way in dict.fromkeys((row["kind"], row["rows"], row["way"]) for row in rows):
        walls = [row["wall"] for row in rows if (row["kind"], row["rows"], row["way"]) == (kind, size, way)]
        rates = spread([size / wall / 1e3 for wall in walls], 0)
        lines.append(
            {"model": kind, "rows": f"{size:,}", "way": way, "seconds": spread(walls, 1), "1,000 rows/s": rates}
        )
    return markdown(lines)
