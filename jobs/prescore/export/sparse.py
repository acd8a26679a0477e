"""Zeros that XGBoost takes for missing values, because the step before it returns a sparse matrix."""

from __future__ import annotations

from typing import Any

from prescore.export import steps, toolkits


def mark_zeros(pipeline: Any) -> None:
    """Insert a step that makes NaN of zeros before XGBoost, if the step before that is sparse. Changes the pipeline.

    XGBoost takes the absent cells of a sparse matrix for missing values. ONNX has no such matrices.
    """
    last = pipeline.steps[-1][1]
    is_xgboost = any(toolkits.toolkit(step.estimator) == toolkits.XGBOOST for step in steps.walk(last))
    if is_xgboost and len(pipeline.steps) > 1 and _is_sparse(pipeline.steps[-2][1]):
        pipeline.steps.insert(-1, ("zeros", _zeros_as_missing()))


def _is_sparse(step: Any) -> bool:
    if hasattr(step, "sparse_output_"):
        return bool(step.sparse_output_)
    return type(step).__name__ in steps.ENCODERS and bool(getattr(step, "sparse_output", False))


def _zeros_as_missing() -> Any:
    """Return a step for skl2onnx alone, with a converter that is registered for its class."""
    from skl2onnx import update_registered_converter
    from sklearn.base import BaseEstimator, TransformerMixin

    class ZerosAsMissing(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        """Makes NaN of zeros."""

    update_registered_converter(ZerosAsMissing, "PrescoreZerosAsMissing", _calculate_shape, _convert)
    return ZerosAsMissing()


def _calculate_shape(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType(operator.inputs[0].type.shape)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    from onnx import TensorProto

    zero, missing, numbers, is_zero = (scope.get_unique_variable_name(n) for n in ("zero", "nan", "numbers", "is_zero"))
    container.add_initializer(zero, TensorProto.FLOAT, [], [0.0])
    container.add_initializer(missing, TensorProto.FLOAT, [], [float("nan")])
    container.add_node("Cast", operator.inputs[0].full_name, [numbers], to=TensorProto.FLOAT)
    container.add_node("Equal", [numbers, zero], [is_zero])
    container.add_node("Where", [is_zero, missing, numbers], operator.outputs[0].full_name)
