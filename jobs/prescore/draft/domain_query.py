"""The domain query of a draft: the key and the features, each cast where the model takes another type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.types as pat

from prescore.draft.dataset import Dataset, literal
from prescore.draft.features import Feature
from prescore.errors import Mistake
from prescore.scoring.column_types import ARROW

_KEY_TYPES = {
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.uint8(): "smallint",
    pa.int32(): "integer",
    pa.uint16(): "integer",
    pa.int64(): "bigint",
    pa.uint32(): "bigint",
    pa.string(): "text",
    pa.large_string(): "text",
    pa.string_view(): "text",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
    pa.timestamp("us", "UTC"): "timestamptz",
}
_FLOATS = {pa.float32(): "real", pa.float64(): "double precision"}
_HEADER = """\
-- The domain of {model}: one row for each prediction. Paths are relative to the project.
-- Numbers are cast to the type that the model takes, because prescore refuses a conversion that could lose digits.
"""


def key_type(dataset: Dataset, column: str) -> str:
    """Return the Postgres type of a key column; raise Mistake for one that cannot be a key."""
    kind = dataset.schema.field(column).type
    if pat.is_dictionary(kind):
        kind = kind.value_type
    hidden = dataset.hidden_types.get(column)
    if hidden is not None:
        found = "uuid" if ARROW["uuid"] in hidden.becomes else None
        kind = hidden.name
    else:
        found = _KEY_TYPES.get(kind)
    if found is None:
        raise Mistake(
            f"The key column {column} is {kind} in the data, and keys are integers, texts, dates, times or UUIDs. "
            "Write a query that casts it into a .sql file, and give that as --data."
        )
    return found


def write(model: str, dataset: Dataset, key: Mapping[str, str], features: Sequence[Feature]) -> str:
    """Return the text of the domain query. `key` maps the names of key columns to columns of the data."""
    lines = [_expression(dataset, Feature(name, column, pa.null())) for name, column in key.items()]
    lines += [_expression(dataset, feature) for feature in features if feature.name not in key]
    selected = ",\n  ".join(lines)
    return f"{_HEADER.format(model=model)}select\n  {selected}\nfrom {dataset.relation}\n"


def _expression(dataset: Dataset, feature: Feature) -> str:
    quoted = dataset.quote(feature.column)
    kind = dataset.schema.field(feature.column).type
    expression = quoted
    if feature.missing_text is not None:
        expression = f"coalesce({quoted}, {literal(feature.missing_text)})"
    elif dataset.is_file and feature.type in _FLOATS and is_wider(kind, feature.type):
        expression = f"cast({quoted} as {_FLOATS[feature.type]})"
    elif dataset.is_file and pat.is_integer(feature.type) and pat.is_boolean(kind):
        expression = f"cast({quoted} as integer)"
    is_plain = expression == quoted and feature.column == feature.name
    return expression if is_plain else f"{expression} as {dataset.quote(feature.name)}"


def is_wider(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether a type of numbers has digits that a float type lacks, judged by the types alone."""
    if pat.is_decimal(kind):
        return True
    return bool(pat.is_floating(kind) and kind.bit_width > wanted.bit_width)
