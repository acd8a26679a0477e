"""The time that the data of a domain describe: data_as_of."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from prescore.errors import DomainInvalid
from prescore.project.spec import Spec
from prescore.sources.source import Needed, Source
from prescore.sources.values import Reader, Unfit
from prescore.wording import utc

LABEL = "domain.data_as_of.query"
"""The name of its query in messages."""
# How far the clocks of a source and of this machine may differ.
_CLOCK_SKEW = timedelta(minutes=5)


def query(source: Source, spec: Spec) -> datetime | None:
    """Run the spec's data_as_of query and return its value, or None when the spec has no such query.

    Raises DomainInvalid unless the query returns one row with one time.
    """
    clock = spec.domain.data_as_of
    if clock is None or clock.query is None:
        return None
    rows = source.rows(clock.query, LABEL)
    values = [value for row in rows for value in row.values()]
    if len(values) != 1 or None in values:
        examples = rows[:2] or "no row"
        raise DomainInvalid(f"{LABEL} must return one row with one time, but returned {examples}.")
    return to_datetime(_read_time(values[0]))


def _read_time(value: Any) -> Any:
    """Return the date or time that a text spells: SQLite has no other."""
    try:
        return Reader(Needed(None)).read(value)
    except Unfit as unfit:
        raise DomainInvalid(f"{LABEL} returned {value}, {unfit}. Cast it in the query.") from unfit


def to_datetime(value: Any) -> datetime | None:
    """Return a date or time of the domain as an instant: a date is its midnight, and a time without a zone is UTC.

    Raises DomainInvalid for any other value, and for a time in the future.
    """
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise DomainInvalid(
            f"data_as_of must be a date or a timestamp, but is {value!r} in the domain. Cast it in the query."
        )
    instant = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if instant > datetime.now(UTC) + _CLOCK_SKEW:
        raise DomainInvalid(
            f"data_as_of would be {utc(instant)}, which is in the future, so that predictions would seem "
            "newer than they are. A time without a zone is read as UTC: if it is local time, add its zone in the query."
        )
    return instant
