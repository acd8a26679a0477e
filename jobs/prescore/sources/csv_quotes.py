"""Quotes that DuckDB takes for part of a text in CSV: they come behind the lines from which it guesses the format.

A key `7a` that one line has as `"7a"` would be published with the quotes, and no lookup would find it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.sources import sql_text
from prescore.sources.source import Batch, Unreadable

_CSV = re.compile(r"\.[ct]sv\b", re.IGNORECASE)
_OTHER = re.compile(r"\.(?:parquet|json\w*|ndjson|duckdb|db)\b", re.IGNORECASE)


@dataclass(frozen=True)
class CsvQuotes:
    """Finds such texts in the result of a query, which runs on `connection`."""

    query: str
    connection: Any

    def checked(self, rows: pa.RecordBatch) -> Batch:
        """Return a batch, with the rows that have such a text as unreadable."""
        faults: dict[int, str] = {}
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            for number in _quoted(column):
                faults.setdefault(number, name)
        if not faults or not self._may_be_left_over:
            return Batch(rows)
        unreadable = [_unreadable(rows.slice(number, 1), name) for number, name in sorted(faults.items())]
        mask = pa.array(number not in faults for number in range(rows.num_rows))
        return Batch(rows.filter(mask), unreadable)

    @cached_property
    def _may_be_left_over(self) -> bool:
        """Whether the query reads a CSV file whose first lines have no quotes, and does not say what its quote is."""
        words = {token.text.lower() for token in sql_text.tokens(self.query) if token.kind == "word"}
        return "quote" not in words and any(map(self._has_no_quotes, self._files()))

    def _files(self) -> Iterator[str]:
        reads_any_name = bool({"read_csv", "read_csv_auto"} & sql_text.called_functions(self.query))
        for token in sql_text.tokens(self.query):
            if token.kind not in ("string", "quoted_name"):
                continue
            pattern = token.text.strip("'\"")
            if _CSV.search(pattern) or (reads_any_name and not _OTHER.search(pattern)):
                yield from (file for (file,) in self._rows("select file from glob(?)", pattern))

    def _has_no_quotes(self, file: str) -> bool:
        return self._rows("select quote from sniff_csv(?)", file) == [("(empty)",)]

    def _rows(self, statement: str, value: str) -> list[Any]:
        import duckdb

        # The query is still running on the connection itself.
        with self.connection.cursor() as cursor:
            try:
                return list(cursor.execute(statement, [value]).fetchall())
            except duckdb.Error:
                return []


def _quoted(column: pa.Array) -> list[int]:
    """Return the numbers of the rows whose text begins and ends with a quote."""
    if not pat.is_string(column.type) and not pat.is_large_string(column.type):
        return []
    begins = pc.starts_with(column, '"')
    if not pc.any(begins).as_py():
        return []
    quoted = pc.and_(begins, pc.match_substring_regex(column, '(?s)^".*"$'))
    return list(pc.indices_nonzero(quoted).to_pylist())


def _unreadable(row: pa.RecordBatch, name: str) -> Unreadable:
    values: Mapping[str, Any] = row.to_pylist()[0]
    reason = (
        f"Column {name} holds {values[name][:60]} with its quotes: the lines of the file from which DuckDB guesses the "
        "format have none. Add quote = '\"' to read_csv in the domain query."
    )
    return Unreadable(values, name, reason)
