"""Score with an ONNX model: an Arrow batch of features in, an Arrow batch of predictions out.

The score step uses it, and so can any program that scores in its own process:

    scorer = Scorer(ModelFile.read(Path("models/flight_delay.onnx")), spec)
    predictions = scorer.score(batch)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from typing import Self

import numpy as np
import pyarrow as pa

from prescore.catalog.types import ARRAYS
from prescore.errors import DomainInvalid, ModelFailed, ModelInvalid
from prescore.project.spec import Spec
from prescore.scoring import arrays, conversion, predictions, signature
from prescore.scoring.expected import is_missing
from prescore.scoring.graph import Graph
from prescore.scoring.signature import TENSOR_TYPES, Signature, Tensor
from prescore.store.model_file import ModelFile

# ONNX Runtime reads this at import, and otherwise gives the machine an identifier.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

RUNTIME = f"ONNX Runtime {ort.__version__}"
"""The program that computes predictions, as the catalog records it."""

# What the numbers inside of a model may take in one call, and the most rows of a call, whatever they take.
_CALL_BYTES = 2**27
_MOST_ROWS = 16_384


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


class Scorer:
    """An ONNX model with the spec that maps columns to its inputs and its outputs to columns.

    Raises ModelInvalid when the file is not an ONNX model or does not match the spec. Safe to share between threads.

    `threads` is the number of threads of one call. The score step makes several single-threaded calls at the same time
    instead, so that predictions do not depend on the number of cores.
    """

    def __init__(self, model: ModelFile, spec: Spec, *, threads: int = 1) -> None:
        if spec.onnx is None:
            raise ModelInvalid(f"The spec of {spec.model} has no [onnx] section: its predictions are made elsewhere.")
        self.spec = spec
        self.onnx = spec.onnx
        self.graph = Graph.parse(model.content, self.onnx.file)
        self.session = open_session(model, self.graph, self.onnx.file, threads)
        inputs = {node.name: node for node in self.session.get_inputs()}
        outputs = {node.name: node for node in self.session.get_outputs()}
        self.signature = Signature(spec.model, self.onnx, spec.outputs, self.graph, inputs, outputs)
        self.batch_rows = self.onnx.batch_rows or _batch_rows(self.graph)

    @property
    def features(self) -> dict[str, pa.DataType]:
        """Feature columns, each with the Arrow type that the model takes it as."""
        return self.signature.features

    def with_inputs(self, inputs: Mapping[str, tuple[str, ...]]) -> Self:
        """Return a scorer of the same model whose inputs take their features in another order."""
        scorer = copy(self)
        scorer.signature = copy(self.signature)
        scorer.signature.inputs = dict(inputs)
        return scorer

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a prediction for every row of a batch: one column per output of the spec, in its order and type.

        The batch holds the feature columns; other columns are ignored. Raises DomainInvalid for a feature that is
        missing, null where the spec forbids it, or not exactly convertible; ModelFailed when the model fails on some
        row or returns a value that its output column cannot hold; and ModelInvalid when what it returns has another
        number of rows, or columns that do not fit the spec.
        """
        tensors = self.tensors(batch)
        columns = {}
        for name, selection in self.signature.outputs.items():
            output = self.spec.outputs[name]
            tensor = tensors[selection.source]
            if output.type in ARRAYS:
                columns[name] = arrays.to_lists(output, selection, tensor)
                continue
            values = signature.select_column(tensor, selection)
            columns[name] = predictions.convert(name, output.type, values)
        return pa.record_batch(columns)

    def tensors(self, batch: pa.RecordBatch, sources: list[str] | None = None) -> dict[str, Tensor]:
        """Return outputs of the model, by default those that the spec needs: each has a row for each row of a batch.

        Raises what `score` raises.
        """
        feed = {}
        for name, columns in self.signature.inputs.items():
            feed[name] = self._tensor(name, columns, batch)
        sources = sources or self.signature.sources
        parts: dict[str, list[Tensor]] = {source: [] for source in sources}
        # An empty batch takes one call, too.
        for start in range(0, max(batch.num_rows, 1), self.batch_rows):
            end = min(start + self.batch_rows, batch.num_rows)
            rows = {name: tensor[start:end] for name, tensor in feed.items()}
            for source, tensor in self._call(sources, rows, end - start).items():
                parts[source].append(tensor)
        return {source: _join(source, tensors) for source, tensors in parts.items()}

    def _call(self, sources: list[str], feed: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
        try:
            tensors = self.session.run(sources, feed)
        # ONNX Runtime's exceptions have no common base class.
        except Exception as error:
            raise ModelFailed(f"{self.onnx.file} failed in ONNX Runtime: {error}") from error
        pairs = zip(sources, tensors, strict=True)
        return {source: signature.rows_first(source, tensor, rows) for source, tensor in pairs}

    def _tensor(
        self,
        name: str,
        columns: tuple[str, ...],
        batch: pa.RecordBatch,
    ) -> Tensor:
        """Return the value of one input: a vector, or a matrix with one column per feature."""
        arrow_type = TENSOR_TYPES[self.signature.nodes[name].type]
        arrays = [self._feature(column, batch, arrow_type) for column in columns]
        first = arrays[0]
        if self.signature.is_vector(name):
            return first
        if len(arrays) == 1:
            return first.reshape(-1, 1)
        shape = (batch.num_rows, len(arrays))
        matrix = np.empty(shape, dtype=first.dtype)
        for i, array in enumerate(arrays):
            matrix[:, i] = array
        return matrix

    def _feature(
        self,
        name: str,
        batch: pa.RecordBatch,
        arrow_type: pa.DataType,
    ) -> Tensor:
        onnx = self.onnx
        try:
            column = batch.column(name)
        except KeyError as error:
            available = ", ".join(batch.schema.names)
            raise DomainInvalid(f"{onnx.file} needs the feature {name}; it was given {available}.") from error
        if name not in onnx.nullable and is_missing(column).any():
            raise DomainInvalid(null_message(name, arrow_type))
        converted = conversion.convert(
            name,
            column,
            arrow_type,
            allow_precision_loss=name in onnx.allow_precision_loss,
        )
        values: Tensor = converted.to_numpy(zero_copy_only=False)
        return values


def null_message(column: str, arrow_type: pa.DataType) -> str:
    """Return the message for a feature that is null although the spec does not allow it."""
    message = f"Feature {column} is null or NaN. Fill it in the domain query"
    if pa.types.is_floating(arrow_type):
        message += f", or pass nulls to the model as NaN with onnx.nullable = [{column!r}]"
    return f"{message}."


def open_session(model: ModelFile, graph: Graph, name: str, threads: int) -> ort.InferenceSession:
    """Open a session of ONNX Runtime; raise ModelInvalid, with the file's `name`, if it cannot load the model."""
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


def _batch_rows(graph: Graph) -> int:
    """Return how many rows to score in one call, so that a wide model does not take gigabytes.

    It depends on the model alone, as the last digits of its predictions do on the number of rows.
    """
    bytes_per_row = 4 * graph.widest
    return max(min(_CALL_BYTES // bytes_per_row, _MOST_ROWS), 1)


def _join(source: str, parts: list[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise ModelInvalid(
            f"Output {source} has another number of columns when the model scores another number of rows. "
            "Check that the model treats each row by itself."
        )
    return np.concatenate(parts)
