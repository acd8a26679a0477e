"""One ONNX model: an Arrow batch of features in, an Arrow batch of predictions out.

The score step uses it, and so can any program that scores in its own process:

    scorer = Scorer(Path("models/flight_delay.onnx").read_bytes(), spec)
    predictions = scorer.score(batch)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from prescore.catalog.types import ARRAYS
from prescore.errors import DomainInvalid, ModelFailed, ModelInvalid
from prescore.project.spec import Output, Spec
from prescore.scoring import arrays, conversion, signature
from prescore.scoring.signature import TENSOR_TYPES, Nodes

# ONNX Runtime reads this at import, and otherwise gives the machine an identifier.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

Tensor = np.ndarray[Any, Any]


class Scorer:
    """An ONNX model with the spec that maps columns to its inputs and its outputs to columns.

    Raises ModelInvalid when the file is not an ONNX model or does not match the spec. Safe to share between threads.

    `threads` is the number of threads of one call. The score step makes several single-threaded calls at the same time
    instead, so that predictions do not depend on the number of cores.
    """

    def __init__(self, content: bytes, spec: Spec, *, threads: int = 1) -> None:
        self.spec = spec
        self.session = _load(content, spec, threads)
        self._inputs = _by_name(self.session.get_inputs())
        outputs = _by_name(self.session.get_outputs())
        _require_match(spec, self._inputs, outputs)
        sources = [output.source for output in spec.outputs.values()]
        # Several columns may come from one output, such as the probabilities of several classes.
        self._output_names = list(dict.fromkeys(sources))

    @property
    def features(self) -> dict[str, pa.DataType]:
        """Feature columns, each with the Arrow type that the model takes it as."""
        types = {}
        for name, columns in self.spec.onnx.inputs.items():
            node = self._inputs[name]
            for column in columns:
                types[column] = TENSOR_TYPES[node.type]
        return types

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a prediction for every row of a batch: one column per output of the spec, in its order and type.

        The batch holds the feature columns; other columns are ignored. Raises DomainInvalid for a feature that is
        missing, null where the spec forbids it, or not exactly convertible; ModelFailed when the model fails on some
        row or returns a value that its output column cannot hold; and ModelInvalid when it returns a different number
        of rows.
        """
        spec = self.spec
        feed = {}
        for name, columns in spec.onnx.inputs.items():
            feed[name] = self._tensor(name, columns, batch)
        try:
            tensors = self.session.run(self._output_names, feed)
        # ONNX Runtime's exceptions have no common base class.
        except Exception as error:
            raise ModelFailed(f"{spec.onnx.file} failed in ONNX Runtime: {error}") from error
        tensor_by_name = dict(zip(self._output_names, tensors, strict=True))
        predictions = {}
        for name, output in spec.outputs.items():
            tensor = tensor_by_name[output.source]
            if output.type in ARRAYS:
                predictions[name] = arrays.to_lists(name, output, tensor, batch.num_rows)
                continue
            values = _select_column(output, tensor, batch.num_rows)
            predictions[name] = _to_column(name, output, values)
        return pa.record_batch(predictions)

    def _tensor(
        self,
        name: str,
        columns: tuple[str, ...],
        batch: pa.RecordBatch,
    ) -> Tensor:
        """Return the value of one input: a vector, or a matrix with one column per feature."""
        node = self._inputs[name]
        arrow_type = TENSOR_TYPES[node.type]
        arrays = [self._feature(column, batch, arrow_type) for column in columns]
        first = arrays[0]
        if len(node.shape) == 1:
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
        onnx = self.spec.onnx
        try:
            column = batch.column(name)
        except KeyError as error:
            available = ", ".join(batch.schema.names)
            raise DomainInvalid(f"{onnx.file} needs the feature {name}, but the batch has only {available}.") from error
        if column.null_count and name not in onnx.nullable:
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
    message = f"Feature {column} is null. Fill it in the domain query"
    if pa.types.is_floating(arrow_type):
        message += f", or pass nulls to the model as NaN with onnx.nullable = [{column!r}]"
    return f"{message}."


def _require_match(spec: Spec, inputs: Nodes, outputs: Nodes) -> None:
    mismatches = list(signature.mismatches(spec, inputs, outputs))
    if not mismatches:
        return
    lines = "\n  ".join(mismatches)
    raise ModelInvalid(f"{spec.onnx.file} does not match the spec of {spec.model}:\n  {lines}")


def _by_name(nodes: Iterable[Any]) -> dict[str, Any]:
    return {node.name: node for node in nodes}


def _load(content: bytes, spec: Spec, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Only fatal errors: every other error is raised as well, and would be shown twice.
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
        )
    # ONNX Runtime's exceptions have no common base class.
    except Exception as error:
        message = f"{spec.onnx.file} cannot be loaded as an ONNX model"
        if "INVALID_PROTOBUF" in str(error):
            raise ModelInvalid(
                f"{message}: it is truncated, or not an ONNX file. "
                "Export the model again, and check that onnx.file names the exported file."
            ) from error
        raise ModelInvalid(f"{message}: {error}") from error


def _select_column(output: Output, tensor: Tensor, rows: int) -> Tensor:
    """Return the column of an output tensor that the spec selects; raise ModelInvalid for another shape."""
    source = output.source
    if tensor.ndim not in (1, 2):
        raise ModelInvalid(
            f"Output {source} has {tensor.ndim} dimensions, but prescore reads one or two: rows, or rows and "
            "columns. Export the model with such an output."
        )
    if len(tensor) != rows:
        raise ModelInvalid(
            f"Output {source} has {len(tensor)} rows for {rows} rows of input, but must have one for each. "
            "Check that the model does not aggregate over the batch."
        )
    if tensor.ndim == 1:
        return tensor
    width = tensor.shape[1]
    index = output.index
    if index is None and width != 1:
        raise ModelInvalid(f"Output {source} has {width} columns. Choose one with index, counted from 0, in the spec.")
    return tensor[:, index or 0]


def _to_column(name: str, output: Output, values: Tensor) -> pa.Array:
    """Return predictions as the type of their output; raise ModelFailed for one that does not fit it."""
    predictions = pa.array(np.ascontiguousarray(values), from_pandas=False)
    predicted_type = predictions.type
    if output.type == "boolean" and pa.types.is_integer(predicted_type):
        return _to_booleans(name, values)
    try:
        # A spec that stores doubles as real accepts the rounding. Integers are never rounded.
        column = conversion.convert(
            name,
            predictions,
            conversion.ARROW[output.type],
            allow_precision_loss=pa.types.is_floating(predicted_type),
        )
        conversion.refuse_nul(name, column)
    except DomainInvalid as error:
        raise ModelFailed(f"Output {name}: {error}") from error
    return column


def _to_booleans(name: str, labels: Tensor) -> pa.Array:
    """Return the labels 0 and 1 as false and true; raise ModelFailed for any other label."""
    invalid = labels[(labels != 0) & (labels != 1)]
    if invalid.size:
        raise ModelFailed(
            f"Output {name}: the model returned the label {invalid[0]}, which is neither 0 nor 1 and so not a boolean. "
            "Give the output an integer type in the spec."
        )
    return pa.array(labels.astype(bool))
