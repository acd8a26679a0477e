"""Connections to Postgres, and the one place where driver errors become prescore's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from prescore import errors
from prescore.catalog.queries import query

URL_VARIABLE = "PRESCORE_DATABASE_URL"
EMBEDDED = "embedded"

Connection = psycopg.Connection[DictRow]

# A server that vanished without a word is noticed within a minute or so, and not when the kernel gives up after hours.
_NOTICING: dict[str, Any] = {
    # Whatever the database has: one in SQL_ASCII would give bytes for every text.
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}

_LOGIN = (pg.InvalidPassword, pg.InvalidAuthorizationSpecification, pg.InvalidCatalogName)
# libpq tells what goes wrong while connecting without an SQLSTATE; these are what the server's messages have in common.
_LOGIN_WORDS = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")
_FULL_WORDS = ("too many clients", "too many connections", "remaining connection slots")
_FULL = "53300"
_UNWRITABLE = (pg.ReadOnlySqlTransaction, pg.IdleInTransactionSessionTimeout, pg.TransactionTimeout)
# What a server that runs may be short of, by SQLSTATE: what to do about each is not what one does about an outage.
_SHORT = {
    "55P03": "Somebody else holds a lock that this waited for. Try again when they are done; pg_locks shows who it is.",
    "57014": "The statement was cancelled, or took longer than statement_timeout allows. Try again, or allow it more.",
    "25006": "This server only reads: a standby, or one that was just failed over? Point prescore at the primary.",
    "25P03": "This process was slow or stopped in the middle of a transaction. Try again.",
    "25P04": "The server allows no transaction that long (transaction_timeout). Try again, or allow it more.",
    "53100": "The server's disk is full. Make room there, then try again.",
    "53200": "The server is out of memory. Give it more, or fewer things to do at once, then try again.",
    _FULL: "The server takes no more connections. Close some, or raise max_connections, then try again.",
}


@dataclass(frozen=True)
class Database:
    """A Postgres by its libpq URL; opening it is cheap and every step opens its own connections.

    `embedded` is true of a project's own server, of which messages say other things than of one elsewhere. `name` is
    what its connections are called in pg_stat_activity.
    """

    url: str
    embedded: bool = False
    name: str = "prescore"

    def __post_init__(self) -> None:
        """SQLAlchemy's spelling of the URL is accepted too."""
        object.__setattr__(self, "url", self.url.replace("postgresql+psycopg://", "postgresql://", 1))

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """An autocommitting connection with rows as dicts; raises DatabaseUnavailable or DatabaseRefused."""
        with (
            translate_errors(self.url, embedded=self.embedded),
            psycopg.connect(
                make_conninfo(**(_NOTICING | conninfo_to_dict(self.url))),
                autocommit=True,
                row_factory=dict_row,
                application_name=self.name,
            ) as connection,
        ):
            connection.execute(query("session_settings"))
            yield connection

    @property
    def options(self) -> str:
        """The server's options that the URL sets, such as `-c role=writer`."""
        return str(conninfo_to_dict(self.url).get("options", ""))

    @property
    def sqlalchemy_url(self) -> str:
        """The same database for SQLAlchemy, which must be told the driver."""
        return self.url.replace("postgresql://", "postgresql+psycopg://", 1).replace(
            "postgres://", "postgresql+psycopg://", 1
        )


def environment_database() -> Database:
    """The database for servers and schedulers: from the environment and nowhere else; raises Mistake without it.

    A lost variable must not make them publish into, or serve, a private database.
    """
    url = os.environ.get(URL_VARIABLE)
    if not url or url == EMBEDDED:
        state = f"says {EMBEDDED}, which starts no server here" if url else "is not set"
        raise errors.Mistake(
            f"{URL_VARIABLE} {state}. Servers and schedulers take their database from it alone: "
            f'export {URL_VARIABLE}="$(prescore db url)".'
        )
    return Database(url)


@contextmanager
def translate_errors(url: str, *, embedded: bool = False) -> Iterator[None]:
    """Driver errors cross the border here, once, with their cause kept."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise (embedded_stopped(first_line(error)) if embedded and _ended(error) else _away(url, error)) from error
    except _UNWRITABLE as error:
        raise _away(url, error) from error
    except pg.InsufficientPrivilege as error:
        raise errors.DatabaseRefused(
            f"Postgres forbids it: {first_line(error)} Grant it, or use a role that may."
        ) from error
    except psycopg.ProgrammingError as error:
        if _readable(url):
            raise
        raise _unreadable(error) from error


def is_connection_lost(error: errors.DatabaseUnavailable) -> bool:
    """Whether a connection was lost, as in a restart or a failover: a server short of something will stay so."""
    cause = error.__cause__
    return not isinstance(cause, psycopg.OperationalError) or _ended(cause)


def embedded_stopped(why: str) -> errors.DatabaseUnavailable:
    """What to raise when a project's embedded server, which was there when the command began, no longer is."""
    return errors.DatabaseUnavailable(
        f"The project's embedded Postgres went away: {why} It was stopped or killed. The next command starts it "
        "again, and the next run goes on where this one stopped."
    )


def _ended(error: psycopg.OperationalError) -> bool:
    """Whether the server is gone, and not only short of disk or patience: libpq itself has no SQLSTATE."""
    state = _state(error)
    return state is None or state.startswith(("08", "57P"))


def _state(error: psycopg.Error) -> str | None:
    return error.sqlstate or (_FULL if any(word in str(error) for word in _FULL_WORDS) else None)


def _away(url: str, error: psycopg.Error) -> errors.PrescoreError:
    text = first_line(error)
    if isinstance(error, _LOGIN) or any(word in text for word in _LOGIN_WORDS):
        return errors.DatabaseRefused(
            f"Postgres at {redacted(url)} refuses the login: {text} "
            "Check user, password and database in PRESCORE_DATABASE_URL."
        )
    if _misplaced(url):
        return _unreadable(error)
    advice = _SHORT.get(_state(error) or "", "Is it running and reachable? Then try again.")
    return errors.DatabaseUnavailable(f"Cannot work with Postgres at {redacted(url)}: {text} {advice}")


def first_line(error: Exception) -> str:
    """The first line of an error's text that says something, as a sentence."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if line.endswith(".") else f"{line}."


def _unreadable(error: psycopg.Error) -> errors.DatabaseRefused:
    return errors.DatabaseRefused(
        f"{URL_VARIABLE} is no Postgres URL: {first_line(error)} Write postgresql://user:password@host:port/database."
    )


def _misplaced(url: str) -> bool:
    """Whether a port of the URL is none: libpq notices when it connects, and calls it a failure to do so."""
    ports = [port for port in str(conninfo_to_dict(url).get("port", "")).split(",") if port]
    return not all(port.isdecimal() and 0 < int(port) < 65536 for port in ports)


def _readable(url: str) -> bool:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return False
    return True


def redacted(url: str) -> str:
    """Where a URL points, without its password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "an unreadable URL"
    host, database = str(parts.get("host", "localhost")), parts.get("dbname", "")
    if host.startswith("/"):
        return f"the socket in {host} (database {database})"
    return f"{host}:{parts.get('port', 5432)}/{database}"
