"""Run expectations on a version's table with Great Expectations, inside Postgres.

Great Expectations takes seconds to import, so the functions that need it import it themselves.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from prescore.catalog.catalog import Catalog, CheckResult, Version
from prescore.catalog.database import Database
from prescore.catalog.driver_errors import LOST, embedded_stopped
from prescore.checks import aggregates, expectation_errors, row_expectations
from prescore.checks.results import exceptions, from_validation
from prescore.errors import DatabaseUnavailable, SpecInvalid
from prescore.project.spec import Spec

COMPULSORY = ("rows", "rejects", "keys", "finite", "lengths")
"""Names of the checks that every version must pass; a spec's own checks have other names."""

_NEED_ALL_ROWS = frozenset(
    {
        "column_distinct_values_to_contain_set",
        "column_distinct_values_to_equal_set",
        "column_sum_to_be_between",
        "column_unique_value_count_to_be_between",
        "table_row_count_to_be_between",
        "table_row_count_to_equal",
    }
)
"""Expectations that a sample of the domain fails because it has fewer rows, however good the predictions are."""

# Great Expectations expands $NAME in a connection string and rejects some forms of libpq's URLs. So it gets this
# string, which decides nothing but the driver, and connections that are opened as everywhere else.
_CONNECTION_STRING = "postgresql+psycopg://prescore@localhost/prescore"

# SQLAlchemy's name for a lost connection, a cancelled statement or a full disk: no verdict on the data.
_OPERATIONAL_ERROR = "OperationalError"


def build(spec: Spec) -> list[Any]:
    """Build the expectations of a spec's own checks, so that a misspelt one is an error before anything is scored.

    Raises SpecInvalid with the faults of all checks.
    """
    _configure_library()
    expectations: list[Any] = []
    faults: list[str] = []
    for check in spec.checks:
        try:
            expectation = expectation_errors.build_expectation(check, spec)
            expectations.append(expectation)
        except ValueError as error:
            faults.append(f"{check.title}: {error}")
    faults += _title_faults(spec)
    if faults:
        lines = "\n  ".join(faults)
        raise SpecInvalid(f"The checks of {spec.model} are invalid:\n  {lines}")
    return expectations


def needing_all_rows(spec: Spec) -> list[str]:
    """Return the names of the checks that do not run on a trial, because they need every row of the domain."""
    return [check.title for check in spec.checks if check.expect in _NEED_ALL_ROWS]


def _configure_library() -> None:
    # Great Expectations reports usage from its first import on unless this is set.
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    # It logs its internals, and the traceback of an error, such as a lost connection, that is reported elsewhere.
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)


def _title_faults(spec: Spec) -> Iterator[str]:
    titles = Counter(check.title for check in spec.checks)
    for title, count in sorted(titles.items()):
        if count > 1:
            yield f"{title}: {count} checks have this name; give each its own with name"
    for title in titles:
        if title in COMPULSORY:
            yield f"{title}: this name is reserved for a built-in check; choose another with name"


def validate(
    database: Database,
    version: Version,
    expectations: list[Any],
    differing: str | None = None,
) -> list[CheckResult]:
    """Run expectations on a version's table; return their results in the same order. Without any, import nothing.

    With `differing`, which describes the rows of a delta that differ from its base, expectations that judge each row by
    itself read those alone: the rows of the base have met them.

    Raises DatabaseUnavailable when the connection is lost, another session holds a lock, or the server cancels a
    statement.
    """
    if not expectations:
        return []
    whole: list[Any] = []
    by_row: list[Any] = []
    for expectation in expectations:
        if differing is not None and row_expectations.judges_rows(expectation):
            by_row.append(row_expectations.restricted(expectation, version))
        else:
            whole.append(expectation)
    failures: list[psycopg.OperationalError] = []
    try:
        with _source(database, failures) as source:
            # One validation reads as many measures as possible in one scan.
            of_all_rows = _validate(source, version["table_name"], whole)
            of_differing_rows = _validate(source, version["rows_table"], by_row)
    except (ConnectionError, DatabaseUnavailable) as error:
        _raise_first(database, failures)
        raise _connection_lost(database, str(error)) from error
    for result in (*of_all_rows, *of_differing_rows):
        _require_connection(database, result.exception_info, failures)
    # Great Expectations returns results in an order of its own.
    converted = [from_validation(result) for result in of_all_rows]
    converted += [from_validation(result, differing) for result in of_differing_rows]
    results = {result["name"]: result for result in converted}
    return [results[expectation.meta["title"]] for expectation in expectations]


def _validate(source: Any, table: str, expectations: list[Any]) -> list[Any]:
    """Validate a table or view, and return a result for each expectation."""
    import great_expectations as gx

    if not expectations:
        return []
    aggregates.register()
    # Without quotes, Great Expectations reads the name in lower case.
    asset = source.add_table_asset(table, table_name=f'"{table}"')
    batch = asset.add_batch_definition_whole_table("whole").get_batch()
    suite = gx.ExpectationSuite(name=table, expectations=expectations)
    return list(batch.validate(suite, result_format="SUMMARY").results)


def _require_connection(
    database: Database, exception_info: dict[str, Any], failures: list[psycopg.OperationalError]
) -> None:
    """Raise DatabaseUnavailable for a check that could not run, because of what happened to its connection."""
    for raised in exceptions(exception_info):
        if _OPERATIONAL_ERROR in str(raised):
            _raise_first(database, failures)
            reason = str(raised["exception_message"])
            raise _connection_lost(database, reason)


def _raise_first(database: Database, failures: list[psycopg.OperationalError]) -> None:
    """Raise the first error of the driver, which Great Expectations wraps, unless the connection itself was lost."""
    if failures and failures[0].sqlstate is not None and not failures[0].sqlstate.startswith(LOST):
        with database.translated():
            raise failures[0]


@contextmanager
def _source(database: Database, failures: list[psycopg.OperationalError]) -> Iterator[Any]:
    """Yield a database as Great Expectations sees it; errors of its connections are added to `failures`."""
    import great_expectations as gx
    from sqlalchemy import TEXT, event
    from sqlalchemy.dialects.postgresql import base as postgres

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {
        "globally": False,
        "metric_calculations": False,
    }
    # Great Expectations cannot handle a column whose type SQLAlchemy does not know.
    postgres.ischema_names["vector"] = TEXT
    source = context.data_sources.add_postgres(
        "prescore",
        connection_string=_CONNECTION_STRING,
        kwargs={"creator": partial(_connect, database)},
    )

    def note(context: Any) -> None:
        if isinstance(context.original_exception, psycopg.OperationalError):
            failures.append(context.original_exception)

    event.listen(source.get_engine(), "handle_error", note)
    try:
        yield source
    finally:
        with suppress(ConnectionError):
            source.get_execution_engine().close()
        source.get_engine().dispose()


def _connect(database: Database) -> Any:
    """Open a connection for SQLAlchemy, whose session finds the tables of versions without their schema."""
    connection = database.open()
    # A table asset's own schema argument is deprecated since 1.14. The search path has the same effect.
    Catalog(connection).one("checks_search_path")
    connection.set_autocommit(False)
    connection.row_factory = tuple_row  # type: ignore[assignment] # SQLAlchemy's rows are tuples
    return connection


def _connection_lost(database: Database, reason: str) -> DatabaseUnavailable:
    if database.embedded:
        return embedded_stopped(reason)
    return DatabaseUnavailable(f"Lost the connection to the database during the checks: {reason}")
