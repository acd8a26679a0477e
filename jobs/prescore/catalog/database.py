"""Connections to Postgres, and the one place where driver errors become errors of prescore."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg
from psycopg import IsolationLevel
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from prescore import errors
from prescore.catalog import session

URL_VARIABLE = "PRESCORE_DATABASE_URL"
EMBEDDED = "embedded"

Connection = psycopg.Connection[DictRow]

_DEFAULTS: dict[str, Any] = {
    # With these, a server that vanishes without closing its connections is noticed within about a minute. By the
    # defaults of the kernel it takes hours.
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Connection parameters, unless the URL sets them."""
# A database in SQL_ASCII would otherwise return bytes for every text.
_ENCODING = {"client_encoding": "UTF8"}

_FORM = (
    "Use the form postgresql://user:password@host:port/database, and in a password write %40 for @, %2F for /, %3A "
    "for :, %3F for ?, %23 for # and %25 for %."
)
_LOGIN_ERRORS = (pg.InvalidPassword, pg.InvalidAuthorizationSpecification, pg.InvalidCatalogName)
# While connecting, libpq reports errors without an SQLSTATE. These words are what the server's messages have in common.
_LOGIN_WORDS = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")
_TOO_MANY_CONNECTIONS = "53300"
_TOO_MANY_CONNECTIONS_WORDS = ("too many clients", "too many connections", "remaining connection slots")
_TRANSIENT_ERRORS = (pg.ReadOnlySqlTransaction, pg.IdleInTransactionSessionTimeout, pg.TransactionTimeout)
"""Errors that a retry can help with, although psycopg does not count them as OperationalError."""
_ADVICE = {
    "55P03": "Another session holds a lock that this one waited for; see pg_locks. Try again when it is done.",
    "57014": "The statement was cancelled, or took longer than statement_timeout. Try again, or raise the timeout.",
    "25006": "This server is read-only: is it a standby, or did it fail over? Point prescore at the primary.",
    "25P03": "This process was slow or suspended in the middle of a transaction. Try again.",
    "25P04": "The transaction took longer than transaction_timeout. Try again, or raise the timeout.",
    "53100": "The server's disk is full. Free space there, then try again.",
    "53200": "The server is out of memory. Give it more memory or less concurrent work, then try again.",
    _TOO_MANY_CONNECTIONS: "The server has no free connections. Close some or raise max_connections, then try again.",
}
"""What to do, by SQLSTATE, when a running server lacks something."""
_DEFAULT_ADVICE = "Is it running and reachable? Then try again."


@dataclass(frozen=True)
class Database:
    """A Postgres database by its libpq URL. Every step opens its own connections, since opening one is cheap.

    All connections, those of Great Expectations and of the lookup API too, are opened with `conninfo`, and their
    sessions are prepared by `catalog.session`.

    `embedded` is true of a project's own server, for which error messages differ. `name` is the `application_name` of
    its connections in pg_stat_activity.
    """

    # A password must not appear in a traceback or a log.
    url: str = field(repr=False)
    embedded: bool = False
    name: str = "prescore"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the database at a URL in libpq's spelling or in SQLAlchemy's."""
        return cls(url.replace("postgresql+psycopg://", "postgresql://", 1))

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection in autocommit mode with rows as dicts; raise DatabaseUnavailable or DatabaseRefused."""
        with translate_errors(self.url, embedded=self.embedded), self.open() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection in one read-only transaction at repeatable read, without a limit on its duration.

        Unlike `connect`, this also works through a pooler in transaction mode.
        """
        with translate_errors(self.url, embedded=self.embedded), self._open() as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.transaction():
                connection.execute(session.local_settings(0))
                yield connection

    def open(self) -> Connection:
        """Open the connection that `connect` yields; raise psycopg's errors, or DatabaseRefused."""
        connection = self._open()
        try:
            if session.process(connection) != connection.info.backend_pid:
                self._require_session_mode(connection)
            connection.execute(session.writer_settings())
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> Connection:
        connection = psycopg.connect(self.conninfo(_DEFAULTS), autocommit=True, row_factory=dict_row)
        try:
            session.require_supported(connection.info)
        except BaseException:
            connection.close()
            raise
        return connection

    def _require_session_mode(self, connection: Connection) -> None:
        """Raise DatabaseRefused if the pooler behind a connection gives its session to other clients in between."""
        # Statements that are prepared in one session are unknown in the next.
        connection.prepare_threshold = None
        with self._open() as other:
            shared = session.shares_processes(connection, other)
        if shared:
            raise errors.DatabaseRefused(
                f"A pooler in transaction mode is between prescore and Postgres at {redacted(self.url)}. Jobs and "
                "commands need sessions of their own: connect them to the server itself, or to a pool in session mode. "
                "The lookup API works with either mode."
            )

    def conninfo(self, defaults: Mapping[str, Any]) -> str:
        """Return the libpq parameters of connections: those of the URL, such as `options`, and else these defaults."""
        parameters = {**defaults, **conninfo_to_dict(self.url), **_ENCODING, "application_name": self.name}
        return make_conninfo(**parameters)

    @property
    def sqlalchemy_url(self) -> str:
        """The URL as SQLAlchemy spells it, with the driver."""
        _, separator, rest = self.url.partition("://")
        return f"postgresql+psycopg://{rest}" if separator else self.url


