"""Domains from databases, read through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pyarrow as pa

from prescore.errors import DatabaseUnavailable, DomainInvalid
from prescore.sources import sql_text
from prescore.sources.source import Query, Source, Stream, translate_errors


@dataclass(frozen=True, kw_only=True)
class DatabaseSource(Source):
    """A database at an SQLAlchemy URL."""

    url: str

    @property
    def identity(self) -> str:
        """Return the URL without its password: a new password does not make another source."""
        import sqlalchemy as sa

        return sa.make_url(self.url).render_as_string(hide_password=True)

    def uses_as_of(self, query: str) -> bool:
        """Return whether a query has the parameter `$as_of`."""
        return "as_of" in sql_text.parameters(query)

    @contextmanager
    def _open(self, query: Query) -> Iterator[Stream]:
        import sqlalchemy as sa

        as_of = self._as_of_value() if self.uses_as_of(query.text) else None
        # The text reaches the database unchanged: neither a colon nor a percent sign in it begins a parameter.
        options = {"stream_results": True, "max_row_buffer": query.batch_rows, "no_parameters": True}
        engine = sa.create_engine(self.url)
        try:
            with engine.connect().execution_options(**options) as connection:
                text = _limited_text(connection, query, as_of)
                with _execute(connection, text, as_of) as result:
                    yield _stream(result, query)
        except sa.exc.OperationalError as error:
            raise DatabaseUnavailable(
                f"{query.label} could not run: {error.orig}. "
                "Check that the database is up and that its URL in prescore.toml is right."
            ) from error
        except sa.exc.SQLAlchemyError as error:
            raise DomainInvalid(f"{query.label} failed: {getattr(error, 'orig', None) or error}") from error
        finally:
            engine.dispose()


def _limited_text(connection: Any, query: Query, as_of: datetime | None) -> str:
    """Return the query with its limit around it.

    If it fails that way, return the query without the limit: the database's message then quotes the author's own text.
    """
    import sqlalchemy as sa

    if query.limit is None:
        return query.text
    limited = f"select * from ({query.text}\n) as domain limit {query.limit:d}"
    try:
        _execute(connection, limited, as_of).close()
    except sa.exc.DBAPIError:
        connection.rollback()
        return query.text
    return limited


def _execute(connection: Any, text: str, as_of: datetime | None) -> Any:
    """Return the result of a query, with `$as_of` bound in the way of its database's driver."""
    import sqlalchemy as sa

    if as_of is None:
        return connection.exec_driver_sql(text)
    value = sa.bindparam("as_of", as_of.astimezone(UTC), sa.DateTime(timezone=True))
    return connection.execute(sa.text(_as_sqlalchemy_text(text)).bindparams(value))


def _as_sqlalchemy_text(text: str) -> str:
    """Return a query in the syntax of `sqlalchemy.text`: `:as_of` for `$as_of`, and every other colon escaped."""
    parts = []
    for token in sql_text.tokens(text):
        if token.parameter == "as_of":
            parts.append(":as_of")
        else:
            parts.append(token.text.replace(":", r"\:"))
    return "".join(parts)


def _stream(result: Any, query: Query) -> Stream:
    """Return a result as Arrow; the first batch decides the schema."""
    import sqlalchemy as sa

    partitions = result.mappings().partitions(query.batch_rows)
    batches = translate_errors(
        (_record_batch(rows, query.expected) for rows in partitions),
        sa.exc.SQLAlchemyError,
    )
    first = next(batches, None)
    if first is None:
        # A list, so that the caller sees a name that the query returns twice.
        columns = [(name, query.expected.get(name, pa.null())) for name in list(result.keys())]
        return Stream(pa.schema(columns), iter(()))
    return Stream(first.schema, chain([first], batches))


def _record_batch(rows: Any, expected: dict[str, pa.DataType]) -> pa.RecordBatch:
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        columns[name] = _array(name, values, expected.get(name))
    return pa.record_batch(columns)


def _array(name: str, values: list[Any], expected: pa.DataType | None) -> pa.Array:
    """Return Python values as Arrow, with the type that their own classes have.

    The expected type decides where the values do not: a column of only NULLs, and UUIDs, which drivers return as text
    or as objects. Raises DomainInvalid for values that Arrow cannot hold in one column.
    """
    try:
        if expected is not None and pa.types.is_fixed_size_binary(expected):
            return pa.array([None if value is None else str(value) for value in values])
        array = pa.array(values)
        if expected is not None and pa.types.is_null(array.type):
            return array.cast(expected)
    except (pa.ArrowException, TypeError) as error:
        raise DomainInvalid(
            f"Column {name} of the domain query cannot be read: {error}. Cast it to one type in the query."
        ) from error
    return array
