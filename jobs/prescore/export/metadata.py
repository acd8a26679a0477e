"""The metadata of an exported file: what `prescore init`, and a person, cannot see in the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from onnx import ModelProto

from prescore.export.columns import Column


def write(model: ModelProto, values: Mapping[str, Any]) -> None:
    """Add values to the metadata of a model, as JSON."""
    for key, value in values.items():
        entry = model.metadata_props.add()
        entry.key = key
        entry.value = json.dumps(value, ensure_ascii=False, default=str)


def describe(model: ModelProto, columns: Sequence[Column], missing_text: str) -> None:
    """Write the names of the features, their categories, and what the model takes for a missing value of each."""
    write(model, {"feature_names": [column.name for column in columns]})
    categories = {column.name: list(column.categories) for column in columns if column.categories is not None}
    if categories:
        write(model, {"categories": categories})
    missing = {column.name: missing_text if column.kind == "text" else None for column in columns if column.has_missing}
    if missing:
        write(model, {"missing_values": missing})
