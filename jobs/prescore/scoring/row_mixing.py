"""Operators by which the rows of one call can change each other's predictions, or chance can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prescore.scoring.graph import Graph, attribute

Explain = Callable[[Graph, Any], str | None]
"""Returns why a node can make a row's score depend on other rows or on chance, or None."""

_RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
_DYNAMIC_QUANTIZATION = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
# Operators with one axis, along which they combine values, and its default.
_ALONG_AXIS = {
    "ArgMax": 0,
    "ArgMin": 0,
    "CumSum": None,
    "Hardmax": -1,
    "LayerNormalization": -1,
    "LogSoftmax": -1,
    "LpNormalization": -1,
    "Softmax": -1,
    "TopK": -1,
}


def certain(graph: Graph, *, alone: bool) -> list[str]:
    """Return a phrase for each kind of operator that mixes rows, or is random, whatever a sample of rows shows.

    `alone` says that every row is scored in a call of its own.
    """
    return _explain_all(graph, (_random,) if alone else (_dynamic_quantization, _random))


def explanations(graph: Graph) -> list[str]:
    """Return a phrase for each kind of operator that can make a row's score depend on other rows or on chance."""
    return _explain_all(graph, _EXPLAIN)


def _explain_all(graph: Graph, explainers: tuple[Explain, ...]) -> list[str]:
    found: dict[str, None] = {}
    for node in graph.nodes:
        for explain in explainers:
            phrase = explain(graph, node)
            if phrase is not None:
                found[phrase] = None
    return list(found)


def _dynamic_quantization(_: Graph, node: Any) -> str | None:
    if node.op_type not in _DYNAMIC_QUANTIZATION:
        return None
    return (
        f"{node.op_type}, dynamic quantization, takes its scale from all rows of a call: use static quantization, or "
        "score each row in a call of its own, which is slow, with onnx.batch_rows = 1"
    )


def _batch_normalization(_: Graph, node: Any) -> str | None:
    # With statistics among its outputs, as before opset 14, it also computes them from the batch.
    in_training = attribute(node, "training_mode", 0) or len(node.output) > 1
    if node.op_type != "BatchNormalization" or not in_training:
        return None
    return "BatchNormalization in training mode normalizes with the rows of a call: export the model in evaluation mode"


def _dropout(graph: Graph, node: Any) -> str | None:
    if node.op_type != "Dropout" or len(node.input) < 3:
        return None
    mode = graph.constant(node.input[2])
    if mode is not None and not mode.any():
        return None
    return "Dropout in training mode removes values at random: export the model in evaluation mode"


def _random(_: Graph, node: Any) -> str | None:
    if node.op_type not in _RANDOM:
        return None
    return f"{node.op_type} returns random numbers"


def _reduction(graph: Graph, node: Any) -> str | None:
    if not node.op_type.startswith("Reduce") and node.op_type != "MeanVarianceNormalization":
        return None
    axes = attribute(node, "axes")
    if node.op_type == "MeanVarianceNormalization":
        axes = axes or [0, 2, 3]
    if axes is None and len(node.input) > 1:
        constant = graph.constant(node.input[1])
        axes = None if constant is None else constant.ravel().tolist()
    if axes is not None and 0 not in axes:
        return None
    if axes is None and attribute(node, "noop_with_empty_axes", 0):
        return None
    return f"{node.op_type} combines all rows of a call: reduce over axis 1"


def _along_rows(graph: Graph, node: Any) -> str | None:
    if node.op_type not in _ALONG_AXIS:
        return None
    axis = attribute(node, "axis", _ALONG_AXIS[node.op_type])
    if node.op_type == "CumSum":
        constant = graph.constant(node.input[1])
        axis = None if constant is None else int(constant)
    if axis != 0:
        return None
    return f"{node.op_type} works along axis 0, the rows of a call: use axis 1"


_EXPLAIN: tuple[Explain, ...] = (
    _dynamic_quantization,
    _batch_normalization,
    _dropout,
    _random,
    _reduction,
    _along_rows,
)
