"""The named tensors of a model, between its operators."""

from __future__ import annotations

from onnx import ModelProto


def rename(model: ModelProto, old: str, new: str, *, keep_output: bool = False) -> None:
    """Rename a tensor wherever a model has it; with `keep_output`, an output of the model keeps the old name."""
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in model.graph.initializer:
        if value.name == old:
            value.name = new
    for value in model.graph.output:
        if value.name == old and not keep_output:
            value.name = new
