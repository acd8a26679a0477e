"""What a model file takes and gives, before there is a spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from prescore.errors import ModelInvalid
from prescore.scoring import scorer, signature
from prescore.scoring.graph import Graph
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
    graph = Graph.parse(model.content, name)
    session = scorer.open_session(model, graph, name, threads=1)
    inputs = tuple(_input(node) for node in session.get_inputs())
    outputs = {}
    for node in session.get_outputs():
        if node.type in TENSOR_TYPES:
            outputs[node.name] = TENSOR_TYPES[node.type]
    if not outputs:
        raise ModelInvalid(f"{name} has no output that is a tensor. Export the model with tensors.")
    return Interface(graph, inputs, outputs, graph.feature_names)


def _input(node: Any) -> Input:
    if node.type not in TENSOR_TYPES:
        raise ModelInvalid(f"Input {node.name} is {node.type}, which prescore cannot feed. Export it as a tensor.")
    return Input(node.name, TENSOR_TYPES[node.type], signature.declared_width(node))
