"""Domains from files, such as Parquet and CSV, read by DuckDB."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from prescore.errors import DomainInvalid, PrescoreError, SourceUnavailable, StoreFull
from prescore.project.project import make_folder
from prescore.sources import duckdb_types, sql_text
from prescore.sources.source import SEED, Batch, Query, Sample, Source, Stream, sentences

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

# DuckDB has an exception class for these, but errors in the middle of a result reach Python only as text.
_DISK_FULL = re.compile(r"max_temp_directory_size|No space left on device")
_OUT_OF_MEMORY = re.compile(r"Out of Memory Error")
_UNREACHABLE = re.compile(
    r"HTTP Error.*\b(?:429|5\d\d)\b|(?:HTTP|IO|Connection) Error.*(?:[Cc]ould not (?:connect|resolve|establish)|"
    r"[Tt]imed? ?out|[Cc]onnection (?:refused|reset|error)|Stale file handle|Input/output error)",
    re.DOTALL,
)
_NO_EXTENSION = re.compile(r"Failed to download extension|[Ee]xtension .* not found")
_UNKNOWN_FORMAT = re.compile(r"No extension found that is capable of reading the file")


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

    def uses_as_of(self, query: str) -> bool:
        """Return whether DuckDB finds the parameter `$as_of` in a query; raise DomainInvalid if it cannot parse it."""
        import duckdb

        with duckdb.connect(":memory:") as connection:
            try:
                statements = connection.extract_statements(query)
            except duckdb.Error as error:
                raise DomainInvalid(f"The domain query {self.query_file} failed: {error}") from error
        return _has_as_of(statements)

    @contextmanager
    def _open(self, query: Query) -> Iterator[Stream]:
        import duckdb

        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.memory_limit,
            "temp_directory": str(self.spill),
            # Otherwise a batch with more than 2 GiB of text is an error.
            "arrow_large_buffer_size": True,
        }
        # DuckDB looks for a relative path in the process's folder before it looks in file_search_path: a run started
        # elsewhere would read a file of the same name there.
        with (
            self._spill_folder(),
            contextlib.chdir(self.root),
            duckdb.connect(":memory:", config=settings) as connection,
        ):
            try:
                stream = self._stream(connection, query)
            except duckdb.Error as error:
                raise self.classified(f"{query.label} failed", error) from error
            yield stream

    def _stream(self, connection: Any, query: Query) -> Stream:
        # With UTC, a time without a zone means the same on every machine.
        connection.execute("set TimeZone = 'UTC'")
        text = sql_text.without_final_semicolons(query.text)
        statements = connection.extract_statements(text)
        _require_select(statements, query)
        parameters = {"as_of": self._as_of_value()} if _has_as_of(statements) else None
        relation = connection.sql(text, params=parameters)
        names = relation.columns
        positions = query.positions(names)
        types = {name: relation.types[position] for name, position in positions.items()}
        # The relation is changed, not a SELECT put around the query, so that DuckDB's messages quote the author's text.
        relation = relation.project(_projection(positions))
        if query.limit is not None:
            relation = relation.limit(query.limit)
        if query.sample is not None:
            relation = relation.order(_hash(query.sample, list(positions))).limit(query.sample.rows)
        reader = relation.to_arrow_reader(query.batch_rows)
        schema = _schema(reader.schema, positions)
        return Stream(names, schema, self._batches(query, schema.names, iter(reader)), duckdb_types.hidden(types))

    def _batches(self, query: Query, names: list[str], batches: Iterator[pa.RecordBatch]) -> Iterator[Batch]:
        import duckdb

        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            # pyarrow raises most errors of a stream as an OSError.
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise self.classified(f"{query.label} failed while its rows were read", error) from error
            yield from map(Batch, _parts(batch.rename_columns(names)))

    def classified(self, what: str, error: Exception) -> PrescoreError:
        """Return the error of prescore for one that DuckDB raised, or pyarrow while it read DuckDB's result.

        `what` begins its message.
        """
        text = str(error)
        if _DISK_FULL.search(text):
            return StoreFull.at(self.spill)
        if _OUT_OF_MEMORY.search(text):
            return DomainInvalid(
                f"{what}: DuckDB needs more memory than memory_limit = {self.memory_limit!r} in prescore.toml. "
                "Raise it, or lower chunk_rows there. For a query that sorts, groups or joins, do less of it: "
                "the order of the rows does not matter."
            )
        if _NO_EXTENSION.search(text):
            advice = (
                "DuckDB reads these files only with an extension, which is not installed and could not be downloaded. "
                "Convert them to Parquet, or install the extension for the user that runs prescore."
            )
            return DomainInvalid(sentences(what, text, advice))
        if _UNKNOWN_FORMAT.search(text):
            return DomainInvalid(
                sentences(what, text, "DuckDB does not read this kind of file. Convert it to Parquet.")
            )
        if _UNREACHABLE.search(text):
            return SourceUnavailable(sentences(what, text, "Check that the files can be reached, then try again."))
        return DomainInvalid(sentences(what, text, "Fix the query, or the data that it reads."))

    @contextmanager
    def _spill_folder(self) -> Iterator[None]:
        make_folder(self.spill)
        try:
            yield
        finally:
            shutil.rmtree(self.spill, ignore_errors=True)


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


def _has_as_of(statements: list[Any]) -> bool:
    # DuckDB compares the names of parameters without regard to case.
    return any(name.lower() == "as_of" for statement in statements for name in statement.named_parameters)


def _projection(positions: dict[str, int]) -> str:
    """Return a select list of columns by their position: names that differ in case only are one name to DuckDB."""
    numbers = [f"#{position + 1:d}" for position in positions.values()]
    return ", ".join(numbers) or "#1"


def _hash(sample: Sample, names: list[str]) -> str:
    """Return the expression that orders rows by the hash of their key. DuckDB keeps only the first ones in memory."""
    numbers = [f"#{names.index(name) + 1:d}" for name in sample.key if name in names]
    return f"hash({', '.join([str(SEED), *numbers])})"


def _schema(schema: pa.Schema, positions: dict[str, int]) -> pa.Schema:
    # Without a needed column, there still is one column that stands for none.
    fields = [schema.field(number).with_name(name) for number, name in enumerate(positions)]
    return pa.schema(fields)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield a batch in slices of about `_BATCH_BYTES` at most."""
    parts = batch.nbytes // _BATCH_BYTES + 1
    size = -(-batch.num_rows // parts)
    for start in range(0, batch.num_rows, size or 1):
        yield batch.slice(start, size)
