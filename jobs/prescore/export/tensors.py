"""The named tensors of a model, between its operators."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

from onnx import ModelProto


def rename(model: ModelProto, old: str, new: str, *, keep_output: bool = False) -> None:
    """Rename a tensor wherever a model has it; with `keep_output`, an output of the model keeps the old name."""
    for node in model.graph.node:
        _replace(node.input, old, new)
        _replace(node.output, old, new)
    values: list[Any] = list(model.graph.initializer)
    if not keep_output:
        values += model.graph.output
    for value in values:
        if value.name == old:
            value.name = new


def _replace(names: MutableSequence[str], old: str, new: str) -> None:
    for position, name in enumerate(names):
        if name == old:
            names[position] = new
