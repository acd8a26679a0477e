"""A converter of SimpleImputer for numbers of 64 bits, which the operator of ONNX does not take."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto


def in_double_precision() -> dict[str, Any]:
    """Return the arguments with which skl2onnx uses this converter for numbers, and its own for texts."""
    from sklearn.impute import SimpleImputer

    return {
        "custom_conversion_functions": {SimpleImputer: _convert},
        "custom_shape_calculators": {SimpleImputer: _calculate_shape},
    }


def _calculate_shape(operator: Any) -> None:
    from skl2onnx.shape_calculators import imputer

    imputer.calculate_sklearn_imputer_output_shapes(operator)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType
    from skl2onnx.operator_converters import imputer_op

    fitted = operator.raw_operator
    is_plain = np.isnan(fitted.missing_values) if isinstance(fitted.missing_values, float) else False
    if not isinstance(operator.inputs[0].type, DoubleTensorType) or not is_plain:
        imputer_op.convert_sklearn_imputer(scope, operator, container)
        return
    given = [variable.full_name for variable in operator.inputs]
    matrix, missing, fill = (scope.get_unique_variable_name(name) for name in ("matrix", "missing", "fill"))
    statistics = fitted.statistics_.astype(np.float64)
    container.add_initializer(fill, TensorProto.DOUBLE, [1, len(statistics)], statistics)
    container.add_node("Concat", given, [matrix], axis=1)
    container.add_node("IsNaN", [matrix], [missing])
    container.add_node("Where", [missing, fill, matrix], operator.outputs[0].full_name)
