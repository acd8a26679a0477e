"""Whether a row's score depends on that row alone, tried on a sample of the domain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.errors import DomainInvalid, ModelFailed, ModelInvalid
from prescore.scoring import arrays, row_mixing
from prescore.scoring.arrays import Mask
from prescore.scoring.expected import Floats
from prescore.scoring.spec_scorer import SpecScorer

SAMPLE_ROWS = 64
# How far two scores of a row may differ by rounding alone: a fraction of the score, and one of the column's median.
_ROUNDING = 1e-4
_ROUNDING_OF_MEDIAN = 1e-5
# Scores that all lie between 0 and 1 may be probabilities. Those of rare events have the rounding of the opposite's,
# which is almost 1.
_ROUNDING_OF_PROBABILITIES = 1e-6


def require(scorer: SpecScorer, rows: pa.RecordBatch) -> None:
    """Score a sample of `rows` together, again, in another order, one by one and beside other rows; compare the scores.

    Raises ModelInvalid when they differ by more than rounding, unless the spec allows it, and when what the model
    returns does not fit the spec. Rows on which the model fails are left out: they become rejects.
    """
    scorable = _scorable(scorer, sample(scorer, rows))
    if scorable.num_rows == 0:
        return
    together = scorer.score(scorable)
    if scorer.onnx.allow_batch_dependence:
        return
    _require_no_mixing_operator(scorer)
    for trial, before, after in _trials(scorer, scorable, together):
        for name in before.schema.names:
            differing = _differing(before.column(name), after.column(name))
            if differing.any():
                first = int(differing.argmax())
                values = before.column(name)[first].as_py(), after.column(name)[first].as_py()
                raise _error(
                    scorer,
                    f": of {len(differing)} rows, {differing.sum()} have another {name} when they are "
                    f"{trial} (for example {values[0]!r}, then {values[1]!r}). A prediction would depend on the rows "
                    "that happen to be beside it.",
                    row_mixing.explanations(scorer.graph),
                )


def _trials(
    scorer: SpecScorer, rows: pa.RecordBatch, together: pa.RecordBatch
) -> Iterator[tuple[str, pa.RecordBatch, pa.RecordBatch]]:
    """Yield other ways to score rows, each with the scores before and after, which must be the same."""
    backwards = pa.array(range(rows.num_rows - 1, -1, -1))
    yield "scored a second time", together, scorer.score(rows)
    yield "scored in another order", together, scorer.score(rows.take(backwards)).take(backwards)
    yield "scored one by one", together, _one_by_one(scorer, rows)
    # Rows that are alike, such as the first ones of a sorted domain, do not show that a model subtracts their mean.
    others = _changed(scorer, rows)
    with suppress(ModelInvalid, DomainInvalid):
        before = pa.concat_batches([together, scorer.score(others)])
        yield "scored beside other rows", before, scorer.score(pa.concat_batches([rows, others]))


def _changed(scorer: SpecScorer, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows with other numbers in their features."""
    for name in scorer.features:
        column = rows.column(name)
        if pat.is_floating(column.type):
            with np.errstate(all="ignore"):
                column = pa.array(column.to_numpy(zero_copy_only=False) * -3 + 7, column.type)
        elif pat.is_integer(column.type):
            # The lowest bit alone: a number that stands for a category remains one.
            column = pc.bit_wise_xor(column, pa.scalar(1, column.type))
        position = rows.schema.get_field_index(name)
        rows = rows.set_column(position, rows.schema.field(name), column)
    return rows


def _require_no_mixing_operator(scorer: SpecScorer) -> None:
    """Raise ModelInvalid for operators whose effect a sample may not show, such as that of one rare, large row."""
    causes = row_mixing.certain(scorer.graph, alone=scorer.signature.batch_rows == 1)
    if causes:
        raise _error(scorer, ".", causes)


def sample(scorer: SpecScorer, rows: pa.RecordBatch) -> pa.RecordBatch:
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


def _scorable(scorer: SpecScorer, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows that the model scores when each is alone, or all if it scores them together.

    Raises ModelInvalid if it fails on every one.
    """
    try:
        scorer.score(rows)
    except ModelFailed as error:
        scored = [_is_scored(scorer, rows[i : i + 1]) for i in range(rows.num_rows)]
        if rows.num_rows >= SAMPLE_ROWS and not any(scored):
            raise ModelInvalid(f"The model fails on each of {rows.num_rows} rows of the domain: {error}") from error
        rows = rows.filter(pa.array(scored))
    return rows


def _is_scored(scorer: SpecScorer, row: pa.RecordBatch) -> bool:
    try:
        scorer.score(row)
    except ModelFailed:
        return False
    return True


def _one_by_one(scorer: SpecScorer, rows: pa.RecordBatch) -> pa.RecordBatch:
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
    close: Mask = np.isclose(a, b, rtol=_ROUNDING, atol=_rounding(a), equal_nan=True)
    return ~close


def _rounding(scores: Floats) -> float:
    """Return by how much the rounding of a model's own numbers may change scores of this size."""
    sizes = np.abs(scores[np.isfinite(scores)])
    if not sizes.size:
        return 0.0
    rounding = _ROUNDING_OF_MEDIAN * float(np.median(sizes))
    are_probabilities = np.nanmin(scores) >= 0 and sizes.max() <= 1
    return max(rounding, _ROUNDING_OF_PROBABILITIES) if are_probabilities else rounding


def _error(scorer: SpecScorer, finding: str, causes: list[str]) -> ModelInvalid:
    explanation = "Look in the model for an operator that combines rows, such as a broadcast of [n] with [n, 1]."
    if causes:
        lines = "".join(f"\n  {cause}" for cause in causes)
        explanation = f"These operators of the model explain it:{lines}"
    return ModelInvalid(
        f"{scorer.onnx.file} does not score each row by itself{finding}\n{explanation}\n"
        "Export the model again, or accept it with onnx.allow_batch_dependence = true."
    )
