"""The last step of a prediction that exporters leave out: the exponential, for losses that predict its logarithm."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto, helper

from prescore.export import steps
from prescore.export.tensors import rename

_LOSSES = ("poisson", "gamma", "tweedie")


def append(model: ModelProto, estimator: Any) -> None:
    """Append the exponential to the only output of a model, if the exporter of its estimator leaves it out."""
    if not _leaves_out_exponential(estimator) or len(model.graph.output) != 1:
        return
    output = model.graph.output[0].name
    logarithm = f"{output}_logarithm"
    rename(model, output, logarithm, keep_output=True)
    model.graph.node.append(helper.make_node("Exp", [logarithm], [output]))
    if not any(opset.domain == "" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 18))


def _leaves_out_exponential(estimator: Any) -> bool:
    last = steps.last(estimator)
    match type(last).__name__:
        case "HistGradientBoostingRegressor":
            return str(last.loss) in _LOSSES
        case "CatBoostRegressor":
            loss = str(last.get_all_params().get("loss_function", ""))
            return loss.lower().startswith(_LOSSES)
    return False
