"""Connections to Postgres: every one of them is opened here, or with the parameters and the session from here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from prescore import errors
from prescore.catalog import lock_holders, login_errors, session
from prescore.catalog.driver_errors import translate_errors
from prescore.catalog.urls import URL_VARIABLE, redacted

EMBEDDED = "embedded"

Connection = psycopg.Connection[DictRow]

CONNECTION_DEFAULTS: dict[str, Any] = {
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
        # Files with secrets end in a line break, which libpq takes for part of the database's name.
        return cls(url.strip().replace("postgresql+psycopg://", "postgresql://", 1))

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection in autocommit mode with rows as dicts; raise DatabaseUnavailable or DatabaseRefused."""
        with self.translated(), self.open() as connection, lock_holders.named(connection), self.translated():
            yield connection

    def translated(self) -> AbstractContextManager[None]:
        """Return a context that raises the driver's errors as errors of prescore."""
        return translate_errors(self.url, embedded=self.embedded)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection in one read-only transaction at repeatable read, without a limit on its duration.

        Unlike `connect`, this also works through a pooler in transaction mode.
        """
        with self.translated(), self._open() as connection:
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
        try:
            connection = psycopg.connect(self.conninfo(CONNECTION_DEFAULTS), autocommit=True, row_factory=dict_row)
        except psycopg.OperationalError as error:
            login_errors.add_sqlstate(error)
            raise
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
