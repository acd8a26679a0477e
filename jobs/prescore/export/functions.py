"""Functions of NumPy that a FunctionTransformer calls, as operators of ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

# A function → the operators that compute it; 1 is added before Log, and subtracted after Exp, for `log1p` and `expm1`.
_OPERATORS: dict[Any, tuple[str, ...]] = {
    np.log1p: ("Add", "Log"),
    np.expm1: ("Exp", "Sub"),
    np.log: ("Log",),
    np.exp: ("Exp",),
    np.sqrt: ("Sqrt",),
    np.abs: ("Abs",),
}


def is_known(transformer: Any) -> bool:
    """Return whether the function of a transformer is one of these, or none at all."""
    function = transformer.func
    return function is None or (function in _OPERATORS and not transformer.kw_args)


def calculate_shape(operator: Any) -> None:
    """Give the output the type of the inputs, and their columns together."""
    widths = [variable.type.shape[1] for variable in operator.inputs]
    kind = type(operator.inputs[0].type)
    operator.outputs[0].type = kind([None, None if None in widths else sum(widths)])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write a FunctionTransformer: skl2onnx's own converter takes none that has a function."""
    from skl2onnx.common.data_types import DoubleTensorType
    from skl2onnx.operator_converters.function_transformer import convert_sklearn_function_transformer

    function = operator.raw_operator.func
    if function is None:
        convert_sklearn_function_transformer(scope, operator, container)
        return
    is_double = isinstance(operator.inputs[0].type, DoubleTensorType)
    element = TensorProto.DOUBLE if is_double else TensorProto.FLOAT
    matrix = scope.get_unique_variable_name("matrix")
    container.add_node("Concat", [variable.full_name for variable in operator.inputs], [matrix], axis=1)
    one = scope.get_unique_variable_name("one")
    container.add_initializer(one, element, [], [1.0])
    *firsts, last = _OPERATORS[function]
    for name in firsts:
        result = scope.get_unique_variable_name(name.lower())
        container.add_node(name, _arguments(name, matrix, one), [result])
        matrix = result
    container.add_node(last, _arguments(last, matrix, one), operator.outputs[0].full_name)


def _arguments(operator: str, matrix: str, one: str) -> list[str]:
    return [matrix, one] if operator in {"Add", "Sub"} else [matrix]
