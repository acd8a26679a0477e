"""The proof that a model file computes what the estimator does: the same rows, scored by both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from prescore.catalog.types import ARRAYS, FLOATS
from prescore.draft import interface, outputs, sample
from prescore.draft.interface import Interface
from prescore.draft.outputs import DraftOutput
from prescore.errors import ModelInvalid
from prescore.export.predictions import Predictions, Values
from prescore.project.fields import BY_NAME
from prescore.project.spec import Spec
from prescore.scoring import column_types, conversion, verification
from prescore.scoring.arrays import Mask
from prescore.scoring.examples import TOLERANCE, Examples
from prescore.scoring.expected import Expected, to_floats
from prescore.scoring.spec_scorer import SpecScorer
from prescore.store.model_file import ModelFile
from prescore.wording import count


@dataclass(frozen=True)
class ProvenOutput:
    """An output as `prescore init` drafts it, what the estimator computed, and how far the model is off at most.

    `largest_difference` is None for labels, which are equal.
    """

    draft: DraftOutput
    expected: pa.Array
    largest_difference: float | None


def prove(content: bytes, name: str, rows: pa.Table, predictions: Predictions) -> list[ProvenOutput]:
    """Score rows with a model file, and return its outputs; raise ModelInvalid if one is not as the estimator says."""
    model = ModelFile(content)
    known = interface.read(model, name)
    columns = rows.schema.names
    scorer = SpecScorer(model, _spec(known, name, columns, sample.provisional_outputs(known.outputs)))
    features = _features(scorer, rows)
    drafted = outputs.draft(scorer.graph, scorer.tensors(features))
    listed = {draft.name: {**draft.fields, "type": draft.type} for draft in drafted}
    scorer = SpecScorer(model, _spec(known, name, columns, listed))
    expected = _expected_outputs(scorer, known, drafted, predictions)
    examples = Examples(features, expected, rows, np.arange(rows.num_rows))
    scored = scorer.score(features)
    differing = examples.differing(scored)
    if differing:
        differences = verification.differences(scorer, examples, scored, differing, predictions.known_cause)
        raise _not_proven(name, rows.num_rows, differing, differences)
    return [_proven(draft, expected[draft.name], scored) for draft in drafted]


def _expected_outputs(
    scorer: SpecScorer, known: Interface, drafted: Sequence[DraftOutput], predictions: Predictions
) -> dict[str, Expected]:
    """Return what the estimator computed for each output."""
    sources = [name for name, kind in known.outputs.items() if pa.types.is_floating(kind)]
    expected = {}
    for draft in drafted:
        values = predictions.expected(draft, scorer.graph, sources)
        expected[draft.name] = _expected(draft, values)
    return expected


def _not_proven(name: str, rows: int, differing: Mapping[str, Mask], differences: Iterable[str]) -> ModelInvalid:
    """Return the error for a model file that does not predict what the estimator does."""
    is_different = np.logical_or.reduce(list(differing.values()))
    summary = (
        f"{name} was not written: its model does not predict what the estimator does. Of {count(rows, 'row')}, "
        f"{is_different.sum():,} differ: a label is another, or a number is off by more than {TOLERANCE:g} of its "
        "size. The worst:"
    )
    return ModelInvalid("\n".join([summary, *differences]))


def _proven(draft: DraftOutput, expected: Expected, scored: pa.RecordBatch) -> ProvenOutput:
    if not expected.is_float:
        return ProvenOutput(draft, expected.values, None)
    computed = to_floats(_flat(scored.column(draft.name)))
    wanted = to_floats(_flat(expected.values))
    largest = np.nanmax(np.abs(computed - wanted), initial=0.0)
    return ProvenOutput(draft, expected.values, float(largest))


def _flat(values: pa.Array) -> pa.Array:
    return values.flatten() if pa.types.is_list(values.type) else values


def _features(scorer: SpecScorer, rows: pa.Table) -> pa.RecordBatch:
    features = {}
    for column, kind in scorer.features.items():
        values = rows.column(column).combine_chunks()
        features[column] = conversion.convert(column, values, kind, allow_precision_loss=True)
    return pa.record_batch(features)


def _expected(draft: DraftOutput, values: Values) -> Expected:
    kind = column_types.ARROW[draft.type]
    is_float = (draft.type.removesuffix("[]") if draft.type in ARRAYS else draft.type) in FLOATS
    if pa.types.is_string(kind):
        values = values.astype(str)
    elif not is_float:
        values = values.astype(np.int64)
    array = pa.array(values.tolist() if values.ndim == 2 else values)
    return Expected(array.cast(kind, safe=False), TOLERANCE if is_float else 0.0)


def _spec(known: Interface, name: str, columns: Sequence[str], listed: dict[str, Any]) -> Spec:
    """Return a spec that allows all that the model can take, with some outputs."""
    numbers = [inner.name for inner in known.inputs if pa.types.is_floating(inner.type)]
    is_matrix = [inner.name for inner in known.inputs] != list(columns)
    inputs: Any = {known.inputs[0].name: list(columns)} if is_matrix else BY_NAME
    nullable = list(columns) if is_matrix else numbers
    content = {
        "model": "export",
        "domain": {"query": ""},
        "key": {"prescore_row": "bigint"},
        "onnx": {"file": name, "inputs": inputs, "nullable": nullable, "allow_precision_loss": list(columns)},
        "outputs": listed,
    }
    return Spec.model_validate(content)
