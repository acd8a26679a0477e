"""The one place where errors of the driver become errors of prescore, and so decide whether a retry can help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg

from prescore import errors
from prescore.catalog import urls
from prescore.catalog.urls import URL_VARIABLE

LOST = ("08", "57P")
"""How the SQLSTATEs of a lost connection begin."""


class _Meaning(NamedTuple):
    """What an SQLSTATE means to the user: what it is the error of, and what to do about it."""

    kind: type[errors.DatabaseRefused | errors.DatabaseUnavailable]
    advice: str


_AWAY = _Meaning(errors.DatabaseUnavailable, "Is it running and reachable? Then try again.")
_LOGIN = _Meaning(errors.DatabaseRefused, f"Check user, password and database in {URL_VARIABLE}.")
_URL = _Meaning(errors.DatabaseRefused, f"Correct it in {URL_VARIABLE}, or in the variable or file that it comes from.")
_SERVICE = _Meaning(
    errors.DatabaseRefused, "Define the service in ~/.pg_service.conf, or in the file that PGSERVICEFILE names."
)
_LACKS = _Meaning(
    errors.DatabaseRefused,
    "Was it dropped or renamed by hand? `prescore db migrate` restores what belongs to the catalog, and the next run "
    "restores a model's own view.",
)
_IN_THE_WAY = _Meaning(
    errors.DatabaseRefused, "Another object of this database is in the way. Drop or change it, then try again."
)
_ENCODING = _Meaning(
    errors.DatabaseRefused, "The database's encoding does not have this character. Use a database in UTF8."
)
_MEANINGS = {
    "08": _AWAY,
    "0A": _Meaning(
        errors.DatabaseRefused, "prescore needs PostgreSQL itself, or a server that behaves in the same way."
    ),
    "0P": _LOGIN,
    "22021": _ENCODING,
    "22P05": _ENCODING,
    "25006": _Meaning(
        errors.DatabaseUnavailable,
        "This server is read-only: is it a standby, or did it fail over? Point prescore at the primary.",
    ),
    "25P03": _Meaning(
        errors.DatabaseUnavailable, "This process was slow or suspended in the middle of a transaction. Try again."
    ),
    "25P04": _Meaning(
        errors.DatabaseUnavailable,
        "The transaction took longer than transaction_timeout. Try again, or raise the timeout.",
    ),
    "26": _Meaning(
        errors.DatabaseUnavailable,
        "A pooler in transaction mode may be between prescore and the server. Connect to the server itself, or to a "
        "pool in session mode.",
    ),
    "28": _LOGIN,
    "2B": _IN_THE_WAY,
    "38": _IN_THE_WAY,
    "39": _IN_THE_WAY,
    "3D": _LOGIN,
    "3F": _LACKS,
    "40": _Meaning(errors.DatabaseUnavailable, "Another transaction was in the way. Try again."),
    "42501": _Meaning(errors.DatabaseRefused, "Grant the privilege, or use a role that has it."),
    "42701": _IN_THE_WAY,
    "42703": _LACKS,
    "42704": _LACKS,
    "42710": _IN_THE_WAY,
    "42723": _IN_THE_WAY,
    "42809": _IN_THE_WAY,
    "42883": _LACKS,
    "42P01": _LACKS,
    "42P06": _IN_THE_WAY,
    "42P07": _IN_THE_WAY,
    "42P16": _IN_THE_WAY,
    "42P17": _IN_THE_WAY,
    "53": _AWAY,
    "53100": _Meaning(errors.DatabaseUnavailable, "The server's disk is full. Free space there, then try again."),
    "53200": _Meaning(
        errors.DatabaseUnavailable,
        "The server is out of memory. Give it more memory or less concurrent work, then try again.",
    ),
    "53300": _Meaning(
        errors.DatabaseUnavailable,
        "The server has no free connections. Close some or raise max_connections, then try again.",
    ),
    "54": _Meaning(errors.DatabaseRefused, "This exceeds a limit of Postgres, which no retry changes."),
    "55": _IN_THE_WAY,
    "55006": _Meaning(errors.DatabaseUnavailable, "Another session uses it. Try again when that session is done."),
    "55P03": _Meaning(
        errors.DatabaseUnavailable,
        "Another session holds a lock that this one waited for; see pg_locks. Try again when it is done.",
    ),
    "57": _AWAY,
    "57014": _Meaning(
        errors.DatabaseUnavailable,
        "The statement was cancelled, or took longer than statement_timeout. Try again, or raise the timeout.",
    ),
    "58": _Meaning(errors.DatabaseUnavailable, "The server cannot use its files; see its log. Then try again."),
    "F0": _Meaning(errors.DatabaseUnavailable, "The server's configuration is at fault; see its log. Then try again."),
    "P0": _IN_THE_WAY,
    "XX": _Meaning(errors.DatabaseUnavailable, "This is an error inside of the server; see its log. Then try again."),
}
"""What to do, by SQLSTATE or by its class, the first two characters. Any other one is an error of prescore's."""
_POLICIES = _Meaning(
    errors.DatabaseRefused,
    "Policies would hide rows without an error. Disable row-level security on prescore's tables, or give the role "
    "BYPASSRLS.",
)
# While connecting, libpq reports errors without an SQLSTATE. `login_errors` finds out that of the server where it can.
# Otherwise, these words are what the messages have in common.
_WORDS = {
    "too many clients": "53300",
    "too many connections": "53300",
    "remaining connection slots": "53300",
    "authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "not permitted to log in": "28000",
    "permission denied for database": "28000",
    "no such user": "28000",
    "no such database": "3D000",
    "does not exist": "3D000",
    "SSL was required": "28000",
    "unsupported startup parameter": "0A000",
}
_LIBPQ_FAULTS = {
    re.compile("service file|definition of service"): _SERVICE,
    re.compile(r"invalid \w+ value"): _URL,
}
"""What libpq says of parameters that it cannot use, such as `invalid sslmode value: "on"`."""


