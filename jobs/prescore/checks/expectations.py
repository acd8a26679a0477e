"""Great Expectations, pushed down to a version's table, and its results in a few words each.

It takes seconds to import, so it is imported here, inside the functions that need it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prescore.catalog.catalog import Version
from prescore.catalog.database import Database, embedded_stopped
from prescore.checks import expectation_errors
from prescore.checks.results import Result, exceptions, from_validation
from prescore.errors import DatabaseUnavailable, SpecInvalid
from prescore.project.spec import Spec

# What SQLAlchemy calls a lost connection, a cancelled statement, a full disk: no verdict on the data.
_LOST = "OperationalError"


def build(spec: Spec) -> list[Any]:
    """The spec's own expectations, built before anything is scored, so that a misspelt one costs nothing.

    Raises SpecInvalid with every fault at once.
    """
    # It would report usage from the first import on.
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    # Or it fills a task's log with its insides.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    made: list[Any] = []
    faults: list[str] = []
    for check in spec.checks:
        try:
            made.append(expectation_errors.make(check, spec))
        except ValueError as error:
            faults.append(f"{check.title}: {error}")
    titles = [check.title for check in spec.checks]
    faults += [f"{title}: two checks have this name" for title in sorted({t for t in titles if titles.count(t) > 1})]
    faults += [
        f"{title}: this name is prescore's own" for title in titles if title in ("rows", "rejects", "keys", "finite")
    ]
    if faults:
        raise SpecInvalid(f"Checks of {spec.model} do not hold together:\n  " + "\n  ".join(faults))
    return made


def compulsory(rows: int, not_finite: str) -> list[Any]:
    """What every version must pass: exactly so many rows and at least one; no null, NaN or infinite prediction."""
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=max(rows, 1), max_value=max(rows, 1), meta={"title": "rows"}),
        gxe.UnexpectedRowsExpectation(unexpected_rows_query=not_finite, meta={"title": "finite"}),
    ]


def validate(database: Database, version: Version, expectations: list[Any]) -> list[Result]:
    """Run expectations on a version's table, in the database; results in the order of the expectations."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    try:
        with _table(context, database, version["table_name"]) as batch:
            suite = gx.ExpectationSuite(name="checks", expectations=expectations)
            validated = batch.validate(suite, result_format="SUMMARY")
    except ConnectionError as error:  # of which Great Expectations has its own
        raise _away(database, str(error)) from error
    lost = [fault for result in validated.results for fault in exceptions(result.exception_info) if _LOST in str(fault)]
    if lost:
        raise _away(database, str(lost[0]["exception_message"]))
    # Great Expectations gives its results in an order of its own.
    by_title = {result.expectation_config.meta["title"]: from_validation(result) for result in validated.results}
    return [by_title[expectation.meta["title"]] for expectation in expectations]


@contextmanager
def _table(context: Any, database: Database, name: str) -> Iterator[Any]:
    # A table asset's own schema argument is deprecated since 1.14; the search path says the same.
    options = f"{database.options} -c search_path=prescore_versions".strip()
    schema = {"connect_args": {"options": options}}
    source = context.data_sources.add_postgres("prescore", connection_string=database.sqlalchemy_url, kwargs=schema)
    try:
        asset = source.add_table_asset("staged", table_name=name)
        yield asset.add_batch_definition_whole_table("whole").get_batch()
    finally:
        with suppress(ConnectionError):
            source.get_execution_engine().close()
        source.get_engine().dispose()


def _away(database: Database, why: str) -> DatabaseUnavailable:
    return (
        embedded_stopped(why)
        if database.embedded
        else DatabaseUnavailable(f"The database went away during the checks: {why}")
    )
