"""DuckDB's types, where Arrow has less to say about a column than DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from prescore.sources.source import SourceType

_PLAIN = {
    "boolean",
    "tinyint",
    "smallint",
    "integer",
    "bigint",
    "hugeint",
    "utinyint",
    "usmallint",
    "uinteger",
    "ubigint",
    "float",
    "double",
    "decimal",
    "varchar",
    "enum",
    "date",
    "timestamp",
    "timestamp_s",
    "timestamp_ms",
    "timestamp_ns",
    "timestamp with time zone",
    "null",
    '"null"',
}
"""Types that Arrow has too, under the name that `DuckDBPyType.id` gives them."""

_READ_AS_TEXT = "Read it as text: read_json and read_csv take columns = {'name': 'VARCHAR', …}"
_UUID = SourceType(
    "UUID",
    (pa.binary(16),),
    f"DuckDB writes every UUID in lower case, whatever the file has. {_READ_AS_TEXT}. Or declare it as uuid in the "
    "spec.",
)
_JSON = SourceType("JSON", (), f"Texts in JSON have quotes around them. {_READ_AS_TEXT}, or use ->> in place of ->.")
_BLOB = SourceType("BLOB", (), "Convert it in the domain query, with hex() for a uuid, or decode() for text in UTF-8.")
_UHUGEINT = SourceType("UHUGEINT", (), "Cast it to HUGEINT or BIGINT in the domain query.")


def hidden(types: Mapping[str, Any]) -> dict[str, SourceType]:
    """Return the columns whose DuckDB type the Arrow type does not show, with that type."""
    found = {}
    for name, duckdb_type in types.items():
        hidden_type = _hidden(duckdb_type)
        if hidden_type is not None:
            found[name] = hidden_type
    return found


def _hidden(duckdb_type: Any) -> SourceType | None:
    name, kind = str(duckdb_type), duckdb_type.id
    if kind in ("list", "array"):
        (element,) = [child for label, child in duckdb_type.children if label == "child"]
        return _hidden(element)
    # JSON is an alias of VARCHAR.
    if name == "JSON":
        return _JSON
    if kind == "uuid":
        return _UUID
    if kind == "blob":
        return _BLOB
    # Arrow gets it as a signed integer: 2^128 - 1 would be -1.
    if kind == "uhugeint":
        return _UHUGEINT
    return None if kind in _PLAIN else SourceType(name)
