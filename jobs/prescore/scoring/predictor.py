"""What the steps need of that which makes predictions: a model file, or a domain that already has them."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from prescore.project.spec import Spec
from prescore.scoring.signature import Signature


class Predictor(Protocol):
    """Makes predictions for rows of the domain. Safe to share between threads."""

    @property
    def spec(self) -> Spec:
        """The spec of the model."""

    @property
    def signature(self) -> Signature | None:
        """The signature of its model file, None if predictions are made elsewhere."""

    @property
    def features(self) -> dict[str, pa.DataType]:
        """The columns of the domain that it needs, each with its Arrow type."""

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a prediction for every row of a batch: one column per output of the spec, in its order and type."""
