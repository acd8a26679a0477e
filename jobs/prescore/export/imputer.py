"""A converter of SimpleImputer for numbers of 64 bits and for indicators, which that of skl2onnx does not write."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto


def calculate_shape(operator: Any) -> None:
    """Give the output the columns of the inputs, and those of the indicators."""
    from skl2onnx.shape_calculators import imputer

    imputer.calculate_sklearn_imputer_output_shapes(operator)
    width = operator.outputs[0].type.shape[1]
    if width is not None:
        operator.outputs[0].type.shape = [None, width + len(_indicated(operator.raw_operator))]


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write a SimpleImputer; that of texts, or of other missing values than NaN, with skl2onnx's own converter."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from skl2onnx.operator_converters import imputer_op

    fitted = operator.raw_operator
    kind = type(operator.inputs[0].type)
    if kind not in (DoubleTensorType, FloatTensorType) or not _fills_nan(fitted):
        imputer_op.convert_sklearn_imputer(scope, operator, container)
        return
    element = TensorProto.DOUBLE if kind is DoubleTensorType else TensorProto.FLOAT
    matrix = scope.get_unique_variable_name("matrix")
    missing = scope.get_unique_variable_name("nan")
    fill = scope.get_unique_variable_name("fill")
    values = scope.get_unique_variable_name("values")
    given = [variable.full_name for variable in operator.inputs]
    statistics = fitted.statistics_.astype(float)
    container.add_initializer(fill, element, [1, len(statistics)], statistics)
    container.add_node("Concat", given, [matrix], axis=1)
    container.add_node("IsNaN", [matrix], [missing])
    container.add_node("Where", [missing, fill, matrix], [values])
    parts = [values]
    indicated = _indicated(fitted)
    if indicated:
        parts.append(_add_indicators(scope, container, missing, indicated, element))
    container.add_node("Concat", parts, operator.outputs[0].full_name, axis=1)


def _fills_nan(fitted: Any) -> bool:
    """Return whether an imputer has a number for every feature to put in the place of a NaN."""
    missing = fitted.missing_values
    if not isinstance(missing, float) or not np.isnan(missing):
        return False
    return not np.isnan(fitted.statistics_).any()


def _add_indicators(scope: Any, container: Any, missing: str, indicated: list[int], element: int) -> str:
    """Add the columns that say which features are missing, as numbers, and return the name of their matrix."""
    chosen = scope.get_unique_variable_name("chosen")
    flags = scope.get_unique_variable_name("flags")
    numbers: str = scope.get_unique_variable_name("numbers")
    container.add_initializer(chosen, TensorProto.INT64, [len(indicated)], indicated)
    container.add_node("Gather", [missing, chosen], [flags], axis=1)
    container.add_node("Cast", [flags], [numbers], to=element)
    return numbers


def _indicated(fitted: Any) -> list[int]:
    """Return the positions of the features for which an imputer adds a column that says whether they are missing."""
    if getattr(fitted, "indicator_", None) is None:
        return []
    return [int(position) for position in fitted.indicator_.features_]
