"""The columns that a snapshot needs of the domain: those of the table, those of the model, and the clock."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pyarrow as pa

from prescore.project.spec import Spec
from prescore.scoring.column_conversion import ColumnConverter, Types
from prescore.scoring.column_types import ARROW
from prescore.scoring.scorer import null_message
from prescore.sources.source import Needed, Stream
from prescore.wording import similar_name


def needed_columns(spec: Spec, features: Types) -> dict[str, Needed]:
    """Return the columns that the domain query must return; a source reads no others."""
    needed = {}
    clock = clock_column(spec)
    if clock is not None:
        needed[clock] = Needed(None)
    for column in (*feature_columns(spec, features), *stored_columns(spec)):
        needed[column.name] = Needed(column.target, may_round=column.allow_precision_loss)
    return needed


def snapshot_schema(spec: Spec, features: Types) -> pa.Schema:
    """Return the columns of a snapshot: those of the table that the domain has, then the features that are not."""
    types = {column.name: column.target for column in stored_columns(spec)}
    for column in feature_columns(spec, features):
        types.setdefault(column.name, column.target)
    return pa.schema(list(types.items()))


def stored_columns(spec: Spec) -> list[ColumnConverter]:
    """Return the key and passthrough columns, which the table has as they are."""
    columns = []
    table_columns = {**spec.key, **spec.passthrough}
    for name, type_name in table_columns.items():
        target = ARROW[type_name]
        column = ColumnConverter(name, target, is_stored=True)
        columns.append(column)
    return columns


def feature_columns(spec: Spec, features: Types) -> list[ColumnConverter]:
    """Return the columns that the model takes or, without a model, those that are its predictions."""
    columns = []
    for name, target in features.items():
        if spec.onnx is None:
            column = ColumnConverter(name, target, is_stored=True)
        else:
            column = ColumnConverter(name, target, name in spec.onnx.allow_precision_loss)
        columns.append(column)
    return columns


def clock_column(spec: Spec) -> str | None:
    """Return the column with the time that the inputs describe, None if the spec names none."""
    clock = spec.domain.data_as_of
    if clock is None:
        return None
    return clock.column


def never_null(spec: Spec, features: Types) -> dict[str, str]:
    """Return the columns that must not be null, each with the reason for rejecting a row where it is."""
    reasons = {}
    for name in spec.key:
        reasons[name] = f"Key column {name} is null: a row without a key cannot be looked up"
    outputs = output_names(spec)
    for name, arrow_type in features.items():
        if spec.onnx is None:
            output = outputs[name]
            column = "" if output == name else f" (column {name} of the domain query)"
            reasons.setdefault(name, f"Prediction {output}{column} is null")
        elif name not in spec.onnx.nullable:
            reasons.setdefault(name, null_message(name, arrow_type))
    return reasons


def output_names(spec: Spec) -> dict[str, str]:
    """Return the outputs that are columns of the domain query, by the name that they have there."""
    outputs: dict[str, str] = {}
    if spec.onnx is None:
        for name, output in spec.outputs.items():
            outputs.setdefault(output.source or name, name)
    return outputs


def faults(spec: Spec, features: Types, domain: Stream) -> Iterator[str]:
    """Yield needed columns that the domain query does not return, or returns twice."""
    roles = dict.fromkeys(spec.key, "key")
    roles |= dict.fromkeys(spec.passthrough, "passthrough")
    # A user who forgot the section sees why the query must return predictions.
    roles |= dict.fromkeys(features, "feature" if spec.onnx else "prediction, as the spec has no [onnx] section")
    clock = clock_column(spec)
    if clock is not None:
        roles[clock] = "data_as_of"
    names = list(domain.names)
    for name, role in roles.items():
        if name not in names:
            unused = [other for other in names if other not in roles]
            yield f"Column {name} ({role}) is missing; {_returned(name, names, unused)}."
    for name in sorted(roles):
        if names.count(name) > 1:
            yield f"Column {name} appears more than once in the query's result. Rename one of them with AS."


def _returned(missing: str, names: list[str], unused: list[str]) -> str:
    """Return what the query returns instead of a missing column, and which of its unused columns may be meant."""
    for name in names:
        if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", missing):
            return (
                f"the query returns {name}, which looks the same, but has other Unicode characters: an accented letter "
                "is one character or two. Write the name in the query as it is in the spec"
            )
    listed = f"the query returns {', '.join(names) or 'none at all'}"
    similar = similar_name(missing, unused)
    if similar is None:
        return listed
    return f"{listed}. Did you mean {similar}? Then write {similar} as {missing} in the query"
