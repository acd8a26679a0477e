"""What every source has in common: it runs a query and streams the result as Arrow batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

import pyarrow as pa

from prescore.errors import DomainInvalid


@dataclass(frozen=True)
class Stream:
    """The result of a running query: its schema, and its batches, which can be read once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Query:
    """A query to run, and how to read its result.

    The result is read in batches of about `batch_rows` rows. Messages call the query `label`.
    """

    text: str
    batch_rows: int
    label: str
    limit: int | None
    expected: dict[str, pa.DataType]


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A place that runs queries.

    Messages name the domain query by its file, `query_file`. `as_of` is the value of `$as_of` in queries; without one,
    it is the current time.
    """

    query_file: str
    as_of: datetime | None = None

    @property
    @abstractmethod
    def identity(self) -> str:
        """Return a text that identifies the source, without its password."""

    @abstractmethod
    def uses_as_of(self, query: str) -> bool:
        """Return whether a query has the parameter `$as_of`; raise DomainInvalid if the query cannot be parsed."""

    @abstractmethod
    def _open(self, query: Query) -> AbstractContextManager[Stream]:
        """Run a query and stream its result."""

    def with_as_of(self, as_of: datetime) -> Self:
        """Return the same source with another value for `$as_of`."""
        return replace(self, as_of=as_of)

    def open(
        self,
        query: str,
        batch_rows: int,
        expected: dict[str, pa.DataType] | None = None,
        *,
        limit: int | None = None,
        label: str | None = None,
    ) -> AbstractContextManager[Stream]:
        """Run a query and stream batches of about `batch_rows` rows, and at most `limit` rows in all.

        `expected` maps columns to the types that the values of a row-based database are read as; DuckDB has types of
        its own. `label` is the name of the query in messages, by default that of the domain query.

        Raises DomainInvalid if the query fails, DatabaseUnavailable if its database cannot be reached, and StoreFull if
        the rows fit neither in memory nor on disk; each of them also while batches are read.
        """
        label = label or f"The domain query {self.query_file}"
        return self._open(Query(query, batch_rows, label, limit, expected or {}))

    def _as_of_value(self) -> datetime:
        return self.as_of or datetime.now(UTC)


def translate_errors(batches: Iterator[pa.RecordBatch], *driver_errors: type[Exception]) -> Iterator[pa.RecordBatch]:
    """Yield batches; raise DomainInvalid for an error of the driver in the middle of the result."""
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except driver_errors as error:
            raise DomainInvalid(
                f"The domain query failed while its rows were read: {error}. Fix the query, or the data that it reads."
            ) from error
        yield batch
