"""The domain query of a draft: the key and the features, each cast where the model takes another type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.types as pat

from prescore.draft.dataset import Dataset
from prescore.draft.features import Feature
from prescore.errors import Mistake
from prescore.scoring.conversion import ARROW

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
    lines = [_expression(dataset, column, name, None) for name, column in key.items()]
    lines += [
        _expression(dataset, feature.column, feature.name, feature.type)
        for feature in features
        if feature.name not in key
    ]
    selected = ",\n  ".join(lines)
    return f"{_HEADER.format(model=model)}select\n  {selected}\nfrom {dataset.relation}\n"


def _expression(dataset: Dataset, column: str, name: str, wanted: pa.DataType | None) -> str:
    quoted = dataset.quote(column)
    kind = dataset.schema.field(column).type
    expression = quoted
    if not dataset.is_file:
        wanted = None
    if wanted in _FLOATS and is_wider(kind, wanted):
        expression = f"cast({quoted} as {_FLOATS[wanted]})"
    elif wanted is not None and pat.is_integer(wanted) and pat.is_boolean(kind):
        expression = f"cast({quoted} as integer)"
    return expression if expression == quoted and column == name else f"{expression} as {dataset.quote(name)}"


def is_wider(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether a type of numbers has digits that a float type lacks, judged by the types alone."""
    if pat.is_decimal(kind):
        return True
    return bool(pat.is_floating(kind) and kind.bit_width > wanted.bit_width)
