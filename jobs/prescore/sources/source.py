"""What every source has in common: it runs a query and streams the needed columns of its result as Arrow batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

import pyarrow as pa

from prescore.errors import DomainInvalid
from prescore.wording import did_you_mean


def sentences(what: str, text: str, advice: str) -> str:
    """Return a message of what failed, the text of a driver's error, which may have several lines, and what to do."""
    text = text.strip()
    if "\n" in text:
        return f"{what}: {text}\n{advice}"
    return f"{what}: {text.removesuffix('.')}. {advice}"


@dataclass(frozen=True)
class Needed:
    """A column that a query must return.

    `type` is the Arrow type that it becomes, None for any date or time. `may_round` says that its numbers may lose
    digits.
    """

    type: pa.DataType | None
    may_round: bool = False


@dataclass(frozen=True)
class SourceType:
    """A type of a source that its Arrow type does not show: JSON, for example, is text in Arrow.

    Columns of it can only become one of the types `becomes`. `advice` says what to do about any other.
    """

    name: str
    becomes: tuple[pa.DataType, ...] = ()
    advice: str = "Cast it in the domain query."


@dataclass(frozen=True)
class Unreadable:
    """A row with a value that Arrow cannot hold as what it is: its values, the column at fault, and the reason."""

    values: Mapping[str, Any]
    column: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Rows of a result, and those rows between them that cannot be read."""

    rows: pa.RecordBatch
    unreadable: Sequence[Unreadable] = ()


@dataclass(frozen=True)
class Stream:
    """The result of a running query.

    `names` are all columns that the query returns. `schema` and the batches, which can be read once, have only those
    that are needed; one batch may have other types than another. `types` holds those of the needed columns whose type
    Arrow does not show.
    """

    names: Sequence[str]
    schema: pa.Schema
    batches: Iterator[Batch]
    types: Mapping[str, SourceType] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A random sample of a query's rows: those `rows` rows whose `key` columns have the lowest hashes.

    The same keys are in every sample of this size, in whatever order the query returns its rows. Key columns that the
    query does not return are ignored here, and reported when the rows are converted.
    """

    rows: int
    key: Sequence[str]


SEED = 42
"""Seeds the hashes of samples."""


@dataclass(frozen=True)
class Query:
    """A query to run, and how to read its result.

    The result is read in batches of about `batch_rows` rows. Messages call the query `label`. Without `needed`, all
    columns are.
    """

    text: str
    batch_rows: int
    label: str
    limit: int | None
    needed: Mapping[str, Needed] | None
    sample: Sample | None = None

    def positions(self, names: Sequence[str]) -> dict[str, int]:
        """Return the needed ones among the columns that the query returns, each with its position from 0.

        A name that occurs twice has the position of its first column.
        """
        positions: dict[str, int] = {}
        for position, name in enumerate(names):
            if self.needed is None or name in self.needed:
                positions.setdefault(name, position)
        return positions


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A place that runs queries.

    Messages name the domain query by its file, `query_file`. `parameters` are the values of parameters in queries:
    `country` for `$country`. `as_of` is the value of `$as_of`; without one, it is the current time.
    """

    query_file: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    as_of: datetime | None = None

    @property
    @abstractmethod
    def identity(self) -> str:
        """Return a text that identifies the source, without its password."""

    @abstractmethod
    def _find_parameters(self, query: str) -> set[str]:
        """Return the parameters in a query, in lower case; raise DomainInvalid with the fault if there is one."""

    def parameter_names(self, query: str, label: str | None = None) -> set[str]:
        """Return the parameters in a query, in lower case; raise DomainInvalid if the query cannot be parsed.

        `label` is as in `open`.
        """
        try:
            return self._find_parameters(query)
        except DomainInvalid as error:
            raise DomainInvalid(f"{label or self._domain_label} failed: {error}") from error

    def uses_as_of(self, query: str, label: str | None = None) -> bool:
        """Return whether a query has the parameter `$as_of`; raise DomainInvalid if the query cannot be parsed."""
        return "as_of" in self.parameter_names(query, label)

    def rows(self, query: str, label: str) -> list[dict[str, Any]]:
        """Run a query of few rows and return them all, by column; raise as `open`, and for an unreadable value."""
        rows: list[dict[str, Any]] = []
        with self.open(query, 2, label=label) as stream:
            for batch in stream.batches:
                if batch.unreadable:
                    raise DomainInvalid(f"{label}: {batch.unreadable[0].reason}")
                rows += batch.rows.to_pylist()
        return rows

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
        needed: Mapping[str, Needed] | None = None,
        *,
        limit: int | None = None,
        sample: Sample | None = None,
        label: str | None = None,
    ) -> AbstractContextManager[Stream]:
        """Run a query that only reads, and stream batches of about `batch_rows` rows, and at most `limit` rows in all.

        With a `sample`, the query is read to its end, and only the rows of the sample are returned. Only the columns in
        `needed` are read; by default, all are. `label` is the name of the query in messages, by default that of the
        domain query.

        Raises DomainInvalid if the query fails or could write, SourceUnavailable if its database or remote files cannot
        be reached, and StoreFull if the rows fit neither in memory nor on disk; each of them also while batches are
        read.
        """
        return self._open(Query(query, batch_rows, label or self._domain_label, limit, needed, sample))

    @property
    def _domain_label(self) -> str:
        return f"The domain query {self.query_file}"

    def _values(self, names: Iterable[str], label: str) -> dict[str, Any]:
        """Return the values of parameters in the query called `label`; raise DomainInvalid for one without a value."""
        known = {"as_of": self.as_of or datetime.now(UTC), **self.parameters}
        for name in sorted(set(names) - set(known)):
            raise DomainInvalid(
                f"{label} uses ${name}, which has no value.{did_you_mean(name, known, '$')} Give it a value under "
                "[domain.parameters] in the spec."
            )
        return {name: known[name] for name in names}
