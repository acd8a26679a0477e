"""The class of an error of a source's database: the user's mistake, or something that a retry may help with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from prescore.catalog import login_errors
from prescore.errors import DatabaseRefused, DomainInvalid, PrescoreError, SourceUnavailable
from prescore.sources.source import sentences

_TRANSIENT_STATES = ("08", "53", "57", "58", "40", "25P", "55P03", "HYT")
"""SQLSTATEs that say that the server is absent, busy or short of something, by how they begin."""
_REFUSED_STATES = ("28", "3D", "42501")
# While connecting, libpq reports errors without an SQLSTATE, unless `login_errors` finds it. These words are what the
# messages have in common.
_REFUSED_WORDS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "service file",
    "definition of service",
    "invalid integer value",
    "invalid sslmode value",
)
_MYSQL_TRANSIENT = {
    1040,  # too many connections
    1053,  # shutdown in progress
    *range(1158, 1162),  # an error or a timeout of the network
    1203,  # too many connections of this user
    1205,  # waited too long for a lock
    1213,  # deadlock
    1317,  # interrupted
    1927,  # killed
    1969,  # max_statement_time of MariaDB
    2002,  # cannot connect
    2003,
    2006,  # the server has gone away
    2013,
    2055,
    3024,  # max_execution_time of MySQL
    4031,  # closed because of inactivity
}
_MYSQL_REFUSED = {1044, 1045, 1049, 1130, 1142, 1143, 1227, 1698}
_AWAY_ADVICE = "Check that its database is up and reachable, then try again."
_TOO_SLOW_ADVICE = (
    "Did the query exceed a timeout of the server or of the role? Raise the timeout, or make the query faster."
)
_LOCKED_ADVICE = "Another session holds a lock on what the query reads. Try again when it is done."
_CROWDED_ADVICE = "Close some of its connections, or raise its limit, then try again."
_TRANSIENT_ADVICE: dict[str | int | None, str] = {
    **dict.fromkeys(("57014", "25P04", 1317, 1969, 3024), _TOO_SLOW_ADVICE),
    **dict.fromkeys(("55P03", "40P01", 1205, 1213, "BUSY", "LOCKED"), _LOCKED_ADVICE),
    **dict.fromkeys(("53300", 1040, 1203), _CROWDED_ADVICE),
}
_ADVICE = "Fix the query, or the data that it reads."
_SQLITE_TRANSIENT = {"BUSY", "LOCKED", "NOMEM", "INTERRUPT", "IOERR", "FULL", "PROTOCOL"}


@contextmanager
def translated(source: str, label: str, *, connecting: bool = False) -> Iterator[None]:
    """Raise the errors of SQLAlchemy and its drivers in the block as errors of prescore.

    Messages call the source `source`, and the query `label`. An unknown error is final, except while `connecting`.
    """
    import sqlalchemy as sa

    try:
        yield
    except sa.exc.DBAPIError as error:
        raise classified(source, label, error, connecting=connecting) from error
    except sa.exc.ResourceClosedError as error:
        raise DomainInvalid(f"{label} returns no rows. It must be one SELECT.") from error
    # What drivers raise for values that Python does not have, such as text in another encoding.
    except (sa.exc.SQLAlchemyError, ValueError, OverflowError) as error:
        raise DomainInvalid(sentences(f"{label} failed", str(error), _ADVICE)) from error


def classified(source: str, label: str, error: Any, *, connecting: bool = False) -> PrescoreError:
    """Return the error of prescore for an error of a driver, which SQLAlchemy has wrapped."""
    driver_error = error.orig
    if connecting and isinstance(driver_error, psycopg.OperationalError):
        login_errors.add_sqlstate(driver_error)
    text = _text(driver_error)
    if _is_refusal(driver_error):
        return DatabaseRefused(
            sentences(f"Source {source} refuses access", text, "Check its URL, and the rights of its user.")
        )
    if error.connection_invalidated or _is_transient(driver_error):
        advice = _TRANSIENT_ADVICE.get(_code(driver_error), _AWAY_ADVICE)
        return SourceUnavailable(sentences(f"Source {source} is not available", text, advice))
    advice = "Check that its database is up, and its URL in prescore.toml."
    if connecting and _code(driver_error) is None:
        return SourceUnavailable(sentences(f"Cannot connect to source {source}", text, advice))
    if connecting:
        return DatabaseRefused(sentences(f"Cannot connect to source {source}", text, advice))
    return DomainInvalid(sentences(f"{label} failed", text, _ADVICE))


def _is_refusal(error: Any) -> bool:
    code = _code(error)
    if isinstance(code, int):
        return code in _MYSQL_REFUSED
    if code is not None:
        return code.startswith(_REFUSED_STATES)
    return _is_postgres(error) and any(word in str(error) for word in _REFUSED_WORDS)


def _is_transient(error: Any) -> bool:
    code = _code(error)
    if isinstance(code, int):
        return code in _MYSQL_TRANSIENT
    if code is not None:
        # A protocol violation is a parameter such as $1, which nothing has a value for.
        is_transient = code.startswith(_TRANSIENT_STATES) and code != "08P01"
        return is_transient or code in _SQLITE_TRANSIENT
    # libpq's own errors, such as a closed connection, have no code.
    return _is_postgres(error) and type(error).__name__ == "OperationalError"


def _code(error: Any) -> str | int | None:
    """Return the SQLSTATE of an error, the number of MySQL's, or the name of SQLite's; None if it has none."""
    # The drivers of MySQL have a number in front of the message. Its SQLSTATE, if there is one, says less.
    first = error.args[0] if error.args else None
    if isinstance(first, int) and first:
        return first
    # psycopg, psycopg2
    for name in ("sqlstate", "pgcode"):
        state = getattr(error, name, None)
        if isinstance(state, str):
            return state
    sqlite_name = getattr(error, "sqlite_errorname", None)
    if isinstance(sqlite_name, str):
        return sqlite_name.removeprefix("SQLITE_").split("_")[0]
    # The drivers of ODBC have an SQLSTATE in front of the message.
    return first if isinstance(first, str) and len(first) == 5 and first.isalnum() else None


def _is_postgres(error: Any) -> bool:
    return type(error).__module__.startswith("psycopg")


def _text(error: Any) -> str:
    """Return the message of a driver's error, without the number in front of it."""
    args = error.args
    text = str(args[1] if len(args) == 2 and isinstance(args[0], int) else error)
    return text.strip().removesuffix(".")
