"""Domains from files, such as Parquet and CSV, read by DuckDB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from prescore.errors import DomainInvalid, PrescoreError
from prescore.sources import duckdb_connection, duckdb_errors, duckdb_types, guessed_types, sql_text
from prescore.sources.csv_quotes import CsvQuotes
from prescore.sources.source import SEED, Query, Sample, Source, Stream

_FIRST_WORDS = {"select", "with", "from", "values", "table", "pivot", "unpivot"}
_WRITING_FUNCTIONS = {
    "create_external_resource",
    "destroy_external_resource",
    "enable_logging",
    "enable_profiling",
    "mysql_execute",
    "postgres_execute",
}
"""Functions with which a SELECT changes a file or another database."""
_BATCH_BYTES = 512 * 2**20
"""How large a batch may be: Arrow's text, unlike DuckDB's, ends at 2 GiB a column."""


@dataclass(frozen=True, kw_only=True)
class DuckDBSource(Source):
    """An in-memory DuckDB that runs in the project's folder.

    DuckDB spills what exceeds `memory_limit`, such as "384MB", to the folder `spill`.
    """

    root: Path
    spill: Path
    memory_limit: str

    @property
    def identity(self) -> str:
        """Return the same text for every project: the paths in a query are relative to it."""
        return "duckdb"

    def _find_parameters(self, query: str) -> set[str]:
        return set(_parse_parameters(query))

    @contextmanager
    def _open(self, query: Query) -> Iterator[Stream]:
        import duckdb

        # DuckDB looks for a relative path in the process's folder before it looks in file_search_path: a run started
        # elsewhere would read a file of the same name there.
        with duckdb_connection.connect(self.memory_limit, self.spill) as connection, contextlib.chdir(self.root):
            try:
                stream = self._stream(connection, query)
            except duckdb.Error as error:
                raise self._error(f"{query.label} failed", error) from error
            yield stream

    def _stream(self, connection: Any, query: Query) -> Stream:
        # With UTC, a time without a zone means the same on every machine.
        connection.execute("set TimeZone = 'UTC'")
        text = sql_text.without_final_semicolons(query.text)
        statements = connection.extract_statements(text)
        _require_select(statements, query)
        values = self._values(_parameter_names(statements), query.label)
        if query.limit != 0:
            guessed_types.require_exact(connection, text, query.label, query.needed or (), values)
        relation = connection.sql(text, params=values or None)
        names = relation.columns
        positions = query.positions(names)
        types = {name: relation.types[position] for name, position in positions.items()}
        # The relation is changed, not a SELECT put around the query, so that DuckDB's messages quote the author's text.
        relation = relation.project(_projection(positions))
        untyped = _texts_in_place_of_others(types, query)
        if untyped and relation.limit(1).fetchall():
            untyped.clear()
        if query.limit is not None:
            relation = relation.limit(query.limit)
        if query.sample is not None:
            relation = relation.order(_hash(query.sample, list(positions))).limit(query.sample.rows)
        reader = relation.to_arrow_reader(query.batch_rows)
        schema = _schema(reader.schema, positions, untyped)
        batches = self._batches(query, schema.names, iter(reader))
        checked = map(CsvQuotes(text, connection).checked, batches)
        return Stream(names, schema, checked, duckdb_types.hidden(types))

    def _batches(self, query: Query, names: list[str], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import duckdb

        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            # pyarrow raises most errors of a stream as an OSError.
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise self._error(f"{query.label} failed while its rows were read", error) from error
            yield from _parts(batch.rename_columns(names))

    def _error(self, what: str, error: Exception) -> PrescoreError:
        return duckdb_errors.classified(what, error, memory_limit=self.memory_limit, spill=self.spill)


# A run needs them more than once, and DuckDB takes longer to start than to parse a query.
@lru_cache(maxsize=64)
def _parse_parameters(query: str) -> frozenset[str]:
    """Return the names of a query's parameters; raise DomainInvalid if DuckDB cannot parse it."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        try:
            statements = connection.extract_statements(query)
        except duckdb.Error as error:
            raise DomainInvalid(str(error)) from error
    return frozenset(_parameter_names(statements))


def _require_select(statements: list[Any], query: Query) -> None:
    """Raise DomainInvalid, before anything runs, unless the query is one SELECT: any other statement could write."""
    kinds = [statement.type.name for statement in statements]
    # DuckDB reports everything around a PIVOT as MULTI, even COPY (PIVOT …) TO 'file'. The first word is the statement.
    if kinds == ["MULTI"]:
        word = sql_text.first_word(query.text)
        kinds = ["SELECT" if word in _FIRST_WORDS else word.upper()]
    kinds += [name.upper() for name in sorted(_WRITING_FUNCTIONS & sql_text.called_functions(query.text))]
    if kinds != ["SELECT"]:
        raise DomainInvalid(f"{query.label} must be one SELECT, but it is {', then '.join(kinds)}. Nothing was run.")


def _parameter_names(statements: list[Any]) -> set[str]:
    # DuckDB compares the names of parameters without regard to case.
    return {name.lower() for statement in statements for name in statement.named_parameters}


def _projection(positions: dict[str, int]) -> str:
    """Return a select list of columns by their position: names that differ in case only are one name to DuckDB."""
    numbers = [f"#{position + 1:d}" for position in positions.values()]
    return ", ".join(numbers) or "#1"


def _hash(sample: Sample, names: list[str]) -> str:
    """Return the expression that orders rows by the hash of their key. DuckDB keeps only the first ones in memory."""
    numbers = [f"#{names.index(name) + 1:d}" for name in sample.key if name in names]
    return f"hash({', '.join([str(SEED), *numbers])})"


def _texts_in_place_of_others(types: Mapping[str, Any], query: Query) -> set[str]:
    """Return the columns of text that must become something else than text or a UUID.

    Without a row, DuckDB makes texts of all columns of a CSV file.
    """
    wanted = query.needed or {}
    columns = set()
    for name in wanted.keys() & types.keys():
        target = wanted[name].type
        takes_text = target is not None and (pat.is_string(target) or pat.is_fixed_size_binary(target))
        if str(types[name]) == "VARCHAR" and not takes_text:
            columns.add(name)
    return columns


def _schema(schema: pa.Schema, positions: dict[str, int], untyped: set[str]) -> pa.Schema:
    """Return the schema of the needed columns; those in `untyped` have the type null, which fits everywhere."""
    # Without a needed column, there still is one column that stands for none.
    fields = []
    for number, name in enumerate(positions):
        field = schema.field(number).with_name(name)
        fields.append(field.with_type(pa.null()) if name in untyped else field)
    return pa.schema(fields)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield a batch in slices of about `_BATCH_BYTES` at most."""
    parts = batch.nbytes // _BATCH_BYTES + 1
    size = -(-batch.num_rows // parts)
    for start in range(0, batch.num_rows, size or 1):
        yield batch.slice(start, size)
