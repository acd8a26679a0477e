"""The outputs of a model that fit its examples, where the spec selects others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.errors import ModelInvalid
from prescore.scoring.arrays import Mask
from prescore.scoring.examples import Examples
from prescore.scoring.expected import Expected
from prescore.scoring.signature import TENSOR_TYPES, Tensor
from prescore.scoring.spec_scorer import SpecScorer

# A wrong order of the elements is recognized in arrays of at most this length.
_LONGEST_ARRAY = 200


def cause(scorer: SpecScorer, examples: Examples, differing: dict[str, Mask]) -> str | None:
    """Recognize a wrong `index`, `class`, `columns` or `from`: other columns of the model's outputs fit."""
    tensors = _readable_tensors(scorer, examples)
    lines = []
    for name in differing:
        expected = examples.expected[name]
        if pat.is_list(expected.values.type):
            fitting = list(_fitting_arrays(expected, tensors))
        else:
            label = scorer.spec.outputs[name].label
            fitting = [_described(scorer, *place, label) for place in _fitting_columns(expected, tensors)]
        if not fitting:
            return None
        lines.append(f"outputs.{name}: the examples fit {' or '.join(fitting)}.")
    return "Likely cause: the wrong output of the model.\n" + "\n".join(f"  {line}" for line in lines)


def _readable_tensors(scorer: SpecScorer, examples: Examples) -> dict[str, Tensor]:
    """Return the outputs of the model for the examples, except those that prescore cannot read."""
    tensors: dict[str, Tensor] = {}
    for node in scorer.session.outputs.values():
        if node.type in TENSOR_TYPES:
            with suppress(ModelInvalid):
                tensors |= scorer.tensors(examples.features, [node.name])
    return tensors


def _fitting_columns(expected: Expected, tensors: dict[str, Tensor]) -> Iterator[tuple[str, int | None]]:
    """Yield outputs that fit, each with the number of its column, or None if it has only one."""
    for source, tensor in tensors.items():
        if tensor.ndim == 1:
            if fits(expected, tensor):
                yield source, None
            continue
        for index in range(tensor.shape[1]):
            if fits(expected, tensor[:, index]):
                yield source, index


def _described(scorer: SpecScorer, source: str, index: int | None, label: str | int | None) -> str:
    """Return the keys of a spec that select a column; by its class if the spec has a class, `label`, in its place."""
    if index is None:
        return f'from = "{source}"'
    classes = scorer.graph.labels(source) or ()
    if label is None or index >= len(classes):
        return f'from = "{source}", index = {index}'
    fitting = bool(classes[index]) if isinstance(label, bool) else classes[index]
    return f'from = "{source}", class = {json.dumps(fitting, ensure_ascii=False)}'


def _fitting_arrays(expected: Expected, tensors: dict[str, Tensor]) -> Iterator[str]:
    """Yield outputs that have a fitting column for each element of the expected arrays."""
    lengths = pc.list_value_length(expected.values).unique().to_pylist()
    if len(lengths) > 1 or not 0 < (lengths[0] or 0) <= _LONGEST_ARRAY:
        return
    elements = [replace(expected, values=pc.list_element(expected.values, i)) for i in range(lengths[0])]
    for source, tensor in tensors.items():
        if tensor.ndim == 1:
            continue
        columns = [_fitting_column(element, tensor) for element in elements]
        if columns == list(range(tensor.shape[1])):
            yield f'from = "{source}" without columns'
        elif None not in columns:
            yield f'from = "{source}", columns = {columns}'


def _fitting_column(expected: Expected, tensor: Tensor) -> int | None:
    for index in range(min(tensor.shape[1], _LONGEST_ARRAY)):
        if fits(expected, tensor[:, index]):
            return index
    return None


def fits(expected: Expected, values: Any) -> bool:
    """Return whether numbers or texts are as expected once they have the type of the output column."""
    try:
        column = pa.array(np.ascontiguousarray(values)).cast(expected.values.type, safe=False)
    except pa.ArrowException:
        return False
    return not expected.differing(column).any()
