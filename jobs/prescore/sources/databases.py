"""Domains from databases, read through SQLAlchemy."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from prescore.errors import DomainInvalid
from prescore.sources import database_errors, dialects, engines, sql_text
from prescore.sources.dialects import Dialect
from prescore.sources.rows import RowReader
from prescore.sources.source import SEED, Batch, Needed, Query, Sample, Source, Stream
from prescore.sources.values import Reader

if TYPE_CHECKING:
    import sqlalchemy as sa

_AS_IT_IS = Needed(pa.null())
_FIRST_WORDS = {"select", "with", "values", "table", "from"}
# SQLite renames the second of two columns of the same name.
_RENAMED = re.compile(r"(.+):\d+")


@dataclass(frozen=True)
class _Plan:
    """A query as it is sent, the columns that it returns as written, and the position of each needed one as sent."""

    text: str
    names: Sequence[str]
    positions: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class DatabaseSource(Source):
    """A database at a URL of SQLAlchemy or libpq, which specs call `name`. Paths in it are relative to `root`."""

    name: str
    url: str
    root: Path

    @property
    def identity(self) -> str:
        """Return the URL without its password: a new password does not make another source."""
        return engines.identity(self.url)

    @property
    def dialect(self) -> Dialect:
        """What is particular to this kind of database."""
        return dialects.by_name(engines.dialect_name(self.url))

    def _find_parameters(self, query: str) -> set[str]:
        return sql_text.parameters(query, mysql=self.dialect.is_mysql)

    @contextmanager
    def _open(self, query: Query) -> Iterator[Stream]:
        text = sql_text.without_final_semicolons(query.text, mysql=self.dialect.is_mysql)
        _require_select(text, query.label, self.dialect)
        # The text reaches the database unchanged: neither a colon nor a percent sign in it begins a parameter.
        options: dict[str, Any] = {
            "stream_results": True,
            "max_row_buffer": query.batch_rows,
            "no_parameters": True,
        }
        engine = engines.create(self.name, self.url, self.root)
        try:
            with database_errors.translated(self.name, query.label, connecting=True):
                connection = engine.connect().execution_options(**options)
            with closing(connection):
                values = self._values(self._find_parameters(text), query.label)
                with database_errors.translated(self.name, query.label):
                    plan = self._plan(connection, query, text, values)
                    result = self._execute(connection, plan.text, values)
                cursor = result.cursor
                try:
                    yield self._stream(result, plan, query)
                finally:
                    engines.abandon(connection, cursor)
                    result.close()
        finally:
            engine.dispose()

    def _plan(self, connection: sa.Connection, query: Query, text: str, values: dict[str, Any]) -> _Plan:
        """Return the query with a SELECT of the needed columns around it, and its limit.

        If that fails, return the query as it is: the database's message then quotes the author's own text.
        """
        names = self._names(connection, f"select * from ({text}\n) as domain limit 0", values)
        if names is not None:
            found = list(query.positions(names))
            # A name that the query returns twice cannot be selected from it.
            if all(names.count(name) == 1 for name in found):
                wrapped = _select(connection, found, text, query.limit)
                positions = {name: position for position, name in enumerate(found)}
                return _Plan(wrapped, names, positions)
        with closing(self._execute(connection, text, values)) as result:
            names = list(result.keys())
        return _Plan(text, names, query.positions(names))

    def _names(self, connection: sa.Connection, text: str, values: dict[str, Any]) -> list[str] | None:
        """Return the names of the columns that a query returns, None if it fails."""
        import sqlalchemy as sa

        try:
            with closing(self._execute(connection, text, values)) as result:
                # A list, so that a name that the query returns twice is there twice.
                names = list(result.keys())
        except sa.exc.SQLAlchemyError as error:
            if getattr(error, "connection_invalidated", False):
                raise
            connection.rollback()
            return None
        if connection.dialect.name == "sqlite":
            return [_as_written(name, names) for name in names]
        return names

    def _execute(self, connection: sa.Connection, text: str, values: dict[str, Any]) -> Any:
        """Return the result of a query, with its parameters bound in the way of its database's driver."""
        import sqlalchemy as sa

        if not values:
            return connection.exec_driver_sql(text)
        statement = sa.text(_as_sqlalchemy_text(text, self.dialect))
        return connection.execute(statement.bindparams(*map(_bound, values, values.values())))

    def _stream(self, result: Any, plan: _Plan, query: Query) -> Stream:
        """Return a result as Arrow; its first rows decide the schema."""
        reader = self._row_reader(result, plan, query)
        partitions = self._partitions(result, plan, query)
        first = next(partitions, [])
        schema = reader.schema(first)
        return Stream(plan.names, schema, _batches(reader, first, partitions), reader.types)

    def _row_reader(self, result: Any, plan: _Plan, query: Query) -> RowReader:
        codes = [column[1] for column in result.cursor.description]
        readers, types = {}, {}
        for name, position in plan.positions.items():
            needed = _AS_IT_IS if query.needed is None else query.needed[name]
            code = codes[position] if isinstance(codes[position], int) else None
            readers[name] = Reader(needed, padded=code in self.dialect.padded, single=code in self.dialect.single)
            hidden = self.dialect.hidden.get(code)
            if hidden is not None:
                types[name] = hidden
        return RowReader(readers, plan.positions, types)

    def _partitions(self, result: Any, plan: _Plan, query: Query) -> Iterator[Sequence[Any]]:
        rows = islice(result, query.limit) if query.limit is not None else iter(result)
        if query.sample is not None:
            with database_errors.translated(self.name, query.label):
                rows = iter(_sampled(rows, plan, query.sample))
        while True:
            with database_errors.translated(self.name, query.label):
                part = list(islice(rows, query.batch_rows))
            if not part:
                return
            yield part


