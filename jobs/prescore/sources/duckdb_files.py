"""Domains from files, such as Parquet and CSV, read by DuckDB."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from prescore.errors import DomainInvalid, StoreFull
from prescore.project.project import make_folder
from prescore.sources.source import Query, Source, Stream, translate_errors


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
                raise _query_error(f"The domain query {self.query_file}", error) from error
        return _has_as_of(statements)

    @contextmanager
    def _open(self, query: Query) -> Iterator[Stream]:
        import duckdb

        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.memory_limit,
            "temp_directory": str(self.spill),
        }
        # DuckDB looks for a relative path in the process's folder before it looks in file_search_path: a run started
        # elsewhere would read a file of the same name there.
        with (
            self._spill_folder(),
            contextlib.chdir(self.root),
            duckdb.connect(":memory:", config=settings) as connection,
        ):
            try:
                reader = self._run(connection, query)
            except duckdb.Error as error:
                if _is_disk_full(error):
                    raise StoreFull.at(self.spill) from error
                raise _query_error(query.label, error) from error
            batches = self._raise_when_disk_is_full(iter(reader))
            yield Stream(reader.schema, translate_errors(batches, duckdb.Error, pa.ArrowException))

    def _run(self, connection: Any, query: Query) -> pa.RecordBatchReader:
        # With UTC, a time without a zone means the same on every machine.
        connection.execute("set TimeZone = 'UTC'")
        statements = connection.extract_statements(query.text)
        _require_select(statements, query.label)
        parameters = {"as_of": self._as_of_value()} if _has_as_of(statements) else None
        relation = connection.sql(query.text, params=parameters)
        # The relation is limited, not a SELECT around the query, so that DuckDB's messages quote the author's own text.
        if query.limit is not None:
            relation = relation.limit(query.limit)
        return relation.to_arrow_reader(query.batch_rows)

    def _raise_when_disk_is_full(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            if _is_disk_full(error):
                raise StoreFull.at(self.spill) from error
            raise

    @contextmanager
    def _spill_folder(self) -> Iterator[None]:
        make_folder(self.spill)
        try:
            yield
        finally:
            shutil.rmtree(self.spill, ignore_errors=True)


def _require_select(statements: list[Any], label: str) -> None:
    """Raise DomainInvalid, before anything runs, unless the query is one SELECT: any other statement could write."""
    kinds = [statement.type.name for statement in statements]
    # DuckDB reports a PIVOT as MULTI.
    if kinds not in (["SELECT"], ["MULTI"]):
        raise DomainInvalid(f"{label} must be one SELECT, but it is {', then '.join(kinds)}. Nothing was run.")


def _has_as_of(statements: list[Any]) -> bool:
    # DuckDB compares the names of parameters without regard to case.
    return any(name.lower() == "as_of" for statement in statements for name in statement.named_parameters)


def _query_error(label: str, error: Exception) -> DomainInvalid:
    return DomainInvalid(f"{label} failed: {error}")


def _is_disk_full(error: Exception) -> bool:
    # DuckDB has no error code for this. It takes the free space as its limit, so the limit is mostly what is reached.
    return "max_temp_directory_size" in str(error) or "No space left on device" in str(error)
