"""Types that DuckDB chooses by the first lines or the first file, and that would change values behind them.

DuckDB reads 1.5 as 2 into a column of integers, a time as its day into a column of dates, and a time with a zone as one
without, silently. So the texts of such columns in CSV and JSON are read once more, and compared with what their type
can hold; of Parquet files, the schemas are compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from prescore.errors import DomainInvalid
from prescore.sources import file_calls
from prescore.sources.file_calls import FileCall, Run, literal

_DIGITS_BEHIND_MICROSECONDS = r"\.[0-9]{6}[0-9]*[1-9]"
_ZONE = r":[0-9]{2}(?:\.[0-9]+)?\s*(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)\s*$"
_INTEGER = r"\.[0-9]*[1-9]|[eE]-|true|false"
_INTEGERS = {
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
}
_CHANGED = {
    **dict.fromkeys(_INTEGERS, (_INTEGER, "DOUBLE")),
    "DATE": (r"[ T][0-9:.]*[1-9]", "TIMESTAMP"),
    "TIMESTAMP": (f"{_ZONE}|{_DIGITS_BEHIND_MICROSECONDS}", "VARCHAR"),
    "TIMESTAMP WITH TIME ZONE": (_DIGITS_BEHIND_MICROSECONDS, "VARCHAR"),
}
"""DuckDB's type → what texts look like that it changes, and a type that holds them."""


def require_exact(connection: Any, query: str, label: str, needed: Collection[str], values: Mapping[str, Any]) -> None:
    """Raise DomainInvalid for files with values that the type of their column would change.

    Columns are checked that are `needed` or named in the query. Messages call the query `label`. `values` are those of
    the query's parameters, by name.
    """
    run = file_calls.runner(connection, values)
    used = {name.lower() for name in needed} | file_calls.used_names(query)
    for call in file_calls.find(query):
        types = {name: kind for name, kind in _types(run, call).items() if name.lower() in used}
        if call.kind == "parquet":
            _require_same_types(run, call, label, types)
        else:
            _require_unchanged_texts(run, call, label, types)


def _types(run: Run, call: FileCall) -> dict[str, str]:
    return {name: kind for name, kind, *_ in run(f"describe from {call.relation()}")}


def _require_unchanged_texts(run: Run, call: FileCall, label: str, types: dict[str, str]) -> None:
    suspects = {name: kind for name, kind in types.items() if kind in _CHANGED}
    for name, value in _changed(run, call, suspects):
        wider = _CHANGED[suspects[name]][1]
        argument = "types" if call.kind == "csv" else "columns"
        raise DomainInvalid(
            f"{label}: by the first lines of {call.file}, DuckDB takes column {name} for {suspects[name]}, "
            f"and would change {value}. Name the column's type: {argument} = {{'{name}': '{wider}'}}."
        )


def _changed(run: Run, call: FileCall, suspects: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield columns with an example of a text that their type changes."""
    if not suspects:
        return
    examples = []
    for name, kind in suspects.items():
        text = f"{_identifier(name)}::varchar"
        examples.append(f"min({text}) filter (regexp_matches({text}, {literal(_CHANGED[kind][0])}))")
    for row in run(f"select {', '.join(examples)} from {_texts(call, suspects)}"):
        for name, example in zip(suspects, row, strict=True):
            if example is not None:
                yield name, example


def _texts(call: FileCall, columns: Collection[str]) -> str:
    """Return the relation with texts in columns whose type is guessed."""
    if call.kind == "csv":
        return call.relation("all_varchar = true")
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    return call.relation(f"columns = {{{types}}}")


def _require_same_types(run: Run, call: FileCall, label: str, types: dict[str, str]) -> None:
    """Raise DomainInvalid for a column that has one type in the first file, and a type of another kind in another."""
    if "union_by_name" in call.call.lower():
        return
    # A field inside of a nested column may have the name of a column.
    rows = run(
        f"select name, list(distinct duckdb_type) from parquet_schema({call.files}) where duckdb_type <> '\"NULL\"' "
        "group by name having count(*) = count(distinct file_name) and count(distinct duckdb_type) > 1 order by name"
    )
    for name, kinds in rows:
        if name in types and not _INTEGERS.issuperset(kinds):
            raise DomainInvalid(
                f"{label}: column {name} is {' and '.join(sorted(kinds))} in files of {call.file}, and DuckDB would "
                f"change its values to {types[name]}, the type in the first file. Add union_by_name = true to "
                "read_parquet, or write the files with one type."
            )


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