def _batches(reader: RowReader, first: Sequence[Any], others: Iterator[Sequence[Any]]) -> Iterator[Batch]:
    yield from reader.batches(first)
    for rows in others:
        yield from reader.batches(rows)


def _sampled(rows: Iterable[Any], plan: _Plan, sample: Sample) -> list[Any]:
    """Return the rows of a sample. No more than these are in memory at a time."""
    positions = [plan.positions[name] for name in sample.key if name in plan.positions]

    def hashed(row: Any) -> bytes:
        key = (SEED, *(row[position] for position in positions))
        return hashlib.blake2b(repr(key).encode(), digest_size=8).digest()

    return heapq.nsmallest(sample.rows, rows, key=hashed)


def _require_select(text: str, label: str, dialect: Dialect) -> None:
    """Raise DomainInvalid unless a query is one SELECT by its words; the transaction itself also refuses to write."""
    code = [token for token in sql_text.tokens(text, mysql=dialect.is_mysql) if token.is_code or token.text == ";"]
    word = sql_text.first_word(text, mysql=dialect.is_mysql)
    if word not in _FIRST_WORDS:
        fault = f"but it begins with {word.upper()}"
    elif any(token.text == ";" for token in code):
        fault = "but there is another statement after a semicolon"
    # SELECT … INTO creates a table, or a file on the server.
    elif any(token.kind == "word" and token.text.lower() == "into" for token in code):
        fault = "but it has an INTO"
    else:
        return
    raise DomainInvalid(f"{label} must be one SELECT, {fault}. Nothing was run.")


def _bound(name: str, value: Any) -> Any:
    """Return a parameter, whose type SQLAlchemy takes from its value; a time with a zone is in UTC."""
    import sqlalchemy as sa

    if isinstance(value, datetime) and value.tzinfo is not None:
        return sa.bindparam(name, value.astimezone(UTC), sa.DateTime(timezone=True))
    return sa.bindparam(name, value)


def _as_sqlalchemy_text(text: str, dialect: Dialect) -> str:
    """Return a query in the syntax of `sqlalchemy.text`: `:as_of` for `$as_of`, and all other colons escaped."""
    parts = []
    for token in sql_text.tokens(text, mysql=dialect.is_mysql):
        if token.parameter is not None:
            parts.append(f":{token.parameter}")
        else:
            parts.append(token.text.replace(":", r"\:"))
    return "".join(parts)


def _select(connection: sa.Connection, names: Sequence[str], text: str, limit: int | None) -> str:
    """Return a SELECT of some columns of a query, of at most `limit` rows."""
    columns = ", ".join(_quoted(connection, name) for name in names) or "1"
    ending = "" if limit is None else f" limit {limit:d}"
    return f"select {columns} from ({text}\n) as domain{ending}"


def _quoted(connection: sa.Connection, name: str) -> str:
    preparer = connection.dialect.identifier_preparer
    end = preparer.final_quote
    return f"{preparer.initial_quote}{name.replace(end, end * 2)}{end}"


def _as_written(name: str, names: Sequence[str]) -> str:
    match = _RENAMED.fullmatch(name)
    return match[1] if match and match[1] in names else name
