"""One ONNX model: Arrow batch in, Arrow batch out.

Used by the score step, by the live API, and by applications that score in their own process:

    scorer = Scorer(Path("models/flight_delay.onnx").read_bytes(), spec)
    predictions = scorer.score(batch)
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow as pa

from prescore.errors import DomainInvalid, ModelFailed, ModelInvalid
from prescore.project.spec import Output, Spec
from prescore.scoring import conversion

# It gives the machine an id when it is imported, and asks no later.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

_TENSORS: dict[str, pa.DataType] = {
    "tensor(float)": pa.float32(),
    "tensor(double)": pa.float64(),
    "tensor(int64)": pa.int64(),
    "tensor(int32)": pa.int32(),
    "tensor(bool)": pa.bool_(),
    "tensor(string)": pa.string(),
}


class Scorer:
    """A model and the part of its spec that says what goes in and what comes out.

    Raises ModelInvalid when the two do not fit. Safe to share between threads. `threads` are those of one call;
    the score step runs calls side by side instead, which keeps the numbers independent of how many cores there are.
    """

    def __init__(self, content: bytes, spec: Spec, *, threads: int = 1) -> None:
        self.spec = spec
        self.session = _session(content, spec, threads)
        self._inputs = {node.name: node for node in self.session.get_inputs()}
        self._outputs = {node.name: node for node in self.session.get_outputs()}
        faults = [*self._input_faults(), *self._output_faults()]
        if faults:
            raise ModelInvalid(f"{spec.onnx.file} and the spec of {spec.model} do not fit:\n  " + "\n  ".join(faults))
        self._wanted = list(dict.fromkeys(output.source for output in spec.outputs.values()))

    @property
    def features(self) -> dict[str, pa.DataType]:
        """The feature columns and the Arrow type that the model takes each as."""
        return {c: _TENSORS[self._inputs[name].type] for name, cs in self.spec.onnx.inputs.items() for c in cs}

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Predictions of every row: one column an output of the spec, in its order and type.

        `batch` holds the feature columns (others are passed over). Raises DomainInvalid for a feature that is absent,
        null where the spec forbids it, or not exactly convertible, ModelFailed when the model fails on some row, or
        answers with a value that its output cannot hold, and ModelInvalid when it answers with another number of rows.
        """
        feed = {name: self._tensor(name, cs, batch) for name, cs in self.spec.onnx.inputs.items()}
        try:
            answers = self.session.run(self._wanted, feed)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise ModelFailed(f"{self.spec.onnx.file} fails: {error}") from error
        by_name = dict(zip(self._wanted, answers, strict=True))
        arrays = [self._prediction(n, o, by_name[o.source], batch.num_rows) for n, o in self.spec.outputs.items()]
        return pa.record_batch(arrays, names=list(self.spec.outputs))

    def _tensor(self, name: str, sources: tuple[str, ...], batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
        node = self._inputs[name]
        arrays = [self._feature(column, batch, _TENSORS[node.type]) for column in sources]
        if len(sources) == 1:
            return arrays[0] if len(node.shape) == 1 else arrays[0].reshape(-1, 1)
        matrix = np.empty((batch.num_rows, len(arrays)), dtype=arrays[0].dtype)
        for i, array in enumerate(arrays):
            matrix[:, i] = array
        return matrix

    def _feature(self, column: str, batch: pa.RecordBatch, want: pa.DataType) -> np.ndarray[Any, Any]:
        try:
            array = batch.column(column)
        except KeyError as error:
            raise DomainInvalid(f"The model needs feature {column}, which the batch lacks.") from error
        onnx = self.spec.onnx
        if array.null_count and column not in onnx.nullable:
            raise DomainInvalid(null_message(column, want))
        array = conversion.convert(column, array, want, allow_precision_loss=column in onnx.allow_precision_loss)
        values: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
        return values

    def _prediction(self, name: str, output: Output, answer: Any, rows: int) -> pa.Array:
        if answer.ndim not in (1, 2):
            raise ModelInvalid(f"Output {output.source} has {answer.ndim} dimensions; prescore reads rows and columns.")
        if len(answer) != rows:
            raise ModelInvalid(f"Output {output.source} has {len(answer)} rows for {rows} rows of input.")
        if answer.ndim == 2 and output.index is None and answer.shape[1] != 1:
            raise ModelInvalid(f"Output {output.source} has {answer.shape[1]} columns; say which with index.")
        values = answer if answer.ndim == 1 else answer[:, output.index or 0]
        want = conversion.ARROW[output.type]
        array = pa.array(np.ascontiguousarray(values), from_pandas=False)
        if output.type == "boolean" and pa.types.is_integer(array.type):
            return _booleans(name, array)
        try:
            # The type in the spec names the narrowing, so a float may lose digits here; an integer may not.
            converted = conversion.convert(name, array, want, allow_precision_loss=pa.types.is_floating(array.type))
            conversion.refuse_nul(name, converted)
        except DomainInvalid as error:
            raise ModelFailed(f"Output {name}: {error}") from error
        return converted

    def _input_faults(self) -> list[str]:
        mapped = self.spec.onnx.inputs
        unfed = sorted(set(self._inputs) - set(mapped))
        faults = [f"onnx.inputs lacks {n}, which the model needs" for n in unfed]
        faults += [
            f"onnx.inputs.{n}: the model has no such input; it has {', '.join(self._inputs)}"
            for n in mapped
            if n not in self._inputs
        ]
        for name, sources in mapped.items():
            if name in self._inputs:
                faults += _shape_faults(self._inputs[name], sources)
        kinds: dict[str, set[str]] = {}
        for name, sources in mapped.items():
            for column in sources if name in self._inputs else ():
                kinds.setdefault(column, set()).add(self._inputs[name].type)
        faults += [
            f"feature {c} feeds inputs of different types: {', '.join(sorted(k))}"
            for c, k in kinds.items()
            if len(k) > 1
        ]
        texts = [c for c in self.spec.onnx.nullable if kinds.get(c, set()) - {"tensor(float)", "tensor(double)"}]
        faults += [
            f"onnx.nullable: {c} is no float in the model, so it has no way to say missing" for c in sorted(texts)
        ]
        return faults

    def _output_faults(self) -> list[str]:
        return [f for name, output in self.spec.outputs.items() for f in _output_faults(name, output, self._outputs)]


def null_message(column: str, kind: pa.DataType) -> str:
    """What to say of a feature that is null where the spec does not allow it."""
    as_nan = f", or hand it to the model as NaN with onnx.nullable = [{column!r}]" if pa.types.is_floating(kind) else ""
    return f"Feature {column} is null: fill it in the domain query{as_nan}."


def _session(content: bytes, spec: Spec, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Faults are raised as well; once is enough.
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        if "INVALID_PROTOBUF" in str(error):
            raise ModelInvalid(
                f"{spec.onnx.file} cannot be loaded as an ONNX model: it was cut short, or is a file of another kind "
                "under that name. Export the model again, and see that onnx.file names what the export wrote."
            ) from error
        raise ModelInvalid(f"{spec.onnx.file} cannot be loaded as an ONNX model: {error}") from error


def _shape_faults(node: Any, sources: tuple[str, ...]) -> list[str]:
    if node.type not in _TENSORS:
        return [f"input {node.name} is {node.type}; prescore feeds {', '.join(_TENSORS)}"]
    width = node.shape[1] if len(node.shape) == 2 else 1
    if len(node.shape) > 2:
        return [f"input {node.name} has {len(node.shape)} dimensions; prescore feeds rows and columns"]
    if isinstance(width, int) and width != len(sources):
        return [f"onnx.inputs.{node.name} takes {width} columns; the spec names {', '.join(sources)}"]
    return []


def _output_faults(name: str, output: Output, nodes: dict[str, Any]) -> list[str]:
    if output.source not in nodes:
        maps = any(node.type.startswith("seq") for node in nodes.values())
        way_out = "; export the model with tensors, not maps (skl2onnx: zipmap=False)" if maps else ""
        return [f"outputs.{name}.from: the model has no output {output.source}; it has {', '.join(nodes)}{way_out}"]
    node = nodes[output.source]
    if node.type not in _TENSORS:
        return [
            f"outputs.{name}: {output.source} is {node.type}; export the model with tensors (skl2onnx: zipmap=False)"
        ]
    width = node.shape[1] if len(node.shape) == 2 else 1
    if output.index is None and isinstance(width, int) and width > 1:
        return [f"outputs.{name}: {output.source} has {width} columns; say which with index"]
    if output.index is not None and isinstance(width, int) and output.index >= width:
        return [f"outputs.{name}.index: {output.source} has {width} columns, counted from 0"]
    have, want = _TENSORS[node.type], conversion.ARROW[output.type]
    boolean = output.type == "boolean" and pa.types.is_integer(have)
    if pa.types.is_string(have) != pa.types.is_string(want) or (
        output.type == "boolean" and not boolean and have != want
    ):
        return [f"outputs.{name}: {output.source} is {node.type}, which is no {output.type}"]
    return []


def _booleans(name: str, array: pa.Array) -> pa.Array:
    """0 and 1 as false and true; any other label is no boolean."""
    labels = array.to_numpy()
    if ((labels != 0) & (labels != 1)).any():
        raise ModelFailed(f"Output {name}: the model answered {labels.max()}, which is neither 0 nor 1.")
    return pa.array(labels.astype(bool))
