"""Domains as streams of Arrow batches: DuckDB over files, or any database that SQLAlchemy reaches."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from prescore.errors import DatabaseUnavailable, DomainInvalid, Mistake, StoreFull
from prescore.project.project import Project, make_folder
from prescore.project.spec import Spec

_ASIDE = r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'"  # comments and texts
_AS_OF = re.compile(rf"{_ASIDE}|(\$as_of\b(?!\$))", re.DOTALL)


@dataclass(frozen=True)
class Stream:
    """A running domain query: the schema of what it gives, and its batches, to be taken once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Source:
    """A way to run a query. `open` gives a Stream, and must be closed. `as_of` is what `$as_of` in a query stands for.

    Both raise DomainInvalid, DatabaseUnavailable, or StoreFull when what does not fit in memory does not fit on disk either.
    """

    url: str | None
    root: Path
    spill: Path
    memory_limit: str
    file: str
    as_of: datetime | None = None

    def at(self, as_of: datetime) -> Self:
        """The same source, asked as of a moment; otherwise it is now."""
        return replace(self, as_of=as_of)

    @contextmanager
    def open(
        self,
        query: str,
        rows: int,
        expected: dict[str, pa.DataType] | None = None,
        *,
        limit: int | None = None,
        named: str | None = None,
    ) -> Iterator[Stream]:
        """Run a query and stream batches of about `rows` rows, at most `limit` rows in all.

        `expected` are the types that a row-wise database's values are to be read as; DuckDB has its own. `named` is
        what messages call the query, where it is not the domain's.
        """
        named = named or f"The domain query {self.file}"
        if self.url is None:
            opened = self._duckdb(query, rows, limit, named)
        else:
            opened = _rows(self.url, query, rows, expected or {}, limit, named, self._asked(query))
        with opened as stream:
            yield stream

    @contextmanager
    def _duckdb(self, query: str, rows: int, limit: int | None, named: str) -> Iterator[Stream]:
        import duckdb

        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.memory_limit,
            "temp_directory": str(self.spill),
        }
        # DuckDB looks for a relative path in the process's folder before it looks in file_search_path: a run started
        # elsewhere would read whatever lies there under the same name.
        with self._spilling(), contextlib.chdir(self.root), duckdb.connect(":memory:", config=settings) as connection:
            try:
                # A time without zone is the same on every machine.
                connection.execute("set TimeZone = 'UTC'")
                _require_select(connection.extract_statements(query), named)
                as_of = self._asked(query)
                relation = connection.sql(query, params={"as_of": as_of} if as_of else None)
                # Limited by the relation, not by a SELECT around it: what DuckDB quotes is then the author's own text.
                reader = (relation if limit is None else relation.limit(limit)).to_arrow_reader(rows)
            except duckdb.Error as error:
                if _spilled_over(error):
                    raise StoreFull.at(self.spill) from error
                raise DomainInvalid(f"{named} does not run: {error}") from error
            yield Stream(reader.schema, _translated(self._filled(iter(reader)), duckdb.Error, pa.ArrowException))

    def _asked(self, query: str) -> datetime | None:
        return self.as_of or datetime.now(UTC) if uses_as_of(query) else None

    def _filled(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches; a disk that they fill as they are spilt raises StoreFull."""
        try:
            yield from batches
        except Exception as error:
            if _spilled_over(error):
                raise StoreFull.at(self.spill) from error
            raise

    @contextmanager
    def _spilling(self) -> Iterator[None]:
        make_folder(self.spill)
        try:
            yield
        finally:
            shutil.rmtree(self.spill, ignore_errors=True)


def uses_as_of(query: str) -> bool:
    """Whether a query has `$as_of` in it, outside of comments and texts."""
    return any(found[1] for found in _AS_OF.finditer(query))


def _spilled_over(error: Exception) -> bool:
    """Whether DuckDB ran out of disk, not of memory; it has no code for that, and takes the free space as a limit."""
    return "max_temp_directory_size" in str(error) or "No space left on device" in str(error)


def _require_select(statements: list[Any], named: str) -> None:
    """Raise DomainInvalid before anything runs: what is no SELECT could write, and only the last would give rows."""
    kinds = [statement.type.name for statement in statements]
    # MULTI is what DuckDB makes of a PIVOT.
    if kinds not in (["SELECT"], ["MULTI"]):
        raise DomainInvalid(f"{named} must be one SELECT; it is {', then '.join(kinds)}. Nothing of it was run.")


def open_source(project: Project, spec: Spec, spill: Path) -> Source:
    """The source that a spec names; raises Mistake when prescore.toml does not know it."""
    name = spec.domain.source
    url = None if name == "duckdb" else _named(project, name)
    return Source(url, project.root, spill, project.settings.memory_limit, spec.domain.query)


def query_text(project: Project, spec: Spec) -> str:
    """The domain query's text; raises DomainInvalid when its file is not there, or holds no query.

    What stands before the query stays, so that the lines that a database counts are those of the file.
    """
    path = project.root / spec.domain.query
    try:
        text = path.read_text(encoding="utf-8").rstrip().removesuffix(";")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DomainInvalid(
            f"There is no readable domain query {path}: {why}. Mend domain.query in the spec."
        ) from error
    if not re.sub(rf"{_ASIDE}|;", "", text, flags=re.DOTALL).strip():
        raise DomainInvalid(f"The domain query {path} is empty: write the SELECT that gives every row to predict.")
    return text


def fingerprint(source: Source, query: str, limit: int | None = None, as_of: datetime | None = None) -> str:
    """SHA-256 of what is asked of whom, how much of it, and as of when. Passwords come and go: they do not count."""
    limited = "" if limit is None else f"\nlimit {limit}"
    dated = "" if as_of is None else f"\nas of {as_of.astimezone(UTC).isoformat()}"
    return hashlib.sha256(f"{_whom(source.url)}\n{query}{limited}{dated}".encode()).hexdigest()


def _whom(url: str | None) -> str:
    if url is None:
        return "duckdb"
    import sqlalchemy as sa

    return sa.make_url(url).render_as_string(hide_password=True)


def _named(project: Project, name: str) -> str:
    url = project.settings.sources.get(name)
    if url is None:
        known = ", ".join(["duckdb", *project.settings.sources])
        raise Mistake(
            f"domain.source names {name}, which prescore.toml does not have under [sources]; there are {known}."
        )
    if url.startswith("env:"):
        variable = url.removeprefix("env:")
        if variable not in os.environ:
            raise Mistake(f"Source {name} takes its URL from {variable}, which is not set.")
        return os.environ[variable]
    return url


@contextmanager
def _rows(
    url: str,
    query: str,
    rows: int,
    expected: dict[str, pa.DataType],
    limit: int | None,
    named: str,
    as_of: datetime | None,
) -> Iterator[Stream]:
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    try:
        # The text reaches the database as it is: no colon in it begins a parameter, and no percent sign does.
        options = {"stream_results": True, "max_row_buffer": rows, "no_parameters": True}
        with (
            engine.connect().execution_options(**options) as connection,
            _executed(connection, _limited(connection, query, limit, as_of), as_of) as result,
        ):
            batches = _translated(
                (_batch(part, expected) for part in result.mappings().partitions(rows)), sa.exc.SQLAlchemyError
            )
            first = next(batches, None)
            schema = (
                first.schema
                if first is not None
                else pa.schema([(n, expected.get(n, pa.null())) for n in list(result.keys())])
            )
            yield Stream(schema, _chain(first, batches))
    except sa.exc.OperationalError as error:
        raise DatabaseUnavailable(f"The domain's database does not answer: {error.orig}") from error
    except sa.exc.SQLAlchemyError as error:
        raise DomainInvalid(f"{named} does not run: {getattr(error, 'orig', None) or error}") from error
    finally:
        engine.dispose()


def _limited(connection: Any, query: str, limit: int | None, as_of: datetime | None) -> str:
    """The query with a limit around it; where it does not run so, as it is, for its author to see what is wrong."""
    import sqlalchemy as sa

    if limit is None:
        return query
    limited = f"select * from ({query}\n) as domain limit {limit:d}"
    try:
        _executed(connection, limited, as_of).close()
    except sa.exc.DBAPIError:
        connection.rollback()
        return query
    return limited


def _executed(connection: Any, query: str, as_of: datetime | None) -> Any:
    """The query's result; `$as_of` is bound in whatever way its database's driver has."""
    import sqlalchemy as sa

    if as_of is None:
        return connection.exec_driver_sql(query)
    bound = _AS_OF.sub(lambda found: ":as_of" if found[1] else found[0], query.replace(":", r"\:"))
    moment = sa.bindparam("as_of", as_of.astimezone(UTC), sa.DateTime(timezone=True))
    return connection.execute(sa.text(bound).bindparams(moment))


def _batch(rows: Any, expected: dict[str, pa.DataType]) -> pa.RecordBatch:
    return pa.record_batch({name: _array(name, [row[name] for row in rows], expected.get(name)) for name in rows[0]})


def _array(name: str, values: list[Any], want: pa.DataType | None) -> pa.Array:
    """Python values as Arrow: as what is expected where they are that, else as what they are."""
    as_is: Callable[[list[Any]], pa.Array] = pa.array
    try:
        if want is not None and pa.types.is_fixed_size_binary(want):
            return as_is([None if value is None else str(value) for value in values])
        array = as_is(values)
        return array if want is None or not pa.types.is_null(array.type) else array.cast(want)
    except (pa.ArrowException, TypeError) as error:
        raise DomainInvalid(f"Column {name} of the domain query cannot be read: {error}.") from error


def _chain(first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if first is not None:
        yield first
    yield from rest


def _translated(batches: Iterator[pa.RecordBatch], *driver: type[Exception]) -> Iterator[pa.RecordBatch]:
    """Batches, with the driver's errors in the middle of the query turned into ours."""
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except driver as error:
            raise DomainInvalid(f"The domain query failed half-way: {error}") from error
        yield batch
