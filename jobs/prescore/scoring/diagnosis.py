"""Why a model does not reproduce its examples: the likely cause, found by trying what people get wrong."""

from __future__ import annotations

from contextlib import suppress
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.errors import ModelInvalid
from prescore.scoring import column_order, output_selection
from prescore.scoring.arrays import Mask
from prescore.scoring.examples import Examples
from prescore.scoring.expected import is_missing
from prescore.scoring.spec_scorer import SpecScorer
from prescore.wording import count

# At most this share of the rows, or one of at least ten, may be damaged ones in a file that is good otherwise.
_SHARE_DAMAGED = 0.01
_FEWEST_ROWS = 10
# Rows with missing values are to blame if rows at random would hardly ever be these alone, and if they often differ.
_CHANCE = 0.01
_SHARE_OF_INCOMPLETE = 0.05
_SHARE_CLOSE_TO_THRESHOLDS = 0.25
_ROWS_NUDGED = 64
# Rounding inside of a model: errors of this size, and of a tenth of it if they are rare.
_ROUNDING = 0.01
_UNKNOWN = (
    "The cause is not one that prescore recognizes. Compare the model's outputs with those of the toolkit for one of "
    "these rows. Some exports are known to differ: see docs/export/known-wrong.md."
)


def cause(scorer: SpecScorer, examples: Examples, predictions: pa.RecordBatch) -> str:
    """Return a sentence on why predictions differ from the examples, and what to do."""
    differing = examples.differing(predictions)
    rows = np.logical_or.reduce(list(differing.values()))
    found = (
        _no_value(examples, differing)
        or _missing_values(scorer, examples, rows)
        or output_selection.cause(scorer, examples, differing)
        or _log_odds(examples, predictions, differing)
        or column_order.cause(scorer, examples, rows)
        or _rounded_features(scorer, examples, rows)
        or _rounding(examples, predictions, differing, rows)
        or _damaged(rows)
    )
    return found or _UNKNOWN


def _no_value(examples: Examples, differing: dict[str, Mask]) -> str | None:
    """Recognize rows for which the training code computed nothing: all that differ expect a missing value."""
    for name, mask in differing.items():
        if not is_missing(examples.expected[name].values)[mask].all():
            return None
    return (
        f"Likely cause: the training code computed no {' and no '.join(differing)} for these rows, but NaN or None, "
        "and the model does. Correct the training code, or leave these rows out of the frame, and write the examples "
        "again."
    )


def _missing_values(scorer: SpecScorer, examples: Examples, rows: Mask) -> str | None:
    """Recognize an export that loses how the model treats missing values: no complete row differs."""
    missing = np.zeros(len(rows), np.bool_)
    columns = []
    for name in sorted(scorer.onnx.nullable):
        values = examples.features.column(name)
        missing_here = is_missing(values)
        if (missing_here & rows).any():
            columns.append(name)
        missing |= missing_here
    if missing.all() or not missing[rows].all():
        return None
    chance = missing.mean() ** rows.sum()
    if chance > _CHANCE or rows[missing].mean() < _SHARE_OF_INCOMPLETE:
        return None
    return (
        "Likely cause: missing values. Every row that differs has one, and no complete row differs: the export has "
        f"lost how the model treats them. Fill {', '.join(columns)} before training and in the domain query, or "
        "export another kind of model."
    )


def _log_odds(examples: Examples, predictions: pa.RecordBatch, differing: dict[str, Mask]) -> str | None:
    """Recognize log-odds where probabilities are expected, and the reverse."""
    for name in differing:
        expected = examples.expected[name]
        if not pat.is_floating(expected.values.type):
            return None
        predicted = predictions.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        with np.errstate(all="ignore"):
            probabilities = 1 / (1 + np.exp(-predicted))
            log_odds = np.log(predicted / (1 - predicted))
        if output_selection.fits(expected, probabilities):
            return f"Likely cause: the model returns log-odds as {name}, and the examples have probabilities."
        if output_selection.fits(expected, log_odds):
            return f"Likely cause: the model returns probabilities as {name}, and the examples have log-odds."
    return None


def _rounded_features(scorer: SpecScorer, examples: Examples, rows: Mask) -> str | None:
    """Recognize features that lose digits on their way into the model: they fall on the other side of a threshold."""
    rounded = []
    for name, arrow_type in scorer.features.items():
        given = examples.source.column(name)
        if pat.is_floating(arrow_type) and given.type != arrow_type and pat.is_floating(given.type):
            values = examples.features.column(name).cast(given.type)
            if pc.any(pc.not_equal(values, given)).as_py():
                rounded.append(name)
    # Only values close to a threshold change sides, and these are few.
    if not rounded or rows.mean() > _SHARE_CLOSE_TO_THRESHOLDS or not _hinges_on(scorer, examples, rows, rounded):
        return None
    return (
        f"Likely cause: precision loss. The model takes {', '.join(rounded)} with fewer digits than the examples "
        "have, so that values close to a split of a tree fall on its other side. Round the features to the type "
        "of the model's input before training, for example with astype('float32')."
    )


def _hinges_on(scorer: SpecScorer, examples: Examples, rows: Mask, rounded: list[str]) -> bool:
    """Return whether most differing rows are as expected once a feature is the next larger or smaller float."""
    chosen = np.zeros_like(rows)
    chosen[np.flatnonzero(rows)[:_ROWS_NUDGED]] = True
    tried = examples.take(chosen)
    fitting = np.zeros(chosen.sum(), np.bool_)
    for name, direction in product(rounded, (-np.inf, np.inf)):
        features = _nudge(tried.features, name, direction)
        with suppress(ModelInvalid):
            differing = tried.differing(scorer.score(features))
            differs = np.logical_or.reduce([np.zeros_like(fitting), *differing.values()])
            fitting |= ~differs
    return bool(fitting.mean() >= 0.5)


def _nudge(features: pa.RecordBatch, name: str, direction: float) -> pa.RecordBatch:
    """Return features with one of them replaced by the next floats in a direction."""
    position = features.schema.get_field_index(name)
    values = features.column(name).to_numpy(zero_copy_only=False)
    nudged = np.nextafter(values, values.dtype.type(direction))
    return features.set_column(position, name, pa.array(nudged, from_pandas=True))


def _rounding(examples: Examples, predictions: pa.RecordBatch, differing: dict[str, Mask], rows: Mask) -> str | None:
    """Recognize outputs that are barely off."""
    errors = []
    for name in differing:
        expected = examples.expected[name]
        if not expected.is_float:
            return None
        errors.append(expected.errors(predictions.column(name)).max())
    largest = max(errors)
    if largest > (_ROUNDING / 10 if _are_few(rows) else _ROUNDING):
        return None
    return (
        f"Likely cause: precision loss inside of the model, as the outputs are off by at most {largest:.1g} of "
        "their size. If that is good enough, set onnx.examples.tolerance."
    )


def _damaged(rows: Mask) -> str | None:
    """Recognize a good file with a few wrong rows."""
    if not _are_few(rows):
        return None
    rest = count(int((~rows).sum()), "row")
    these = "this row" if rows.sum() == 1 else "these rows"
    return (
        f"The other {rest} fit, so {these} of the examples may be damaged: write the file again where the model is "
        "trained. If the same rows differ again, compare the model's outputs with those of the toolkit for "
        "one of them. Some exports are known to differ: see docs/export/known-wrong.md."
    )


def _are_few(rows: Mask) -> bool:
    return len(rows) >= _FEWEST_ROWS and bool(rows.sum() <= max(len(rows) * _SHARE_DAMAGED, 1))
