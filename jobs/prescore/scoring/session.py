"""A model file in ONNX Runtime."""

from __future__ import annotations

import os
from typing import Any

from prescore.errors import ModelFailed, ModelInvalid
from prescore.scoring.graph import Graph
from prescore.scoring.signature import Tensor
from prescore.store.model_file import ModelFile

# ONNX Runtime reads this at import, and otherwise gives the machine an identifier.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

RUNTIME = f"ONNX Runtime {ort.__version__}"
"""The program that computes predictions, as the catalog records it."""

# What is in a message of ONNX Runtime → what to do about it.
_ADVICE = {
    "bound to different types": (
        "\nThe model was exported for columns of float64 beside float32. Convert the features to float32, for example "
        "with frame.astype('float32'), train again and export again."
    ),
    "Failed to construct locale": (
        "\nThe model normalizes text with a locale that this machine does not have. Install it, as root on Debian and "
        "Ubuntu: apt-get install locales && localedef -i en_US -f UTF-8 en_US.UTF-8"
    ),
}


class ModelSession:
    """A model file that is loaded. Safe to share between threads.

    `name` is what messages call it, `threads` the number of threads of one call. `inputs` and `outputs` are ONNX
    Runtime's nodes by name, each with its `name`, `type` and `shape`. Raises ModelInvalid when the file is not an ONNX
    model, or cannot be loaded.
    """

    def __init__(self, model: ModelFile, name: str, threads: int = 1) -> None:
        self.name = name
        self.graph = Graph.parse(model.content, name)
        self._session = _open(model, self.graph, name, threads)
        self.inputs = {node.name: node for node in self._session.get_inputs()}
        self.outputs = {node.name: node for node in self._session.get_outputs()}

    def run(self, outputs: list[str], feed: dict[str, Tensor]) -> list[Tensor]:
        """Return outputs of the model for the value of each input; raise ModelFailed."""
        try:
            tensors: list[Tensor] = self._session.run(outputs, feed)
        # ONNX Runtime's exceptions have no common base class.
        except Exception as error:
            raise ModelFailed(f"{self.name} failed in ONNX Runtime: {error}") from error
        return tensors


def _open(model: ModelFile, graph: Graph, name: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Only fatal errors: every other error is raised as well, and would be shown twice.
    options.log_severity_level = 4
    # By default, a multiplication by weights of 4 bits rounds the features to 8 bits.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if model.weights:
        locations = list(model.weights)
        contents = list(model.weights.values())
        options.add_external_initializers_from_files_in_memory(locations, contents, list(map(len, contents)))
    try:
        return ort.InferenceSession(
            graph.loadable(model.weights) or model.content,
            options,
            providers=["CPUExecutionProvider"],
        )
    # ONNX Runtime's exceptions have no common base class.
    except Exception as error:
        advice = "".join(text for symptom, text in _ADVICE.items() if symptom in str(error))
        raise ModelInvalid(f"{name} cannot be loaded as an ONNX model: {error}{advice}") from error


def declared_width(node: Any) -> int | None:
    """Return the number of columns of a node, or None where the model leaves it open."""
    if len(node.shape) == 1:
        return 1
    width = node.shape[1] if len(node.shape) == 2 else None
    return width if isinstance(width, int) else None
