"""The work of a run and its parts: the steps together, each step alone, and ONNX Runtime alone.

Everything calls prescore's own functions in this process.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from benchmarks.meter import CORES, Work, measured
from benchmarks.world import FEATURES, World
from psycopg import sql

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection, Database
from prescore.catalog.queries import query
from prescore.run import chunk_scoring, freezing, materialize, preflight, registration
from prescore.run.job import Job
from prescore.scoring.predictor import Predictor
from prescore.scoring.rejects import Scored
from prescore.steps import score, stage
from prescore.store.snapshot_file import SnapshotReader
from prescore.versions import lease
from prescore.versions.lease import Lease

Matrix = npt.NDArray[np.float32]


def flow(world: World, name: str) -> Work:
    """Measure the steps as a run composes them, with their overlaps, but without checks and the start of a process."""
    world.fresh_database()
    job = _job(world, name)
    with measured(world.server) as work:
        predictor = preflight.check_inputs(job)
        migrations.migrate(job.database)
        with lease.holding(job.database, name) as held:
            version = registration.begin(job, held)
            freezing.take_snapshot(job, held, version, predictor)
            chunk_scoring.score_chunks(job, held, version, chunk_scoring.pending_chunks(job, version), predictor)
            materialize.finish_table(job, held, version)
    return work


class Alone:
    """The steps one after the other, each measured alone: the work by step, and the matrices given to the model."""

    def __init__(self, world: World, name: str) -> None:
        world.fresh_database()
        self.server = world.server
        self.job = _job(world, name)
        self.work_by_step: dict[str, Work] = defaultdict(Work)
        self.matrices: list[Matrix] = []
        migrations.migrate(self.job.database)
        with lease.holding(self.job.database, name) as held:
            self._steps(held)

    @property
    def total(self) -> Work:
        """The work of all steps."""
        return sum(self.work_by_step.values(), Work())

    def _steps(self, held: Lease) -> None:
        predictor = preflight.check_inputs(self.job)
        version = registration.begin(self.job, held)
        with measured(self.server) as self.work_by_step["snapshot"]:
            freezing.take_snapshot(self.job, held, version, predictor)
        with self.job.database.connect() as connection:
            row = Catalog(connection).version(self.job.model, version)
            self._copy(connection, held, row, self._score(row, predictor))
            self._finish(connection, row)

    def _score(self, version: Version, predictor: Predictor) -> list[Scored]:
        reader = SnapshotReader(self.job.store.snapshot(version))
        chunks = []
        for chunk in range(version["snapshot_chunks"] or 0):
            with measured() as read:
                batch = reader.chunk(chunk)
            with measured() as scored:
                chunks.append(score.score_chunk(predictor, batch, 0))
            self.work_by_step["read"] += read
            self.work_by_step["score"] += scored
            self.matrices.append(np.column_stack([batch.column(name) for name in FEATURES]))
        reader.close()
        return chunks

    def _copy(self, connection: Connection, held: Lease, version: Version, chunks: list[Scored]) -> None:
        with measured(self.server) as self.work_by_step["copy"]:
            for chunk, scored in enumerate(chunks):
                stage.copy_chunk(connection, held, version, chunk, scored, 0.0)

    def _finish(self, connection: Connection, version: Version) -> None:
        table = sql.Identifier(version["table_name"])
        connection.execute(query("tables_memory"))
        connection.execute(b"set max_parallel_maintenance_workers = 0")
        with measured(self.server) as self.work_by_step["key"]:
            keys = [column["name"] for column in version["key_columns"]]
            connection.execute(query("tables_key", table=table, keys=identifiers(keys)))
        with measured(self.server) as self.work_by_step["vacuum"]:
            connection.execute(query("tables_vacuum", table=table))


def _job(world: World, name: str) -> Job:
    project = world.project()
    return Job(project, project.spec(name), Database(world.database))


def onnxruntime(content: bytes, matrices: list[Matrix]) -> Work:
    """Measure ONNX Runtime alone on all cores: the faster of its own threads and of parallel calls."""
    own_threads = _scored(_session(content, CORES), matrices, 1)
    parallel_calls = _scored(_session(content, 1), matrices, CORES)
    return min(own_threads, parallel_calls, key=lambda work: work.wall)


def _session(content: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _scored(session: ort.InferenceSession, matrices: list[Matrix], parallel_calls: int) -> Work:
    def run(matrix: Matrix) -> Any:
        return session.run(["probabilities"], {"features": matrix})

    run(matrices[0])
    with ThreadPoolExecutor(parallel_calls) as pool, measured() as work:
        list(pool.map(run, matrices))
    return work