@contextmanager
def translate_errors(url: str, *, embedded: bool = False) -> Iterator[None]:
    """Raise the driver errors of the block as errors of prescore, with the original as their cause.

    Errors of prescore's own, such as a statement with a syntax error, stay as they are.
    """
    try:
        yield
    except psycopg.Error as error:
        translated = _translate(url, error, embedded=embedded)
        if translated is None:
            raise
        raise translated from error


def is_connection_lost(error: errors.DatabaseUnavailable) -> bool:
    """Return whether the connection was lost, as in a restart or failover, so that waiting a little may help."""
    cause = error.__cause__
    return not isinstance(cause, psycopg.OperationalError) or _is_connection_lost(cause)


def is_of_server(error: psycopg.Error) -> bool:
    """Return whether the server could not run a statement, or refused it, and the statement itself is not at fault."""
    return error.sqlstate is not None and _meaning(error) is not None


def embedded_stopped(why: str) -> errors.DatabaseUnavailable:
    """Return the error for a project's embedded server that stopped while a command used it."""
    return errors.DatabaseUnavailable(
        f"The project's embedded Postgres stopped while it was in use: {why} The next command starts it again, "
        "and the next run resumes where this one stopped."
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's text that is not blank, as a sentence; without one, the error's class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if line.endswith(".") else f"{line}."


def _translate(url: str, error: psycopg.Error, *, embedded: bool) -> errors.PrescoreError | None:
    if error.sqlstate is None:
        fault = urls.fault(url)
        if fault is not None:
            return urls.invalid(fault)
        if not isinstance(error, psycopg.OperationalError):
            return None
    if embedded and isinstance(error, psycopg.OperationalError) and _is_connection_lost(error):
        return embedded_stopped(first_line(error))
    meaning = _meaning(error)
    if meaning is None:
        return None
    return meaning.kind(f"{_subject(url, meaning, error)}: {_telling_line(error)} {meaning.advice}")


def _meaning(error: psycopg.Error) -> _Meaning | None:
    is_connecting = error.pgconn is not None
    if error.sqlstate is None:
        for words, meaning in _LIBPQ_FAULTS.items():
            if words.search(str(error)):
                return meaning
    state = _sqlstate(error)
    if state is None:
        return _AWAY
    # Unlike the message, the name of the function is the same in every language.
    if state == "42501" and error.diag.source_function == "check_enable_rls":
        return _POLICIES
    # No statement has run yet, so what the server does not accept is in the URL.
    if is_connecting and state.startswith(("22", "42")):
        return _LOGIN if state == "42501" else _URL
    return _MEANINGS.get(state) or _MEANINGS.get(state[:2])


def _subject(url: str, meaning: _Meaning, error: psycopg.Error) -> str:
    server = f"Postgres at {urls.redacted(url)}"
    if meaning is _LOGIN:
        return f"{server} refuses the login"
    if meaning in (_URL, _SERVICE):
        return f"Cannot connect to {server}"
    if error.sqlstate == "42501":
        return "Postgres denies access"
    if meaning.kind is errors.DatabaseRefused:
        return f"{server} refuses a statement"
    return f"Cannot work with {server}"


def _telling_line(error: psycopg.Error) -> str:
    """Return the first line of an error; of one with several hosts, the one that decided its class."""
    if error.pgconn is not None and error.sqlstate is None:
        for line in str(error).splitlines():
            if any(words in line for words in _WORDS):
                return first_line(Exception(line.removeprefix("- ")))
    return first_line(error)


def _is_connection_lost(error: psycopg.OperationalError) -> bool:
    # libpq's own errors, such as a refused connection, have no SQLSTATE.
    state = _sqlstate(error)
    return state is None or state.startswith(LOST)


def _sqlstate(error: psycopg.Error) -> str | None:
    if error.sqlstate or not isinstance(error, psycopg.OperationalError):
        return error.sqlstate
    text = str(error)
    for words, state in _WORDS.items():
        if words in text:
            return state
    return None
