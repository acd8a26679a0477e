"""The share of a run that examples and the comparison of rows scored together and alone take."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import pyarrow as pa
from benchmarks import models, world
from benchmarks.meter import Row
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World

from prescore.project.spec import Spec
from prescore.run.job import Definition
from prescore.scoring import row_independence, snapshot_columns, verification
from prescore.scoring.domain_conversion import DomainConverter
from prescore.scoring.spec_scorer import SpecScorer


def measure(where: World, kind: str, rows: int, repeat: int) -> list[Row]:
    """Measure runs, and in this process the verification that each of them includes."""
    models.train(where.root / "models", kind, len(FEATURES))
    where.model(kind, kind, world.plain(where, rows))
    return [_once(where, kind) for _ in range(repeat)]


def _once(where: World, kind: str) -> Row:
    run = where.run(kind)
    project = where.project()
    job = Definition(project, project.spec(kind))
    assert job.onnx is not None
    assert job.examples is not None
    scorer, examples = SpecScorer(job.onnx, job.spec), job.examples
    first = _first_rows(job, job.spec, scorer)
    verified = _seconds(lambda: verification.require(scorer, examples))
    compared = _seconds(lambda: row_independence.require(scorer, first))
    return {
        "kind": kind,
        "rows": run.rows,
        "examples": verified,
        "comparison": compared,
        "total": run.report["seconds"]["total"],
        "share": (verified + compared) / run.report["seconds"]["total"],
    }


def _first_rows(job: Definition, spec: Spec, scorer: SpecScorer) -> pa.RecordBatch:
    needed = snapshot_columns.needed_columns(spec, scorer.features)
    with job.source.open(job.query, job.project.settings.chunk_rows, needed) as stream:
        converter = DomainConverter(spec, scorer.features, stream)
        converted, _ = converter.convert(next(iter(stream.batches)))
    return converted


def _seconds(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def tables(rows: list[Row]) -> str:
    """Return a table with a line for each model."""
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        share = median(row["share"] for row in own)
        lines.append(
            {
                "": kind,
                "1,000 examples, ms": spread([row["examples"] * 1000 for row in own], 0),
                "rows together and alone, ms": spread([row["comparison"] * 1000 for row in own], 0),
                "run, s": spread([row["total"] for row in own], 1),
                "share of the run": f"{100 * share:.2f} %",
            }
        )
    return markdown(lines)
