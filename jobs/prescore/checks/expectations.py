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
from prescore.checks import expectation_errors
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
) -> list[CheckResult]:
    """Run expectations on a version's table; return their results in the same order. Without any, import nothing.

    Raises DatabaseUnavailable when the connection is lost, another session holds a lock, or the server cancels a
    statement.
    """
    if not expectations:
        return []
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {
        "globally": False,
        "metric_calculations": False,
    }
    failures: list[psycopg.OperationalError] = []
    try:
        with _table_batch(context, database, version["table_name"], failures) as batch:
            suite = gx.ExpectationSuite(name="checks", expectations=expectations)
            validation = batch.validate(suite, result_format="SUMMARY")
    except (ConnectionError, DatabaseUnavailable) as error:
        _raise_first(database, failures)
        raise _connection_lost(database, str(error)) from error
    # Great Expectations returns results in an order of its own.
    results: dict[str, CheckResult] = {}
    for result in validation.results:
        _require_connection(database, result.exception_info, failures)
        converted = from_validation(result)
        results[converted["name"]] = converted
    return [results[expectation.meta["title"]] for expectation in expectations]


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
def _table_batch(
    context: Any, database: Database, name: str, failures: list[psycopg.OperationalError]
) -> Iterator[Any]:
    """Yield a table as Great Expectations sees it; errors of its connection are added to `failures`."""
    from sqlalchemy import TEXT, event
    from sqlalchemy.dialects.postgresql import base as postgres

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
        asset = source.add_table_asset("staged", table_name=name)
        definition = asset.add_batch_definition_whole_table("whole")
        yield definition.get_batch()
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
