"""The order of features that makes a model reproduce its examples, where the spec has another one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from prescore.errors import DomainInvalid, ModelInvalid
from prescore.project.fields import ONLY_INPUT
from prescore.scoring.arrays import Mask
from prescore.scoring.examples import Examples
from prescore.scoring.spec_scorer import SpecScorer

Inputs = Mapping[str, tuple[str, ...]]
_Place = tuple[str, int]

# Orders are tried on this many of the differing rows, and at most this many pairs of features are exchanged.
_ROWS_TRIED = 64
_PAIRS_TRIED = 5_000


def cause(scorer: SpecScorer, examples: Examples, rows: Mask) -> str | None:
    """Recognize features in the wrong order: `rows` are the examples that differ."""
    tried = examples.take(_first(rows, _ROWS_TRIED))
    for inputs in _orders(scorer, tried):
        # What fits the rows that differed must not spoil the others.
        if _error(scorer, tried, inputs) == 0 and _error(scorer, examples, inputs) == 0:
            return f"Likely cause: exchanged columns. All rows fit with {_correction(scorer, inputs)}"
    return None


def _orders(scorer: SpecScorer, examples: Examples) -> Iterator[Inputs]:
    """Yield orders of the features that may be right, the likeliest first."""
    given = scorer.signature.columns
    columns = [column for columns in given.values() for column in columns]
    if set(columns) == set(given):
        yield {name: (name,) for name in given}
    # `prescore.examples` writes the features in the order of training.
    order = {name: position for position, name in enumerate(examples.source.schema.names)}
    yield {name: tuple(sorted(columns, key=order.__getitem__)) for name, columns in given.items()}
    yield _exchanged(scorer, examples)


def _exchanged(scorer: SpecScorer, examples: Examples) -> Inputs:
    """Return the inputs after exchanging, again and again, the pair of features that helps most."""
    inputs: Inputs = scorer.signature.columns
    error = _error(scorer, examples, inputs)
    places = [(name, index) for name, columns in inputs.items() for index in range(len(columns))]
    # Every order of the features is at most this many exchanges away.
    for _ in places:
        best = None
        for pair in _pairs(scorer, places):
            candidate = _exchange(inputs, pair)
            error_of_candidate = _error(scorer, examples, candidate)
            if error_of_candidate < error:
                best, error = candidate, error_of_candidate
        if best is None:
            break
        inputs = best
    return inputs


def _pairs(scorer: SpecScorer, places: list[_Place]) -> list[tuple[_Place, _Place]]:
    """Return pairs of places in inputs of the same type, whose columns may have been exchanged."""
    pairs = []
    nodes = scorer.signature.inputs
    for first, second in combinations(places, 2):
        if nodes[first[0]].dtype == nodes[second[0]].dtype:
            pairs.append((first, second))
    return pairs[:_PAIRS_TRIED]


def _exchange(inputs: Inputs, pair: tuple[_Place, _Place]) -> Inputs:
    columns = {name: list(names) for name, names in inputs.items()}
    (first, i), (second, j) = pair
    columns[first][i], columns[second][j] = columns[second][j], columns[first][i]
    return {name: tuple(names) for name, names in columns.items()}


def _error(scorer: SpecScorer, examples: Examples, inputs: Inputs) -> float:
    """Return how far the outputs are off: 0 if all are as expected, infinite if the features cannot be scored."""
    try:
        predictions = scorer.with_columns(inputs).score(examples.features)
    except (DomainInvalid, ModelInvalid):
        return np.inf
    total = 0.0
    for name, expected in examples.expected.items():
        errors = expected.errors(predictions.column(name))
        differing = errors[errors > expected.tolerance]
        total += differing.size + float(np.minimum(differing, 1.0).sum())
    return total


def _correction(scorer: SpecScorer, inputs: Inputs) -> str:
    """Return the lines of the spec that put the features in another order."""
    if len(inputs) > 1 and all(columns == (name,) for name, columns in inputs.items()):
        return 'this line under [onnx], which gives every input the column of its name:\n  inputs = "by name"'
    if ONLY_INPUT in scorer.onnx.inputs:
        (columns,) = inputs.values()
        return f"this order under [onnx]:\n  inputs = {_quoted(columns)}"
    lines = []
    for name, columns in inputs.items():
        if columns != scorer.signature.columns[name]:
            lines.append(f"\n  {name} = {_quoted(columns)}")
    return f"this order under [onnx.inputs]:{''.join(lines)}"


def _quoted(columns: tuple[str, ...]) -> str:
    """Return the columns of an input as TOML: a column alone as a string."""
    return json.dumps(columns[0] if len(columns) == 1 else columns, ensure_ascii=False)


def _first(mask: Mask, count: int) -> Mask:
    chosen = np.zeros_like(mask)
    chosen[np.flatnonzero(mask)[:count]] = True
    return chosen
