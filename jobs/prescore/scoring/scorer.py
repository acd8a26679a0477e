"""Score with a model and its signature: an Arrow batch of features in, an Arrow batch of predictions out."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Self

import numpy as np
import pyarrow as pa

from prescore.catalog.types import ARRAYS
from prescore.errors import DomainInvalid, ModelInvalid
from prescore.scoring import arrays, conversion, predictions, signature
from prescore.scoring.expected import is_missing
from prescore.scoring.session import ModelSession
from prescore.scoring.signature import Input, Signature, Tensor


class Scorer:
    """A model and its signature. Safe to share between threads.

    Raises ModelInvalid when the model does not have the inputs and outputs of the signature.
    """

    def __init__(self, session: ModelSession, signature: Signature) -> None:
        self.session = session
        self.signature = signature
        absent = [name for name in signature.inputs if name not in session.inputs]
        absent += [source for source in signature.sources if source not in session.outputs]
        if absent:
            raise ModelInvalid(f"{session.name} has no {', '.join(absent)}, which its signature names.")

    @property
    def features(self) -> dict[str, pa.DataType]:
        """Feature columns, each with the Arrow type that the model takes it as."""
        return self.signature.features

    def with_columns(self, columns: Mapping[str, tuple[str, ...]]) -> Self:
        """Return a scorer of the same model whose inputs take their features in another order."""
        scorer = copy(self)
        scorer.signature = self.signature.with_columns(columns)
        return scorer

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a prediction for every row of a batch: one column per output of the signature, in its order and type.

        The batch holds the feature columns; other columns are ignored. Raises DomainInvalid for a feature that is
        missing, null where the signature forbids it, or not exactly convertible; ModelFailed when the model fails on
        some row or returns a value that its output column cannot hold; and ModelInvalid when what it returns has
        another number of rows, or columns that do not fit the signature.
        """
        tensors = self.tensors(batch)
        columns = {}
        for name, selection in self.signature.outputs.items():
            tensor = tensors[selection.source]
            if selection.type in ARRAYS:
                columns[name] = arrays.to_lists(selection, tensor)
                continue
            values = signature.select_column(tensor, selection)
            columns[name] = predictions.convert(name, selection.type, values)
        return pa.record_batch(columns)

    def tensors(self, batch: pa.RecordBatch, sources: list[str] | None = None) -> dict[str, Tensor]:
        """Return outputs of the model, by default those of the signature: each has a row for each row of a batch.

        Raises what `score` raises.
        """
        feed = {name: self._tensor(node, batch) for name, node in self.signature.inputs.items()}
        sources = sources or self.signature.sources
        batch_rows = self.signature.batch_rows
        parts: dict[str, list[Tensor]] = {source: [] for source in sources}
        # An empty batch takes one call, too.
        for start in range(0, max(batch.num_rows, 1), batch_rows):
            end = min(start + batch_rows, batch.num_rows)
            rows = {name: tensor[start:end] for name, tensor in feed.items()}
            tensors = self.session.run(sources, rows)
            for source, tensor in zip(sources, tensors, strict=True):
                part = signature.rows_first(source, tensor, end - start)
                parts[source].append(part)
        return {source: _join(source, tensors) for source, tensors in parts.items()}

    def _tensor(self, node: Input, batch: pa.RecordBatch) -> Tensor:
        """Return the value of one input: a vector, or a matrix with one column per feature."""
        arrays = [self._feature(feature, batch, node.arrow_type) for feature in node.features]
        first = arrays[0]
        if node.is_vector:
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
        try:
            column = batch.column(name)
        except KeyError as error:
            available = ", ".join(batch.schema.names)
            raise DomainInvalid(f"{self.session.name} needs the feature {name}; it was given {available}.") from error
        if name not in self.signature.nullable and is_missing(column).any():
            raise DomainInvalid(null_message(name, arrow_type))
        converted = conversion.convert(
            name,
            column,
            arrow_type,
            allow_precision_loss=name in self.signature.allow_precision_loss,
        )
        values: Tensor = converted.to_numpy(zero_copy_only=False)
        return values


def null_message(column: str, arrow_type: pa.DataType) -> str:
    """Return the message for a feature that is null although the spec does not allow it."""
    message = f"Feature {column} is null or NaN. Fill it in the domain query"
    if pa.types.is_floating(arrow_type):
        message += f", or pass nulls to the model as NaN with onnx.nullable = [{column!r}]"
    return f"{message}."


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
