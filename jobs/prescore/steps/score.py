"""Score one chunk of a snapshot: keys, predictions and passthrough columns, in the order of the version's table."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from prescore.errors import ModelFailed
from prescore.project.spec import Spec
from prescore.scoring import column_types, failures, rejects
from prescore.scoring.predictor import Predictor
from prescore.scoring.rejects import Reject, Scored


def score_chunk(predictor: Predictor, chunk: pa.RecordBatch, record_limit: int) -> Scored:
    """Score a chunk: return its key columns, outputs and passthrough columns, in the catalog's order.

    Rows on which the model fails and rows whose predictions are not finite are rejected; the first `record_limit` of
    them are recorded with their reasons. Raises ModelFailed when the model fails on more rows than that.
    """
    spec = predictor.spec
    rows, recorded = _predict(predictor, chunk, record_limit)
    rejected = len(recorded)
    for name, output in spec.outputs.items():
        finite = failures.are_finite(rows.column(name), output.type)
        if finite is None or pc.all(finite).as_py():
            continue
        not_finite = rows.filter(pc.invert(finite))
        rejected += not_finite.num_rows
        room = max(record_limit - len(recorded), 0)
        recorded += rejects.reject_rows(
            not_finite[:room],
            spec.key,
            name,
            failures.not_finite_reason(name, output.type),
        )
        rows = rows.filter(finite)
    return Scored(rows, rejected, recorded)


def _predict(
    predictor: Predictor,
    chunk: pa.RecordBatch,
    record_limit: int,
) -> tuple[pa.RecordBatch, list[Reject]]:
    """Return the rows for which the model returns predictions, and those on which it fails."""
    scored: list[pa.RecordBatch] = []
    failed: list[Reject] = []
    for rows, result in failures.bisect(predictor.score, chunk):
        if not isinstance(result, ModelFailed):
            combined = _combine(predictor.spec, rows, result)
            scored.append(combined)
            continue
        failed += rejects.reject_rows(rows, predictor.spec.key, None, str(result))
        if len(failed) > record_limit:
            raise ModelFailed(
                f"{result}\nThe model fails on more than {record_limit:,} rows of one chunk. "
                "Fix the model, or leave such rows out in the domain query."
            ) from result
    if not scored:
        return _no_rows(predictor.spec), failed
    if len(scored) == 1:
        return scored[0], failed
    return pa.concat_batches(scored), failed


def _combine(
    spec: Spec,
    rows: pa.RecordBatch,
    predictions: pa.RecordBatch,
) -> pa.RecordBatch:
    columns = {}
    for name in spec.key:
        columns[name] = rows.column(name)
    for name in spec.outputs:
        columns[name] = predictions.column(name)
    for name in spec.passthrough:
        columns[name] = rows.column(name)
    return pa.record_batch(columns)


def _no_rows(spec: Spec) -> pa.RecordBatch:
    types = dict(spec.key)
    for name, output in spec.outputs.items():
        types[name] = output.type
    types |= spec.passthrough
    columns = {}
    for name, type_name in types.items():
        columns[name] = pa.array([], column_types.ARROW[type_name])
    return pa.record_batch(columns)
