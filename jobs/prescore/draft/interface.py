"""What a model file takes and gives, before there is a spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from prescore.errors import ModelInvalid
from prescore.scoring.graph import Graph
from prescore.scoring.session import ModelSession, declared_width
from prescore.scoring.signature import TENSOR_TYPES
from prescore.store.model_file import ModelFile


@dataclass(frozen=True)
class Input:
    """An input of the model: the Arrow type of its elements, and how many columns it takes, None if left open."""

    name: str
    type: pa.DataType
    width: int | None


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a model file, and the names of features that its metadata has."""

    graph: Graph
    inputs: tuple[Input, ...]
    outputs: dict[str, pa.DataType]
    feature_names: tuple[str, ...]


def read(model: ModelFile, name: str) -> Interface:
    """Return the interface of a model file; raise ModelInvalid for one that prescore cannot score."""
    session = ModelSession(model, name)
    inputs = tuple(_input(node) for node in session.inputs.values())
    outputs = {}
    for node in session.outputs.values():
        if node.type in TENSOR_TYPES:
            outputs[node.name] = TENSOR_TYPES[node.type]
    if not outputs:
        raise ModelInvalid(f"{name} has no output that is a tensor. Export the model with tensors.")
    return Interface(session.graph, inputs, outputs, session.graph.feature_names)


def _input(node: Any) -> Input:
    if node.type not in TENSOR_TYPES:
        raise ModelInvalid(f"Input {node.name} is {node.type}, which prescore cannot feed. Export it as a tensor.")
    return Input(node.name, TENSOR_TYPES[node.type], declared_width(node))
