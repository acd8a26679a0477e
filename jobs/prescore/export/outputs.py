"""The outputs of an exported model: tensors that prescore can publish, under names that say what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from prescore.errors import Mistake
from prescore.export import metadata
from prescore.export.tensors import rename
from prescore.scoring.graph import Graph
from prescore.wording import count

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
# Scores that differ by less are equal: a mean of trees is exact to about 1e-7.
_STEPS = 2.0**20


def simplify(model: ModelProto, *, has_scores: bool) -> None:
    """Leave out what a classifier without probabilities, or a clusterer, returns beside its label."""
    if has_scores or len(model.graph.output) == 1:
        return
    kept = [value for value in model.graph.output if value.type.tensor_type.elem_type not in _FLOATS]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def split_sequence(model: ModelProto) -> None:
    """Replace a sequence of probabilities, one tensor for each target of a classifier, by the tensors themselves."""
    for output in list(model.graph.output):
        makers = [node for node in model.graph.node if output.name in node.output]
        if not output.type.HasField("sequence_type") or makers[0].op_type != "SequenceConstruct":
            continue
        (sequence,) = makers
        names = list(sequence.input)
        model.graph.node.remove(sequence)
        model.graph.output.remove(output)
        for number, name in enumerate(names):
            rename(model, name, f"probabilities_{number}")
            value = helper.make_tensor_value_info(f"probabilities_{number}", TensorProto.FLOAT, [None, None])
            model.graph.output.append(value)


def choose_labels(model: ModelProto) -> bool:
    """Let the model choose the first class of those with the largest score, and return whether it could be changed.

    Where two classes have the same score, as half of the trees of a forest often vote for each, scikit-learn chooses
    the first. In ONNX, the last bits of the scores decide instead.
    """
    graph = Graph(model)
    pair = [value.name for value in model.graph.output]
    classes = graph.labels(pair[-1])
    if len(pair) != 2 or classes is None:
        return False
    label, scores = pair
    rename(model, label, f"{label}_by_operator", keep_output=True)
    kind = object if isinstance(classes[0], str) else np.int64
    constants = {
        "label_steps": np.array(_STEPS, np.float32),
        "label_classes": np.array(classes, kind),
        "label_shape": np.array([-1], np.int64),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.extend(
        [
            helper.make_node("Mul", [scores, "label_steps"], ["label_scaled"]),
            helper.make_node("Round", ["label_scaled"], ["label_rounded"]),
            helper.make_node("ArgMax", ["label_rounded"], ["label_index"], axis=1, keepdims=0),
            helper.make_node(
                "ArrayFeatureExtractor", ["label_classes", "label_index"], ["label_row"], domain="ai.onnx.ml"
            ),
            helper.make_node("Reshape", ["label_row", "label_shape"], [label]),
        ]
    )
    return True


def name_targets(model: ModelProto, targets: Sequence[str] | None, number: int) -> None:
    """Name the predictions of a model for several targets, and write the names of targets into its metadata.

    Raises Mistake if there are not as many names as the estimator has targets.
    """
    if targets is not None and len(targets) != number:
        raise Mistake(f"targets are {', '.join(targets)}, but the estimator has {count(number, 'target')}.")
    if number > 1:
        rename(model, model.graph.output[0].name, "prediction")
    if targets is not None:
        metadata.write(model, {"target_names": list(targets)})


def name_classes(model: ModelProto, classes: Sequence[Sequence[Any]]) -> None:
    """Write the classes of each target of a classifier into the metadata, by the output with their probabilities."""
    scores = [value.name for value in model.graph.output if value.type.tensor_type.elem_type in _FLOATS]
    if classes and len(scores) == len(classes):
        metadata.write(model, {"class_labels": dict(zip(scores, classes, strict=True))})
