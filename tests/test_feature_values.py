"""Values of JSON and Python on their way into a model: converted or refused, column by column as well as one by one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from prescore.scoring import feature_values
from prescore.scoring.signature import DTYPES

VALUES: list[Any] = [
    0, 1, -1, 127, 128, 255, 256, 2048, 2049, 2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**63, 10**400, 0.0, -0.0, 0.1, 0.5,
    float(np.float32(0.1)), 0.123456789, 1.0, 3.0, 2.0**53, 65504.0, 65520.0, 3.5e38, 1e300, 5e-324, math.inf,
    -math.inf, math.nan, None, True, False, "", "1", "é", "\ud800", [1], {"a": 1}, np.float32(0.1), np.int64(7), ...,
]  # fmt: skip


REFUSED = object()


def _single(value: Any, dtype: str, **options: bool) -> Any:
    """Return a value converted by itself, as Arrow has it, or REFUSED."""
    try:
        converted = feature_values.convert_value(value, DTYPES[dtype], **options)
    except ValueError:
        return REFUSED
    return float(converted) if isinstance(converted, float | np.floating) else converted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("may_round", [False, True])
def test_what_a_column_accepts_is_what_its_values_are_one_by_one(dtype: str, may_round: bool) -> None:
    is_float = pa.types.is_floating(DTYPES[dtype])
    for value, nullable in itertools.product(VALUES, (False, is_float)):
        options = {"nullable": nullable, "may_round": may_round}
        whole = feature_values.convert([value, value], DTYPES[dtype], **options)
        if whole is not None:
            single = _single(value, dtype, **options)
            both = [math.nan if each is None else each for each in (whole[0].as_py(), single)]
            assert both[0] == both[1] or both[0] != both[0], f"{value!r} as {dtype}: {both}"


@pytest.mark.parametrize(
    ("value", "dtype", "may_round", "expected"),
    [
        (0.1, "float32", False, float(np.float32(0.1))),
        (0.5, "float16", False, 0.5),
        (0.1, "float16", False, float(np.float16(0.1))),
        (0.123456789, "float32", False, float(np.float32(0.123456789))),
        (1 / 3, "float32", False, float(np.float32(1 / 3))),
        (1 / 3, "float16", False, float(np.float16(1 / 3))),
        (2.0**24 + 1, "float32", False, 2.0**24),
        (2**24 + 1, "float32", False, None),
        (2**24 + 1, "float32", True, float(2**24)),
        (1e300, "float32", True, None),
        (3.0, "int64", False, 3),
        (3.5, "int64", True, None),
        (2.0**53, "int64", False, None),
        (256, "uint8", True, None),
        (True, "float32", False, 1.0),
        (True, "int8", True, None),
        (1, "bool", True, None),
        ("1", "float32", True, None),
        (1, "string", True, None),
    ],
)
def test_a_value_arrives_as_the_nearest_number_or_is_refused(
    value: Any, dtype: str, may_round: bool, expected: Any
) -> None:
    for values in ([value], [value, 0 if dtype != "string" else "x"]):
        converted = feature_values.convert(values, DTYPES[dtype], nullable=False, may_round=may_round)
        assert converted is None or converted[0].as_py() == expected
    single = _single(value, dtype, nullable=False, may_round=may_round)
    assert single == (REFUSED if expected is None else expected)
