"""The files that a DuckDB query reads: as calls of DuckDB's readers, which can be run by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from prescore.sources import sql_text

_READERS = {
    "read_csv": "csv",
    "read_csv_auto": "csv",
    "read_json": "json",
    "read_json_auto": "json",
    "read_ndjson": "json",
    "read_ndjson_auto": "json",
    "read_parquet": "parquet",
    "parquet_scan": "parquet",
}
_FILES = {
    "csv": re.compile(r"\.[ct]sv(?:\.gz|\.zst)?$", re.IGNORECASE),
    "json": re.compile(r"\.(?:json|jsonl|ndjson)(?:\.gz|\.zst)?$", re.IGNORECASE),
    "parquet": re.compile(r"\.parquet$", re.IGNORECASE),
}

Run = Callable[[str], list[Any]]
"""Returns the rows of a statement, without a row if it fails."""


@dataclass(frozen=True)
class FileCall:
    """A call that reads files of a `kind`, csv, json or parquet, without its closing parenthesis.

    `files` is its first argument, and `file` the first file in it, for messages.
    """

    kind: str
    call: str
    files: str
    file: str

    def relation(self, options: str = "") -> str:
        """Return the relation that the query reads, or the same with more options."""
        return f"{self.call}, {options})" if options else f"{self.call})"


def find(query: str) -> Iterator[FileCall]:
    """Yield the calls with which a query reads files. The name of a file alone is one, too."""
    tokens = [token for token in sql_text.tokens(query) if token.is_code]
    position = 0
    while position < len(tokens):
        token = tokens[position]
        kind = _READERS.get(token.text.lower())
        if kind is not None and [part.text for part in tokens[position + 1 : position + 2]] == ["("]:
            end = _closing(tokens, position + 1)
            yield _call(kind, tokens[position:end])
            position = end
        elif token.kind in ("string", "quoted_name"):
            yield from _named(token.text[1:-1])
        position += 1


def used_names(query: str) -> set[str]:
    """Return the names in a query, in lower case."""
    kinds = ("word", "quoted_name")
    return {token.text.strip('"').lower() for token in sql_text.tokens(query) if token.kind in kinds}


def runner(connection: Any, values: Mapping[str, Any]) -> Run:
    """Return a function that runs statements with the values of a query's parameters."""
    return partial(_rows, connection, values)


def literal(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _call(kind: str, tokens: list[sql_text.Token]) -> FileCall:
    texts = [token.text for token in tokens]
    files = [token.text[1:-1] for token in tokens if token.kind == "string"]
    return FileCall(kind, " ".join(texts), " ".join(_first_argument(texts[2:])), files[0] if files else "its files")


def _first_argument(texts: list[str]) -> Iterator[str]:
    depth = 0
    for text in texts:
        if text == "," and depth == 0:
            return
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text, 0)
        yield text


def _named(file: str) -> Iterator[FileCall]:
    for kind, pattern in _FILES.items():
        if pattern.search(file):
            yield FileCall(kind, f"read_{kind}({literal(file)}", literal(file), file)


def _closing(tokens: list[sql_text.Token], opening: int) -> int:
    """Return the position of the parenthesis that closes the one at `opening`."""
    depth = 0
    for position in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[position].text, 0)
        if depth == 0:
            return position
    return len(tokens)


def _rows(connection: Any, values: Mapping[str, Any], statement: str) -> list[Any]:
    import duckdb

    names = sql_text.parameters(statement)
    used = {name: value for name, value in values.items() if name.lower() in names}
    try:
        return list(connection.execute(statement, used or None).fetchall())
    # Whatever is wrong with the call itself, the query reports.
    except duckdb.Error:
        return []