def environment_database() -> Database:
    """Return the database that the environment variable names; raise Mistake when it names none.

    Servers and schedulers use this: when the variable gets lost, they must not publish into a private database instead,
    or serve from it.
    """
    url = os.environ.get(URL_VARIABLE)
    if not url or url == EMBEDDED:
        state = f"is {EMBEDDED!r}, which starts no server here" if url else "is not set"
        raise errors.Mistake(
            f"{URL_VARIABLE} {state}. Servers and schedulers take their database from this variable only: "
            f'export {URL_VARIABLE}="$(prescore db url)".'
        )
    return Database.from_url(url)


@contextmanager
def translate_errors(url: str, *, embedded: bool = False) -> Iterator[None]:
    """Raise the driver errors of the block as errors of prescore, with the original as their cause."""
    try:
        yield
    except psycopg.OperationalError as error:
        if embedded and _is_connection_lost(error):
            raise embedded_stopped(first_line(error)) from error
        raise _operational_error(url, error) from error
    except _TRANSIENT_ERRORS as error:
        raise _operational_error(url, error) from error
    except pg.InsufficientPrivilege as error:
        raise errors.DatabaseRefused(
            f"Postgres denies access: {first_line(error)} Grant the privilege, or use a role that has it."
        ) from error
    except psycopg.ProgrammingError:
        fault = url_fault(url)
        if fault is None:
            raise
        raise invalid_url(fault) from None


def is_connection_lost(error: errors.DatabaseUnavailable) -> bool:
    """Return whether the connection was lost, as in a restart or failover, so that waiting a little may help."""
    cause = error.__cause__
    return not isinstance(cause, psycopg.OperationalError) or _is_connection_lost(cause)


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


def redacted(url: str) -> str:
    """Return the host, port and database of a URL, without its password."""
    if url_fault(url) is not None:
        return "an unreadable URL"
    parts = conninfo_to_dict(url)
    host = str(parts.get("host", "localhost"))
    database = parts.get("dbname", "")
    if host.startswith("/"):
        return f"the socket in {host} (database {database})"
    ports = str(parts.get("port", 5432)).split(",")
    hosts = host.split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    addresses = ",".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=False))
    return f"{addresses}/{database}"


def url_fault(url: str) -> str | None:
    """Return what is wrong with a URL, as a sentence without any part of the URL, or None if libpq can read it.

    libpq's own message may quote the password. It checks ports only when it connects.
    """
    if re.match(r"\w+\+\w+://", url):
        return "Write postgresql:// without the name of a driver."
    if url[:1] in "\"'":
        return "Remove the quotes around it."
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return _FORM
    ports = [port for port in str(parts.get("port", "")).split(",") if port]
    if not all(port.isdecimal() and 0 < int(port) < 65_536 for port in ports):
        return _FORM
    return _FORM if "@" in str(parts.get("host", "")) else None


def invalid_url(fault: str) -> errors.DatabaseRefused:
    """Return the error for a URL with a fault that `url_fault` found."""
    return errors.DatabaseRefused(f"{URL_VARIABLE} is not a valid Postgres URL. {fault}")


def _is_connection_lost(error: psycopg.OperationalError) -> bool:
    # libpq's own errors, such as a refused connection, have no SQLSTATE.
    state = _sqlstate(error)
    return state is None or state.startswith(("08", "57P"))


def _sqlstate(error: psycopg.Error) -> str | None:
    if error.sqlstate:
        return error.sqlstate
    if any(word in str(error) for word in _TOO_MANY_CONNECTIONS_WORDS):
        return _TOO_MANY_CONNECTIONS
    return None


def _operational_error(url: str, error: psycopg.Error) -> errors.PrescoreError:
    text = first_line(error)
    if isinstance(error, _LOGIN_ERRORS) or any(word in text for word in _LOGIN_WORDS):
        return errors.DatabaseRefused(
            f"Postgres at {redacted(url)} refuses the login: {text} "
            f"Check user, password and database in {URL_VARIABLE}."
        )
    fault = url_fault(url)
    if fault is not None:
        return invalid_url(fault)
    advice = _ADVICE.get(_sqlstate(error) or "", _DEFAULT_ADVICE)
    return errors.DatabaseUnavailable(f"Cannot work with Postgres at {redacted(url)}: {text} {advice}")
