"""URLs of Postgres databases in messages: what is wrong with one, and where it leads, never the password in it."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from prescore.errors import DatabaseRefused

URL_VARIABLE = "PRESCORE_DATABASE_URL"

_FORM = (
    "Use the form postgresql://user:password@host:port/database, and in a password write %40 for @, %2F for /, %3A "
    "for :, %3F for ?, %23 for # and %25 for %."
)


def redacted(url: str) -> str:
    """Return the host, port and database of a URL, without its password."""
    if fault(url) is not None:
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


def fault(url: str) -> str | None:
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


def invalid(reason: str) -> DatabaseRefused:
    """Return the error for a URL with a fault that `fault` returned."""
    return DatabaseRefused(f"{URL_VARIABLE} is not a valid Postgres URL. {reason}")
