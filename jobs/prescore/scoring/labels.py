"""Whether the labels that a model returns are among the classes that its file names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from prescore.errors import ModelFailed, ModelInvalid
from prescore.scoring.graph import Label
from prescore.scoring.signature import Tensor
from prescore.scoring.spec_scorer import SpecScorer


def require_known(scorer: SpecScorer, rows: pa.RecordBatch) -> None:
    """Raise ModelInvalid if the model labels one of the rows with something that is not one of its own classes.

    Rows on which the model fails are not looked at, and neither are those beside them.
    """
    for source in scorer.signature.sources:
        classes = scorer.graph.label_classes(source)
        if classes is None:
            continue
        try:
            labels = scorer.tensors(rows, [source])[source]
        except ModelFailed:
            continue
        unknown = labels[~_are_among(labels, classes)]
        if unknown.size:
            raise ModelInvalid(
                f"Output {source} of {scorer.onnx.file} returned the label {unknown[0]!s}, which is not one of the "
                f"classes that the file names: {', '.join(map(str, classes))}. The export does not return what was "
                "trained. Train with the labels 0 and 1 or with texts, or publish the probability of a class. "
                "docs/export/known-wrong.md lists such exports."
            )


def _are_among(labels: Tensor, classes: tuple[Label, ...]) -> Tensor:
    """Return for each label whether it is one of the classes, which it may be as a text, a boolean or a float."""
    has_text = any(isinstance(label, str) for label in classes)
    if labels.dtype.kind in "biuf" and not has_text:
        numbers = np.array(classes, np.float64)
        return np.isin(labels.astype(np.float64), numbers)
    texts = np.array(classes).astype(str)
    return np.isin(labels.astype(str), texts)
