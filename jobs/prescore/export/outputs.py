"""The outputs of an exported model: tensors that prescore can publish, under names that say what they are."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, TensorProto

from prescore.errors import Mistake

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)


def name_outputs(model: ModelProto, targets: Sequence[str] | None, *, has_scores: bool) -> None:
    """Leave out what a classifier without probabilities returns beside its label, and name the targets."""
    if not has_scores and len(model.graph.output) > 1:
        kept = [value for value in model.graph.output if value.type.tensor_type.elem_type not in _FLOATS]
        del model.graph.output[:]
        model.graph.output.extend(kept)
    if targets is not None:
        raise Mistake("targets are not supported yet.")
