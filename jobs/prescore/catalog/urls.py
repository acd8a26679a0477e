"""URLs of Postgres databases in messages: what is wrong with one, and where it leads, never the password in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from prescore.errors import DatabaseRefused

URL_VARIABLE = "PRESCORE_DATABASE_URL"

_FORM = (
    "Use the form postgresql://user:password@host:port/database, and in a password write %40 for @, %2F for /, %3A "
    "for :, %3F for ?, %23 for # and %25 for %."
)
_PARAMETERS_FORM = (
    "Use the form host=db.example dbname=predictions user=writer password='…'. Inside of the quotes, write a backslash "
    "before each quote and each backslash."
)
_DEFAULT_PORT = "5432"


def redacted(url: str) -> str:
    """Return the host, port and database of a URL, without its password."""
    if fault(url) is not None:
        return "an unreadable URL"
    parts = conninfo_to_dict(url)
    if "service" in parts and "host" not in parts:
        return f"service {parts['service']}"
    host = str(parts.get("host") or os.environ.get("PGHOST", "localhost"))
    database = parts.get("dbname") or os.environ.get("PGDATABASE", "")
    if host.startswith("/"):
        return f"the socket in {host} (database {database})"
    hosts = host.split(",")
    ports = _ports(parts) or [os.environ.get("PGPORT", _DEFAULT_PORT)]
    if len(ports) == 1:
        ports *= len(hosts)
    addresses = ",".join(f"{host}:{port or _DEFAULT_PORT}" for host, port in zip(hosts, ports, strict=False))
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
        return _FORM if "://" in url or "=" not in url else _PARAMETERS_FORM
    if "@" in str(parts.get("host", "")):
        return _FORM
    return _number_fault(parts)


def _number_fault(parts: Mapping[str, Any]) -> str | None:
    ports = _ports(parts)
    if not all(port == "" or (port.isdecimal() and 0 < int(port) < 65_536) for port in ports):
        # What stands for a port may be part of a password.
        return f"Its port is not a number from 1 to 65535. {_FORM}"
    hosts = str(parts.get("host") or parts.get("hostaddr") or "").split(",")
    if len(ports) > 1 and len(ports) != len(hosts):
        return "It has another number of hosts than of ports. Give one port for all hosts, or one for each."
    try:
        int(str(parts.get("connect_timeout", 0)))
    except ValueError:
        return "Its connect_timeout is not a number of seconds."
    return None


def _ports(parts: Mapping[str, Any]) -> list[str]:
    return str(parts["port"]).split(",") if parts.get("port") else []


def invalid(reason: str) -> DatabaseRefused:
    """Return the error for a URL with a fault that `fault` returned."""
    return DatabaseRefused(f"{URL_VARIABLE} is not a valid Postgres URL. {reason}")
