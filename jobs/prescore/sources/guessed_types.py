"""Types that DuckDB guesses from the first lines of CSV and JSON files: later values that they would change are found.

DuckDB reads 1.5 as 2 into a column of integers, a time as its day into a column of dates, and a time with a zone as one
without, silently. So the texts of such columns are read once more, and compared with what their type can hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from prescore.errors import DomainInvalid
from prescore.sources import sql_text

_CSV_READERS = {"read_csv", "read_csv_auto"}
_JSON_READERS = {"read_json", "read_json_auto", "read_ndjson", "read_ndjson_auto"}
_CSV_FILE = re.compile(r"\.[ct]sv(?:\.gz|\.zst)?$", re.IGNORECASE)
_JSON_FILE = re.compile(r"\.(?:json|jsonl|ndjson)(?:\.gz|\.zst)?$", re.IGNORECASE)

_DIGITS_BEHIND_MICROSECONDS = r"\.[0-9]{6}[0-9]*[1-9]"
_ZONE = r":[0-9]{2}(?:\.[0-9]+)?\s*(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)\s*$"
_INTEGER = r"\.[0-9]*[1-9]|[eE]-|true|false"
_CHANGED = {
    **dict.fromkeys(("BIGINT", "HUGEINT", "UBIGINT", "INTEGER"), (_INTEGER, "DOUBLE")),
    "DATE": (r"[ T][0-9:.]*[1-9]", "TIMESTAMP"),
    "TIMESTAMP": (f"{_ZONE}|{_DIGITS_BEHIND_MICROSECONDS}", "VARCHAR"),
    "TIMESTAMP WITH TIME ZONE": (_DIGITS_BEHIND_MICROSECONDS, "VARCHAR"),
}
"""DuckDB's type → what texts look like that it changes, and a type that holds them."""


_Run = Callable[[str], list[Any]]
"""Returns the rows of a statement, without a row if it fails."""


@dataclass(frozen=True)
class _Reading:
    """How a query reads files: a call of DuckDB's, without the closing parenthesis, of CSV or else of JSON."""

    call: str
    file: str
    is_csv: bool

    def typed(self) -> str:
        """Return the relation as the query reads it."""
        return f"{self.call})"

    def texts(self, columns: Collection[str]) -> str:
        """Return the relation with texts in columns whose type is guessed."""
        if self.is_csv:
            return f"{self.call}, all_varchar = true)"
        types = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in columns)
        return f"{self.call}, columns = {{{types}}})"


def require_exact(connection: Any, query: str, label: str, needed: Collection[str], values: Mapping[str, Any]) -> None:
    """Raise DomainInvalid for a value in a file that a guessed type would change.

    Columns are checked that are `needed` or named in the query. Messages call the query `label`. `values` are those of
    the query's parameters, by name.
    """
    run = partial(_rows, connection, values)
    used = {name.lower() for name in needed} | _names(query)
    for reading in _readings(query):
        types = _types(run, reading)
        suspects = {name: kind for name, kind in types.items() if kind in _CHANGED and name.lower() in used}
        for name, value in _changed(run, reading, suspects):
            wider = _CHANGED[suspects[name]][1]
            argument = "types" if reading.is_csv else "columns"
            raise DomainInvalid(
                f"{label}: by the first lines of {reading.file}, DuckDB takes column {name} for {suspects[name]}, "
                f"and would change {value}. Name the column's type: {argument} = {{'{name}': '{wider}'}}."
            )


def _readings(query: str) -> Iterator[_Reading]:
    """Yield how a query reads CSV and JSON files."""
    tokens = [token for token in sql_text.tokens(query) if token.is_code]
    position = 0
    while position < len(tokens):
        token = tokens[position]
        name = token.text.lower()
        if name in _CSV_READERS | _JSON_READERS and [part.text for part in tokens[position + 1 : position + 2]] == [
            "("
        ]:
            end = _closing(tokens, position + 1)
            call = tokens[position:end]
            files = [part.text[1:-1] for part in call if part.kind == "string"]
            yield _Reading(" ".join(part.text for part in call), files[0] if files else "a file", name in _CSV_READERS)
            position = end
        elif token.kind in ("string", "quoted_name"):
            file = token.text[1:-1]
            if _CSV_FILE.search(file):
                yield _Reading(f"read_csv({_literal(file)}", file, is_csv=True)
            elif _JSON_FILE.search(file):
                yield _Reading(f"read_json({_literal(file)}", file, is_csv=False)
        position += 1


def _closing(tokens: list[sql_text.Token], opening: int) -> int:
    """Return the position of the parenthesis that closes the one at `opening`."""
    depth = 0
    for position in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[position].text, 0)
        if depth == 0:
            return position
    return len(tokens)


def _names(query: str) -> set[str]:
    """Return the names in a query, in lower case."""
    kinds = ("word", "quoted_name")
    return {token.text.strip('"').lower() for token in sql_text.tokens(query) if token.kind in kinds}


def _types(run: _Run, reading: _Reading) -> dict[str, str]:
    return {name: kind for name, kind, *_ in run(f"describe from {reading.typed()}")}


def _changed(run: _Run, reading: _Reading, suspects: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield columns with an example of a text that their type changes."""
    if not suspects:
        return
    examples = []
    for name, kind in suspects.items():
        text = f"{_identifier(name)}::varchar"
        examples.append(f"min({text}) filter (regexp_matches({text}, {_literal(_CHANGED[kind][0])}))")
    for row in run(f"select {', '.join(examples)} from {reading.texts(suspects)}"):
        for name, example in zip(suspects, row, strict=True):
            if example is not None:
                yield name, example


def _rows(connection: Any, values: Mapping[str, Any], statement: str) -> list[Any]:
    import duckdb

    names = sql_text.parameters(statement)
    used = {name: value for name, value in values.items() if name.lower() in names}
    try:
        return list(connection.execute(statement, used or None).fetchall())
    # Whatever is wrong with the call itself, the query reports.
    except duckdb.Error:
        return []


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
