"""The cost of a kill halfway through a run, and the cost to every run of the ledger and lease that limit it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import psycopg
from benchmarks import models, world
from benchmarks.meter import Row, measured
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection, Database
from prescore.catalog.queries import query
from prescore.run import freezing, preflight, registration
from prescore.run.job import Job
from prescore.scoring.rejects import Scored
from prescore.steps import score, stage
from prescore.store.snapshot_file import SnapshotReader
from prescore.versions import lease
from prescore.versions.options import RunOptions


def measure(where: World, kind: str, rows: int, repeat: int) -> list[Row]:
    """Measure an undisturbed run, a run killed with half of its chunks done, and the cost of ledger and lease."""
    models.train(where.root / "models", kind, len(FEATURES))
    where.model(kind, kind, world.plain(where, rows))
    return [_once(where, kind) for _ in range(repeat)]


def _once(where: World, kind: str) -> Row:
    whole = where.run(kind).report
    where.fresh_database()
    chunks_before = _kill_halfway(where, kind, whole["chunks"])
    rest = json.loads(where.prescore("run", kind, "--json"))
    assert (rest["resumed"], rest["rows"]) == (True, whole["rows"])
    remaining_share = 1 - rest["chunks_before"] / whole["chunks"]
    return {
        "kind": kind,
        "rows": whole["rows"],
        "chunks": whole["chunks"],
        "score": whole["seconds"]["score"],
        "total": whole["seconds"]["total"],
        "chunks_before": chunks_before,
        "lost": rest["seconds"]["score"] - remaining_share * whole["seconds"]["score"],
        **_ledger(where, kind),
    }


def _kill_halfway(where: World, kind: str, chunks: int) -> int:
    """Kill a run as soon as half of its chunks are in the ledger; return how many the ledger then holds."""
    environment = os.environ | {"PRESCORE_DATABASE_URL": where.database, "PRESCORE_PROJECT": str(where.root)}
    command = [str(Path(sys.executable).with_name("prescore")), "run", kind]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while _chunks(where) < chunks // 2:
            if run.poll() is not None:
                raise SystemExit("The run ended before it could be killed. Use more rows.")
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    return _chunks(where)


def _chunks(where: World) -> int:
    with psycopg.connect(where.database) as connection:
        if connection.execute("select to_regclass('prescore.chunks')").fetchone() == (None,):
            return 0
        return int((connection.execute("select count(*) from prescore.chunks").fetchone() or (0,))[0])


def _ledger(where: World, kind: str) -> Row:
    """Measure chunks copied with and without their ledger row and lease check, alternating."""
    project = where.project()
    job = Job(project, project.spec(kind), Database(where.database))
    scorer = preflight.check_inputs(job)
    with lease.holding(job.database, kind) as held, job.database.connect() as connection:
        version = registration.begin(job, held, RunOptions(full=True))
        freezing.take_snapshot(job, held, version, scorer)
        row = Catalog(connection).version(kind, version)
        reader = SnapshotReader(job.store.snapshot(row))
        scored = score.score_chunk(scorer, reader.chunk(0), 0)
        reader.close()
        recorded, bare = [], []
        for chunk in range(30):
            with measured() as copied:
                stage.copy_chunk(connection, held, row, chunk, scored, 0.0)
            recorded.append(copied.wall)
            with measured() as copied:
                _copy(connection, row, scored)
            bare.append(copied.wall)
    return {"recorded": median(recorded), "bare": median(bare)}


def _copy(connection: Connection, version: Version, scored: Scored) -> None:
    """Copy a chunk as `stage.copy_chunk` does, but without its ledger row and the lease check."""
    encoder = ArrowToPostgresBinaryEncoder(scored.rows.schema)
    table, columns = sql.Identifier(version["table_name"]), identifiers(scored.rows.schema.names)
    with connection.transaction():
        connection.execute(query("chunks_commit_soon"))
        with connection.cursor().copy(query("tables_copy", table=table, columns=columns)) as copy:
            copy.write(encoder.write_header())
            copy.write(encoder.write_batch(scored.rows))
            copy.write(encoder.finish())


def tables(rows: list[Row]) -> str:
    """Return one line per model: the cost of a kill, and the cost of ledger and lease to an undisturbed run."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    return markdown([_line([row for row in rows if row["kind"] == kind]) for kind in kinds])


def _line(rows: list[Row]) -> Row:
    ledger = [(row["recorded"] - row["bare"]) * row["chunks"] / row["total"] for row in rows]
    return {
        "model": rows[0]["kind"],
        "scoring, s": spread([row["score"] for row in rows], 2),
        "a chunk's share of it, s": spread([row["score"] / row["chunks"] for row in rows], 3),
        "lost to a kill halfway, s": spread([row["lost"] for row in rows], 2),
        "ledger and lease, ms a chunk": spread([(row["recorded"] - row["bare"]) * 1e3 for row in rows], 2),
        "share of the run": f"{median(ledger):.2%}",
    }
