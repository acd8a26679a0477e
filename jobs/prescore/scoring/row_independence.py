"""Whether a row's score depends on that row alone, tried on a sample of the domain."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.errors import ModelFailed, ModelInvalid
from prescore.scoring import arrays, row_mixing
from prescore.scoring.arrays import Mask
from prescore.scoring.scorer import Scorer

SAMPLE_ROWS = 64
# How far two scores of a row may differ by rounding alone: a fraction of the score, and one of the column's median.
_ROUNDING = 1e-4
_ROUNDING_OF_MEDIAN = 1e-5


def require(scorer: Scorer, rows: pa.RecordBatch) -> None:
    """Score a sample of `rows` together, again, in another order and one by one, and compare the scores.

    Raises ModelInvalid when they differ by more than rounding, unless the spec allows it, and when what the model
    returns does not fit the spec. Rows on which the model fails are left out: they become rejects.
    """
    sample = _scorable(scorer, _sample(scorer, rows))
    if sample.num_rows == 0:
        return
    together = scorer.score(sample)
    if scorer.onnx.allow_batch_dependence:
        return
    _require_no_mixing_operator(scorer)
    count = sample.num_rows
    backwards = pa.array(range(count - 1, -1, -1))
    trials = {
        "scored a second time": scorer.score(sample),
        "scored in another order": scorer.score(sample.take(backwards)).take(backwards),
        "scored one by one": _one_by_one(scorer, sample),
    }
    for trial, scores in trials.items():
        for name in together.schema.names:
            differing = _differing(together.column(name), scores.column(name))
            if differing.any():
                first = int(differing.argmax())
                values = together.column(name)[first].as_py(), scores.column(name)[first].as_py()
                raise _error(scorer, name, trial, int(differing.sum()), count, values)


def _require_no_mixing_operator(scorer: Scorer) -> None:
    """Raise ModelInvalid for operators whose effect a sample may not show, such as that of one rare, large row."""
    causes = row_mixing.certain(scorer.graph)
    if causes:
        lines = "".join(f"\n  {cause}" for cause in causes)
        raise ModelInvalid(
            f"{scorer.onnx.file} does not score each row by itself. These operators of the model explain it:{lines}\n"
            "Export the model again, or accept it with onnx.allow_batch_dependence = true."
        )


def _sample(scorer: Scorer, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return SAMPLE_ROWS rows, evenly spread because neighbours are often alike, and the ends of each feature."""
    if rows.num_rows <= SAMPLE_ROWS:
        return rows
    positions = np.linspace(0, rows.num_rows - 1, SAMPLE_ROWS).astype(np.int64).tolist()
    for name in list(scorer.features)[:SAMPLE_ROWS]:
        positions += _ends(rows.column(name))
    distinct = sorted(set(positions))
    return rows.take(pa.array(distinct))


def _ends(column: pa.Array) -> list[int]:
    """Return the positions of the smallest and the largest finite number of a column; none if it has no numbers."""
    if not pat.is_integer(column.type) and not pat.is_floating(column.type):
        return []
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    finite = np.flatnonzero(np.isfinite(values))
    if finite.size == 0:
        return []
    numbers = values[finite]
    return [int(finite[numbers.argmin()]), int(finite[numbers.argmax()])]


def _scorable(scorer: Scorer, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows that the model scores when each is alone, or all if it scores them together.

    Raises ModelInvalid if it fails on every one.
    """
    try:
        scorer.score(rows)
    except ModelFailed as error:
        scored = [_is_scored(scorer, rows[i : i + 1]) for i in range(rows.num_rows)]
        if rows.num_rows == SAMPLE_ROWS and not any(scored):
            raise ModelInvalid(f"The model fails on each of {rows.num_rows} rows of the domain: {error}") from error
        rows = rows.filter(pa.array(scored))
    return rows


def _is_scored(scorer: Scorer, row: pa.RecordBatch) -> bool:
    try:
        scorer.score(row)
    except ModelFailed:
        return False
    return True


def _one_by_one(scorer: Scorer, rows: pa.RecordBatch) -> pa.RecordBatch:
    scores = []
    for i in range(rows.num_rows):
        alone = rows.slice(i, 1)
        scores.append(scorer.score(alone))
    return pa.concat_batches(scores)


def _differing(scores: pa.Array, others: pa.Array) -> Mask:
    """Return which rows have another score; NaN equals NaN."""
    if pat.is_list(scores.type):
        return arrays.differing_rows(scores, others, _differing)
    if not pat.is_floating(scores.type):
        different: Mask = pc.not_equal(scores, others).to_numpy(zero_copy_only=False)
        return different
    a = scores.to_numpy(zero_copy_only=False).astype(np.float64)
    b = others.to_numpy(zero_copy_only=False).astype(np.float64)
    finite = np.abs(a[np.isfinite(a)])
    median = np.median(finite) if finite.size else 0.0
    close: Mask = np.isclose(a, b, rtol=_ROUNDING, atol=_ROUNDING_OF_MEDIAN * median, equal_nan=True)
    return ~close


def _error(
    scorer: Scorer, name: str, trial: str, differing: int, count: int, values: tuple[object, object]
) -> ModelInvalid:
    causes = row_mixing.explanations(scorer.graph)
    if causes:
        lines = "".join(f"\n  {cause}" for cause in causes)
        explanation = f"These operators of the model explain it:{lines}"
    else:
        explanation = "Look in the model for an operator that combines rows, such as a broadcast of [n] with [n, 1]."
    return ModelInvalid(
        f"{scorer.onnx.file} does not score each row by itself: of {count} rows of the domain, {differing} have "
        f"another {name} when they are {trial} (for example {values[0]!r}, then {values[1]!r}). A prediction would "
        f"depend on the rows that happen to be beside it.\n{explanation}\n"
        "Export the model again, or accept it with onnx.allow_batch_dependence = true."
    )
