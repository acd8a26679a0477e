"""SQLAlchemy engines for sources: from any URL that a driver takes, and for reading only."""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from prescore.catalog.database import CONNECTION_DEFAULTS
from prescore.errors import Mistake
from prescore.sources import dialects
from prescore.sources.values import Unparsed

if TYPE_CHECKING:
    import sqlalchemy as sa

_LIBPQ_URL = re.compile(r"postgres(?:ql)?://|[^:/]*=")
"""A URL or a string of parameters that libpq reads itself; SQLAlchemy's name the driver."""
# A database in SQL_ASCII would otherwise return bytes for every text.
_POSTGRES_DEFAULTS = {**CONNECTION_DEFAULTS, "client_encoding": "UTF8"}
_FORM = "Its form is dialect+driver://user:password@host:port/database, such as mysql+pymysql://reader@db.example/shop."


def identity(url: str) -> str:
    """Return a URL without its password: a new password does not make another source."""
    import sqlalchemy as sa

    if not _LIBPQ_URL.match(url):
        return sa.make_url(url).render_as_string(hide_password=True)
    from psycopg.conninfo import conninfo_to_dict

    parameters = {name: value for name, value in conninfo_to_dict(url).items() if "password" not in name}
    return " ".join(f"{name}={value}" for name, value in sorted(parameters.items()))


def dialect_name(url: str) -> str:
    """Return SQLAlchemy's name of the kind of database that a URL is for, such as `mysql`."""
    return "postgresql" if _LIBPQ_URL.match(url) else re.split(r"[+:]", url, maxsplit=1)[0]


def create(name: str, url: str, root: Path) -> sa.Engine:
    """Return an engine whose transactions only read; paths in `url` are relative to `root`, the project's folder.

    Raises Mistake when the URL is not valid or its driver is not installed. Messages call the source `name`.
    """
    import sqlalchemy as sa

    try:
        engine = _engine(url, root)
    except sa.exc.NoSuchModuleError as error:
        raise Mistake(
            f"Source {name}: SQLAlchemy has no dialect for {dialect_name(url)!r}. Correct the URL, or install the "
            f"package that brings the dialect. {_FORM}"
        ) from error
    except ImportError as error:
        raise Mistake(
            f"Source {name} needs the driver {error.name}, which is not installed. Install it in the same environment "
            "as prescore, for example with: pip install pymysql for mysql+pymysql://."
        ) from error
    # These messages can contain the password.
    except (sa.exc.ArgumentError, ValueError) as error:
        raise Mistake(f"The URL of source {name} is not valid. {_FORM}") from error
    logging.getLogger("sqlalchemy.pool.impl.NullPool").addFilter(_is_news)
    sa.event.listen(engine, "connect", partial(_adapt, engine.dialect.name))
    sa.event.listen(engine, "begin", _begin_reading)
    return engine


def _engine(url: str, root: Path) -> sa.Engine:
    import sqlalchemy as sa

    if _LIBPQ_URL.match(url):
        return _libpq_engine(url)
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        parsed = _read_only_file(parsed, root)
    options: dict[str, Any] = {}
    if parsed.get_backend_name() == "duckdb":
        options["read_only"] = True
    elif parsed.drivername == "postgresql+psycopg":
        options |= {name: value for name, value in _POSTGRES_DEFAULTS.items() if name not in parsed.query}
    return sa.create_engine(parsed, connect_args=options, poolclass=sa.NullPool)


def _libpq_engine(url: str) -> sa.Engine:
    import psycopg
    import sqlalchemy as sa
    from psycopg.conninfo import conninfo_to_dict

    try:
        parameters: dict[str, Any] = {**_POSTGRES_DEFAULTS, **conninfo_to_dict(url)}
    except psycopg.ProgrammingError as error:
        raise ValueError(type(error).__name__) from error
    return sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(**parameters), poolclass=sa.NullPool
    )


def _read_only_file(url: sa.URL, root: Path) -> sa.URL:
    """Return the URL of an SQLite file so that it is never written to, and not created if it does not exist."""
    path = url.database
    if not path or path == ":memory:" or path.startswith("file:"):
        return url
    return url.set(database=f"file:{quote(str(root / path))}", query={**url.query, "mode": "ro", "uri": "true"})


def abandon(connection: sa.Connection, cursor: Any) -> None:
    """Close a connection in the middle of a result."""
    # pymysql reads a result to its end before it closes the cursor, which can take longer than the run.
    unread = getattr(cursor, "_result", None)
    if unread is not None and getattr(unread, "unbuffered_active", False):
        unread.unbuffered_active = False
        connection.invalidate()


def _is_news(record: logging.LogRecord) -> bool:
    # Closing the cursor of a lost connection fails too. The loss itself is the error that is reported.
    return record.getMessage() != "Error closing cursor"


def _begin_reading(connection: sa.Connection) -> None:
    statements = dialects.by_name(connection.dialect.name).begin
    if not statements:
        return
    cursor = connection.connection.cursor()
    try:
        for statement in statements:
            cursor.execute(statement)
    finally:
        cursor.close()


def _adapt(dialect: str, connection: Any, _: object) -> None:
    """Let a new connection return a value that Python does not have as `Unparsed`, instead of ending the result."""
    if dialect == "sqlite":
        connection.text_factory = _text
    elif dialect == "postgresql" and hasattr(connection, "adapters"):
        from prescore.sources import psycopg_loaders

        psycopg_loaders.register(connection)


def _text(content: bytes) -> str | Unparsed:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return Unparsed(repr(content[:60]))
