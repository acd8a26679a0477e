"""What a kill half-way costs, and what it costs every run that a kill would cost no more."""

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
from prescore.run import materialize, preflight
from prescore.run.job import Job
from prescore.scoring.rejects import Scored
from prescore.steps import score, stage
from prescore.versions import lease
from prescore.versions.options import RunOptions


def measure(where: World, kind: str, rows: int, repeat: int) -> list[Row]:
    """A run that nobody disturbs and one that is killed when half of its chunks are in; then the ledger's price."""
    models.train(where.root / "models", kind, len(FEATURES))
    where.model(kind, kind, world.plain(where, rows))
    return [_once(where, kind) for _ in range(repeat)]


def _once(where: World, kind: str) -> Row:
    whole = where.run(kind).report
    where.fresh_database()
    done = _killed_half_way(where, kind, whole["chunks"])
    rest = json.loads(where.prescore("run", kind, "--json"))
    assert (rest["resumed"], rest["rows"]) == (True, whole["rows"])
    left = 1 - rest["chunks_before"] / whole["chunks"]
    return {
        "kind": kind,
        "rows": whole["rows"],
        "chunks": whole["chunks"],
        "score": whole["seconds"]["score"],
        "total": whole["seconds"]["total"],
        "found": done,
        "lost": rest["seconds"]["score"] - left * whole["seconds"]["score"],
        **_ledger(where, kind),
    }


def _killed_half_way(where: World, kind: str, chunks: int) -> int:
    """Kill a run as soon as half of its chunks are in the ledger; gives how many it left there."""
    environment = os.environ | {"PRESCORE_DATABASE_URL": where.database, "PRESCORE_PROJECT": str(where.root)}
    command = [str(Path(sys.executable).with_name("prescore")), "run", kind]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while _chunks(where) < chunks // 2:
            if run.poll() is not None:
                raise SystemExit("the run that was to be killed ended by itself")
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    return _chunks(where)


def _chunks(where: World) -> int:
    with psycopg.connect(where.database) as connection:
        if connection.execute("select to_regclass('prescore.chunks')").fetchone() == (None,):
            return 0
        return int((connection.execute("select count(*) from prescore.chunks").fetchone() or (0,))[0])


def _ledger(where: World, kind: str) -> Row:
    """Chunks copied with their ledger row and a look at the lease, and without, in turn."""
    project = where.project()
    job = Job(project, project.spec(kind), Database(where.database))
    scorer = preflight.check_inputs(job)
    with lease.holding(job.database, kind) as held, job.database.connect() as connection:
        version = materialize.begin(job, held, RunOptions(full=True))
        materialize.take_snapshot(job, held, version, scorer)
        row = Catalog(connection).version(kind, version)
        frozen = score.SnapshotReader(job.store.snapshot(row))
        scored = score.score_chunk(scorer, frozen.chunk(0), 0)
        frozen.close()
        told, bare = [], []
        for chunk in range(30):
            with measured() as copied:
                stage.copy_chunk(connection, held, row, chunk, scored, 0.0)
            told.append(copied.wall)
            with measured() as copied:
                _copy(connection, row, scored)
            bare.append(copied.wall)
    return {"told": median(told), "bare": median(bare)}


def _copy(connection: Connection, version: Version, scored: Scored) -> None:
    """A chunk as `stage.copy_chunk` copies it, without its ledger row and without a look at the lease."""
    encoder = ArrowToPostgresBinaryEncoder(scored.rows.schema)
    table, columns = sql.Identifier(version["table_name"]), identifiers(scored.rows.schema.names)
    with connection.transaction():
        connection.execute(query("chunks_commit_soon"))
        with connection.cursor().copy(query("tables_copy", table=table, columns=columns)) as copy:
            copy.write(encoder.write_header())
            copy.write(encoder.write_batch(scored.rows))
            copy.write(encoder.finish())


def tables(rows: list[Row]) -> str:
    """One line a model: what a kill cost, and what the ledger and the lease cost a run that nobody kills."""
    kinds = [[row for row in rows if row["kind"] == kind] for kind in dict.fromkeys(row["kind"] for row in rows)]
    return markdown([_line(same) for same in kinds])


def _line(rows: list[Row]) -> Row:
    ledger = [(row["told"] - row["bare"]) * row["chunks"] / row["total"] for row in rows]
    return {
        "model": rows[0]["kind"],
        "scoring, s": spread([row["score"] for row in rows], 2),
        "a chunk's share of it, s": spread([row["score"] / row["chunks"] for row in rows], 3),
        "lost to a kill half-way, s": spread([row["lost"] for row in rows], 2),
        "ledger and lease, ms a chunk": spread([(row["told"] - row["bare"]) * 1e3 for row in rows], 2),
        "share of the run": f"{median(ledger):.2%}",
    }
