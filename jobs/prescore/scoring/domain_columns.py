"""Predictions that were made elsewhere: columns of the domain, published as they are."""

from __future__ import annotations

import pyarrow as pa

from prescore.project.spec import Spec
from prescore.scoring.column_types import ARROW


class DomainColumns:
    """The predictor of a spec without [onnx]: each output is a column of the domain query."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.signature = None

    @property
    def features(self) -> dict[str, pa.DataType]:
        """The columns that hold predictions, each with the Arrow type of its output."""
        types = {}
        for name, output in self.spec.outputs.items():
            types[output.source or name] = ARROW[output.type]
        return types

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the columns of a batch under the names of their outputs."""
        columns = {}
        for name, output in self.spec.outputs.items():
            columns[name] = batch.column(output.source or name)
        return pa.record_batch(columns)
