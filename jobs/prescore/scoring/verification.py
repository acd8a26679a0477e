"""Verify a model against its examples before anything else is done with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from prescore.errors import ModelFailed, ModelInvalid
from prescore.scoring import diagnosis, examples, row_independence
from prescore.scoring.arrays import Mask
from prescore.scoring.examples import ExampleFile, Examples
from prescore.scoring.spec_scorer import SpecScorer
from prescore.wording import count


def require(scorer: SpecScorer, file: ExampleFile) -> None:
    """Score the examples; raise ModelInvalid, with the likely cause, if an output is not as expected."""
    rows = examples.read(scorer, file)
    try:
        predictions = scorer.score(rows.features)
    except ModelFailed as error:
        raise ModelInvalid(f"The model fails on its examples {file.path}: {error}") from error
    differing = rows.differing(predictions)
    if not differing:
        return
    any_differs = np.logical_or.reduce(list(differing.values()))
    number = int(any_differs.sum())
    verb = "differs" if number == 1 else "differ"
    total = count(len(any_differs), "row")
    lines = [
        f"{scorer.onnx.file} does not reproduce its examples {file.path}.",
        f"{number:,} of {total} {verb} from what the training code computed. The worst:",
        *differences(scorer, rows, predictions, differing),
    ]
    raise ModelInvalid("\n".join(lines))


def differences(
    scorer: SpecScorer,
    examples: Examples,
    predictions: pa.RecordBatch,
    differing: Mapping[str, Mask],
    known_cause: str | None = None,
) -> list[str]:
    """Return lines on the worst rows of each output that differs, and on the cause: the known one, or a likely one.

    Raises ModelInvalid if the model mixes rows: it then differs from its examples as well, and this says why.
    """
    if known_cause is None:
        row_independence.require(scorer, examples.features)
    lines = []
    for name, mask in differing.items():
        lines += _worst(name, examples, predictions.column(name), mask)
    return [*lines, known_cause or diagnosis.cause(scorer, examples, predictions)]


def _worst(name: str, examples: Examples, predictions: pa.Array, mask: Mask) -> list[str]:
    """Return a line for each of the three rows that are farthest off, numbered as in the file, from 0."""
    expected = examples.expected[name]
    errors = expected.errors(predictions)
    rows = sorted(np.flatnonzero(mask).tolist(), key=lambda row: -errors[row])
    lines = []
    for row in rows[:3]:
        predicted, wanted = (_shown(values[row]) for values in (predictions, expected.values))
        lines.append(f"  row {examples.numbers[row]}: {name} is {predicted}, expected {wanted}")
    return lines


def _shown(value: pa.Scalar) -> str:
    return repr(value.as_py()) if value.is_valid else "no value (NULL or NaN)"
