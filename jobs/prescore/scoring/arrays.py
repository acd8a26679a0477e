"""Array columns: from a tensor's rows to lists in Arrow, and from lists to what COPY sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.catalog.catalog import Column
from prescore.errors import ModelInvalid
from prescore.scoring import predictions
from prescore.scoring.signature import Selection
from prescore.wording import count

Tensor = np.ndarray[Any, Any]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

_WORD = np.dtype(">u4")
_LONGEST_VECTOR = 16_000


def to_lists(selection: Selection, tensor: Tensor) -> pa.Array:
    """Return the rows of an output of the model as lists of the type of an output column.

    Raises ModelInvalid for a tensor of another shape, ModelFailed for an element that does not fit the type.
    """
    if tensor.ndim != 2 or not tensor.shape[1]:
        raise selection.error(
            f"has the shape {tensor.shape}, but an array is a row of an output that has rows and columns. "
            "Choose another type in the spec, or export the model with such an output."
        )
    rows, width = tensor.shape
    selection.require_width(width)
    selected = range(width) if selection.columns is None else selection.columns
    _require_columns(selection, selected, width)
    if selection.columns is not None:
        tensor = tensor[:, selection.columns]
    flat = np.ascontiguousarray(tensor).reshape(-1)
    elements = predictions.convert(selection.name, selection.type, flat)
    return _to_rows(elements, rows, len(selected))


def _require_columns(selection: Selection, selected: Sequence[int], width: int) -> None:
    absent = [column for column in selected if column >= width]
    if absent:
        listed = ", ".join(map(str, absent))
        columns = count(width, "column")
        raise selection.error(f"has {columns}, counted from 0, so there is no column {listed}. Correct columns.")
    if selection.type == "vector" and len(selected) > _LONGEST_VECTOR:
        raise selection.error(
            f"has {len(selected):,} columns, but a vector has at most {_LONGEST_VECTOR:,}. Store real[] instead."
        )


def _to_rows(elements: pa.Array, rows: int, width: int) -> pa.Array:
    if rows * width > np.iinfo(np.int32).max:
        raise ModelInvalid(
            f"{rows:,} arrays of {width:,} elements are too many for one chunk. Lower chunk_rows in prescore.toml."
        )
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(pa.array(offsets), elements)


def are_finite(lists: pa.Array) -> pa.Array:
    """Return for each list whether all of its elements are finite: not null and, among floats, not NaN or infinite."""
    elements = lists.flatten()
    are_finite = pc.is_finite(elements).fill_null(False) if pat.is_floating(elements.type) else elements.is_valid()
    not_finite = pc.invert(are_finite)
    positions = pc.list_parent_indices(lists).filter(not_finite)
    finite = np.ones(len(lists), np.bool_)
    finite[positions.to_numpy()] = False
    return pa.array(finite)


def differing_rows(lists: pa.Array, others: pa.Array, differing: Callable[[pa.Array, pa.Array], Mask]) -> Mask:
    """Return which rows have another length, or an element that differs: `differing` compares arrays of elements."""
    rows: Mask = largest_errors(lists, others, differing) > 0
    return rows


def largest_errors(lists: pa.Array, others: pa.Array, errors: Callable[[pa.Array, pa.Array], Any]) -> Tensor:
    """Return the largest error of each row's elements, float64; it is infinite if the lists have other lengths.

    `errors` returns the errors of an array of elements.
    """
    is_comparable = _lengths(lists) == _lengths(others)
    largest = np.where(is_comparable, 0.0, np.inf)
    comparable = np.flatnonzero(is_comparable)
    compared = lists.take(pa.array(comparable))
    other = others.take(pa.array(comparable))
    errors_of_elements = errors(compared.flatten(), other.flatten())
    parents = pc.list_parent_indices(compared).to_numpy()
    np.maximum.at(largest, comparable[parents], errors_of_elements)
    return largest


def _lengths(lists: pa.Array) -> Tensor:
    """Return the number of elements in each row's list, 0 for a null."""
    lengths: Tensor = pc.list_value_length(lists).fill_null(0).to_numpy()
    return lengths


def encode(rows: pa.RecordBatch, columns: Sequence[Column]) -> pa.RecordBatch:
    """Return rows as the encoder of binary COPY takes them: vectors, a type that it does not know, as their bytes."""
    for column in columns:
        if column["type"] != "vector":
            continue
        name = column["name"]
        position = rows.schema.get_field_index(name)
        vectors = _encode_vectors(rows.column(position))
        rows = rows.set_column(position, name, vectors)
    return rows


def _encode_vectors(lists: pa.Array) -> pa.Array:
    """Return vectors as pgvector receives them: words of four bytes each, big-endian.

    The first word has the number of elements in its upper half, and the others are the elements.
    """
    lengths = pc.list_value_length(lists).to_numpy()
    ends = np.cumsum(lengths, dtype=np.int64)
    elements = lists.flatten().to_numpy().view(np.uint32)
    words = np.insert(elements, ends - lengths, lengths << 16).astype(_WORD)
    word_ends = ends + np.arange(1, len(lists) + 1)
    offsets = np.append(0, word_ends) * _WORD.itemsize
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(words)]
    return pa.Array.from_buffers(pa.large_binary(), len(lists), buffers)
