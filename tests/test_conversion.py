"""Columns are converted exactly, or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prescore.errors import DomainInvalid
from prescore.scoring.column_types import ARROW
from prescore.scoring.conversion import convert

FLOAT, DOUBLE = pa.float32(), pa.float64()


@pytest.mark.parametrize(
    ("column", "target"),
    [
        (pa.array([2**24, -(2**24)], pa.int64()), FLOAT),
        (pa.array([2**53], pa.int64()), DOUBLE),
        (pa.array([True, False, None]), FLOAT),
        (pa.array([1, 2], pa.int64()), pa.int16()),
        (pa.array([1.0, 2.0]), pa.int32()),
        (pa.array(["a", None]).dictionary_encode(), pa.string()),
        (pa.array([None, None]), FLOAT),
        (pa.array([Decimal("12")]), pa.int64()),
    ],
)
def test_values_that_fit_the_target_are_unchanged(column: pa.Array, target: pa.DataType) -> None:
    converted = convert("c", column, target)
    assert converted.type == target
    assert converted.to_pylist() == column.to_pylist()


@pytest.mark.parametrize(
    ("column", "target"),
    [
        (pa.array([2**24 + 1], pa.int64()), FLOAT),
        (pa.array([2**53 + 1], pa.int64()), DOUBLE),
        (pa.array([0.1]), FLOAT),
        (pa.array([40000], pa.int64()), pa.int16()),
        (pa.array([1.5]), pa.int64()),
        (pa.array(["1"]), FLOAT),
        (pa.array([1]), pa.string()),
        (pa.array([Decimal("1.5")]), FLOAT),
        (pa.array([0], pa.timestamp("us")), ARROW["timestamptz"]),
        (pa.array([1], pa.timestamp("ns")), ARROW["timestamp"]),
        (pa.array(["not a uuid"]), ARROW["uuid"]),
        (pa.array([2**31 - 1], pa.int32()).view(pa.date32()), ARROW["date"]),
        (pa.array([-(2**31) + 1], pa.int32()).view(pa.date32()), ARROW["date"]),
        (pa.array([2**63 - 1], pa.int64()).view(pa.timestamp("us")), ARROW["timestamp"]),
        (pa.array(["urn:uuid:8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d"]), ARROW["uuid"]),
        (pa.array(["{8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d}"]), ARROW["uuid"]),
        (pa.array(["8c5f-0a3e-0f6b4d5c9c1e2f1f6a7b8c9d"]), ARROW["uuid"]),
    ],
)
def test_a_column_with_a_value_that_would_change_is_an_error_with_its_name(
    column: pa.Array, target: pa.DataType
) -> None:
    with pytest.raises(DomainInvalid, match="Column c"):
        convert("c", column, target)


def test_allowed_precision_loss_rounds_but_never_overflows() -> None:
    rounded = convert("c", pa.array([0.1]), FLOAT, allow_precision_loss=True)
    assert rounded[0].as_py() == float(np.float32(0.1))
    infinite = convert("c", pa.array([float("inf")]), FLOAT, allow_precision_loss=True)
    assert infinite[0].as_py() == float("inf")
    with pytest.raises(DomainInvalid, match="too large"):
        convert("c", pa.array([1e300]), FLOAT, allow_precision_loss=True)


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_an_integer_becomes_a_float_exactly_or_not_at_all(values: list[int | None]) -> None:
    column = pa.array(values, pa.int64())
    try:
        converted = convert("c", column, DOUBLE).to_pylist()
    except DomainInvalid:
        assert any(v is not None and abs(v) > 2**53 for v in values)
    else:
        assert [None if v is None else int(v) for v in converted] == values


@pytest.mark.parametrize("spell", [str, lambda value: value.hex, lambda value: str(value).upper()])
@given(values=st.lists(st.none() | st.uuids(), max_size=20))
def test_uuids_become_their_bytes(spell: Callable[[uuid.UUID], str], values: list[uuid.UUID | None]) -> None:
    column = pa.array([None if v is None else spell(v) for v in values], pa.string())
    assert convert("c", column, ARROW["uuid"]).to_pylist() == [None if v is None else v.bytes for v in values]


@pytest.mark.parametrize("source", [FLOAT, DOUBLE])
def test_a_number_too_large_for_half_precision_does_not_become_infinite(source: pa.DataType) -> None:
    column = pa.array([1.0, 70_000.0, np.inf], source)
    with pytest.raises(DomainInvalid, match="too large for float16: they would become infinite"):
        convert("c", column, pa.float16(), allow_precision_loss=True)
    fitting = pa.array([1.0, 65_504.0, -np.inf], source)
    assert convert("c", fitting, pa.float16(), allow_precision_loss=True).to_pylist() == fitting.to_pylist()
