"""The data that a draft starts from: a file, a table of a database, or a SQL file, and what its columns hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from prescore.errors import Mistake
from prescore.sources.source import Source, SourceType, Stream
from prescore.wording import did_you_mean

_TYPED_ROWS = 1_000
# The end of a file's name → DuckDB's function that reads it.
_READERS = {
    ".parquet": "read_parquet",
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".csv.gz": "read_csv",
    ".csv.zst": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
}
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class Counts:
    """What a column holds: how many rows have no value, and the largest magnitude of an integer."""

    missing: int = 0
    largest: int = 0


@dataclass(frozen=True)
class Dataset:
    """What the domain query reads.

    `relation` stands after FROM in the SQL of the source. `quote` quotes an identifier as the source writes it.
    `source_name` is the name under [sources], `duckdb` for files. `query_file` is set for data that is a query already.
    """

    source: Source
    relation: str
    quote: Callable[[str], str]
    source_name: str = "duckdb"
    query_file: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether DuckDB reads it, which computes floats of 32 bits and aggregates quickly."""
        return self.source_name == "duckdb"

    @property
    def schema(self) -> pa.Schema:
        """The columns and their Arrow types; raises DomainInvalid if the data cannot be read."""
        return self._opened.schema

    @property
    def hidden_types(self) -> Mapping[str, SourceType]:
        """The types of those columns whose Arrow type does not show what they are, such as UUIDs."""
        return self._opened.types

    @cached_property
    def _opened(self) -> Stream:
        text = f"select * from {self.relation}"
        # The driver of a database returns values, whose types decide: of several rows, because the first may have none.
        limit = 0 if self.is_file else _TYPED_ROWS
        with self.source.open(text, _TYPED_ROWS, limit=limit) as stream:
            return stream

    def find(self, name: str) -> str:
        """Return a column by its name, in any case; raise Mistake if there is none, or several."""
        if name in self.schema.names:
            return name
        similar = [column for column in self.schema.names if column.lower() == name.lower()]
        if len(similar) == 1:
            return str(similar[0])
        listed = ", ".join(self.schema.names)
        raise Mistake(f"The data has no column {name}.{did_you_mean(name, self.schema.names)} It has {listed}.")

    def counts(self, columns: Iterable[str]) -> tuple[int, dict[str, Counts]]:
        """Return the number of rows, and what some columns hold in all of them."""
        expressions = ["count(*)"]
        names = list(columns)
        for name in names:
            expressions += self._count_expressions(name)
        rows, *measured = self._select_one(expressions)
        found = {}
        for name in names:
            missing, low, high, *measured = measured
            largest = max(abs(low or 0), abs(high or 0))
            found[name] = Counts(int(missing or 0), int(largest))
        return int(rows), found

    def _select_one(self, expressions: Sequence[str]) -> list[Any]:
        """Return the values of aggregate expressions over all rows."""
        selected = [f"{expression} as c{number}" for number, expression in enumerate(expressions)]
        text = f"select {', '.join(selected)} from {self.relation}"
        with self.source.open(text, 1) as stream:
            row = next(stream.batches).rows
        return [column[0].as_py() for column in row.columns]

    def _count_expressions(self, name: str) -> list[str]:
        column = self.quote(name)
        kind = self.schema.field(name).type
        missing = f"count(*) - count({column})"
        if self.is_file and pat.is_floating(kind):
            missing = f"count(*) filter (where {column} is null or isnan({column}))"
        if not pat.is_integer(kind):
            return [missing, "0", "0"]
        return [missing, f"min({column})", f"max({column})"]


def file_relation(path: Path, root: Path) -> str:
    """Return what reads a file in DuckDB, with its path relative to the project; raise Mistake for an unknown kind."""
    if not path.exists() and not any(path.parent.glob(path.name)):
        raise Mistake(f"There is no file {path}. Give --data an existing file, a database URL, or a .sql file.")
    name = path.name.lower()
    for ending, reader in _READERS.items():
        if name.endswith(ending):
            return f"{reader}({literal(relative(path, root))})"
    raise Mistake(
        f"{path.name} is a kind of file that init does not know; it knows {', '.join(_READERS)}. "
        "Write a query that reads it into a .sql file, and give that as --data."
    )


def relative(path: Path, root: Path) -> str:
    """Return a path relative to the project if it is inside of it, otherwise whole."""
    whole = path if path.is_absolute() else Path.cwd() / path
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else str(whole)


def literal(text: str) -> str:
    """Return a SQL literal."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def duckdb_quote(name: str) -> str:
    """Return a name as DuckDB reads it, in quotes where it needs them."""
    if _PLAIN_NAME.fullmatch(name) and name not in _reserved():
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


@cache
def _reserved() -> frozenset[str]:
    import duckdb

    with duckdb.connect(":memory:") as connection:
        rows = connection.execute("select keyword_name from duckdb_keywords()").fetchall()
    return frozenset(row[0] for row in rows)
