"""Findings about the server and its sessions, whatever the catalog has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from prescore.catalog.catalog import Catalog
from prescore.doctor.finding import Finding, ok, warning
from prescore.wording import utc

_CLOCK_TOLERANCE = timedelta(seconds=5)
_FULL = 0.8
"""The share of max_connections from which on it is worth a warning."""


def examine(catalog: Catalog) -> Iterator[Finding]:
    """Yield the findings about the server, over a connection that is open."""
    before = datetime.now(UTC)
    server = catalog.one("doctor_server")
    after = datetime.now(UTC)
    place = "standby" if server["is_standby"] else "server"
    if server["is_standby"]:
        yield warning(place, f"PostgreSQL {server['version']}, read-only", "Runs need the primary.")
    else:
        yield ok(place, f"PostgreSQL {server['version']}")
    yield _encoding(server["encoding"])
    yield _durability(server)
    yield _connections(server["connections"], server["max_connections"])
    yield _clock(before, server["now"], after)
    yield _pooler(server["pid"], catalog.connection.info.backend_pid)
    yield from _sessions(catalog)


def _encoding(encoding: str) -> Finding:
    if encoding == "UTF8":
        return ok("encoding", encoding)
    return warning(
        "encoding",
        f"the database is in {encoding}, which lacks characters that keys and texts may have",
        "A run that needs one is refused. Create a database with encoding UTF8, and move the catalog there.",
    )


def _durability(server: dict[str, Any]) -> Finding:
    off = [name for name in ("fsync", "full_page_writes") if not server[name]]
    if not off:
        return ok("durability", "fsync and full_page_writes are on")
    return warning(
        "durability",
        f"{' and '.join(off)} off: after a crash of the machine, tables may be damaged without an error",
        "Turn it on in postgresql.conf and restart the server.",
    )


def _connections(used: int, limit: int) -> Finding:
    observed = f"{used:,} of {limit:,} are in use"
    if used < _FULL * limit:
        return ok("connections", observed)
    return warning("connections", observed, "Raise max_connections, or use a pooler for the other clients.")


def _clock(before: datetime, server: datetime, after: datetime) -> Finding:
    if before - _CLOCK_TOLERANCE <= server <= after + _CLOCK_TOLERANCE:
        return ok("clock", "the server's clock and this machine's agree")
    ahead = server > after
    seconds = abs((server - (after if ahead else before)).total_seconds())
    return warning(
        "clock",
        f"the server's clock is {seconds:,.0f} s {'ahead of' if ahead else 'behind'} this machine's",
        "Ages are by the server's clock. Synchronize both with NTP.",
    )


def _pooler(pid: int, announced: int) -> Finding:
    if pid == announced:
        return ok("pooler", "none between this machine and the server")
    return ok("pooler", "a pooler in session mode, which runs can use")


def _sessions(catalog: Catalog) -> Iterator[Finding]:
    for row in catalog.all("doctor_old_transactions"):
        yield warning(
            "old transaction",
            f"session {row['pid']} ({row['user']}, {row['application']}) has one open since {utc(row['since'])}",
            f"Retired versions stay until it ends. If it is forgotten: select pg_terminate_backend({row['pid']})",
        )
    for row in catalog.all("doctor_prepared_transactions"):
        yield warning(
            "prepared transaction",
            f"{row['gid']} of {row['user']} waits since {utc(row['since'])}",
            f"Retired versions stay until it ends: commit prepared '{row['gid']}', or rollback prepared.",
        )
    for row in catalog.all("doctor_inactive_slots"):
        yield warning(
            "replication slot",
            f"{row['name']} ({row['kind']}) has no consumer, and the server keeps all WAL for it",
            f"Start its consumer, or: select pg_drop_replication_slot('{row['name']}')",
        )
