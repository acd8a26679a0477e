"""Match a spec with a model file: a spec is one way to make a signature."""

from __future__ import annotations

from prescore.errors import ModelInvalid
from prescore.project.spec import Onnx, Spec
from prescore.scoring.graph import Graph
from prescore.scoring.input_matching import InputMatching
from prescore.scoring.output_matching import OutputMatching
from prescore.scoring.session import ModelSession
from prescore.scoring.signature import Signature

# What the numbers inside of a model may take in one call, and the most rows of a call, whatever they take.
_CALL_BYTES = 2**27
_MOST_ROWS = 16_384


def signature(spec: Spec, onnx: Onnx, session: ModelSession) -> Signature:
    """Return the signature of a model file with the columns of a spec, whose section [onnx] is `onnx`.

    Raises ModelInvalid, with every mismatch, when model and spec do not fit together by what the model declares.
    """
    inputs = InputMatching(onnx, session)
    outputs = OutputMatching(spec.outputs, session)
    mismatches = [*inputs.mismatches(), *outputs.mismatches]
    if mismatches:
        lines = "\n  ".join(mismatches)
        raise ModelInvalid(f"{onnx.file} does not match the spec of {spec.model}:\n  {lines}")
    return Signature(
        inputs=inputs.inputs,
        outputs=outputs.selections,
        nullable=onnx.nullable,
        allow_precision_loss=onnx.allow_precision_loss,
        batch_rows=onnx.batch_rows or _batch_rows(session.graph),
        batch_dependence=onnx.allow_batch_dependence,
    )


def _batch_rows(graph: Graph) -> int:
    """Return how many rows to score in one call, so that a wide model does not take gigabytes.

    It depends on the model alone, as the last digits of its predictions do on the number of rows.
    """
    bytes_per_row = 4 * graph.widest
    return max(min(_CALL_BYTES // bytes_per_row, _MOST_ROWS), 1)
