"""Who may do what: the owner migrates, a writer runs jobs, a reader looks up. Rights are granted here, to any role."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import DatabaseRefused, Mistake


def grant(
    connection: Connection, writers: Sequence[str] = (), readers: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Give writers and readers their rights, and anew to those who had them; gives all writers and all readers.

    A release may need more rights than the one before: without names this brings everybody's up to date. Raises
    Mistake for a role that is not there, DatabaseRefused when this is not the owner, or cannot act for a writer.
    """
    granted = roles_with_rights(connection)
    writing = sorted({*writers, *(role for role, rights in granted if rights == "writer")})
    reading = sorted({*readers, *(role for role, rights in granted if rights == "reader")})
    if writing or reading:
        owner = _require_owner(connection, writing, reading)
        with connection.transaction():
            connection.execute(query("roles_lock"))
            # Before the next lock: a publication takes tables, then that.
            _open_versions(connection, reading)
            connection.execute(query("views_grant_lock"))
            for role in writing:
                connection.execute(query("roles_grant_writer", role=sql.Identifier(role)))
            for role in reading:
                _let_read(connection, role, {owner, *writing})
    return writing, reading


def grant_version(connection: Connection, table: str, *, readable: bool) -> None:
    """In the transaction that notes what a version's checks said: readers may read its own table, or may not."""
    connection.execute(query("roles_lock_version"))
    readers = [role for role, rights in roles_with_rights(connection) if rights == "reader"]
    if readers:
        name = "roles_open_version" if readable else "roles_close_version"
        connection.execute(query(name, table=sql.Identifier(table), readers=_names(readers)))


def roles_with_rights(connection: Connection) -> list[tuple[str, str]]:
    """Roles that have rights, each with `writer` or `reader`; Postgres itself keeps them."""
    return [(row["role"], row["rights"]) for row in connection.execute(query("roles_granted"))]


def require_writer(connection: Connection, model: str) -> None:
    """Before anything is scored: raises DatabaseRefused for a role that could not publish what it makes."""
    rights = connection.execute(query("roles_is_writer")).fetchone() or {}
    if not rights["writes"]:
        raise DatabaseRefused(
            f"The role {rights['role']} may not write here. Use the writer's, or let the catalog's owner type: "
            f"prescore db grant --writer {rights['role']}"
        )
    other = connection.execute(query("roles_other_owner"), {"model": model}).fetchone()
    if other is not None:
        raise DatabaseRefused(
            f"The tables of {model} belong to the role {other['owner']}, and Postgres lets nobody else attach to them; "
            f"this is {other['role']}. Use {other['owner']}'s login: all who write a model share one role."
        )


def _open_versions(connection: Connection, readers: Sequence[str]) -> None:
    tables = connection.execute(query("roles_version_tables")).fetchall() if readers else []
    for table in (sql.Identifier(row["table_name"]) for row in tables):
        # It was retired meanwhile.
        with suppress(pg.UndefinedTable), connection.transaction():
            connection.execute(query("roles_open_version", table=table, readers=_names(readers)))


def _names(roles: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, roles))


def _let_read(connection: Connection, role: str, writers: set[str]) -> None:
    connection.execute(query("roles_grant_reader", role=sql.Identifier(role)))
    for writer in sorted(writers):
        connection.execute(query("roles_open_views", writer=sql.Identifier(writer), reader=sql.Identifier(role)))


def _require_owner(connection: Connection, writers: list[str], readers: list[str]) -> str:
    """The owner's name, if this is the owner, every role is there, and the owner can act for every writer."""
    missing = connection.execute(query("views_missing_roles"), {"roles": [*writers, *readers]}).fetchall()
    if missing:
        names = ", ".join(row["role"] for row in missing)
        raise Mistake(f"This server has no role {names}. Whoever administers it makes it: create role … login;")
    owner = connection.execute(query("roles_owner")).fetchone() or {}
    if not owner["mine"]:
        raise DatabaseRefused(
            f"Only the catalog's owner can grant its rights: that is {owner['owner']}, and this is {owner['role']}."
        )
    apart = connection.execute(query("roles_not_inherited"), {"roles": writers}).fetchall()
    if apart:
        names = ", ".join(row["role"] for row in apart)
        raise DatabaseRefused(
            f"{owner['role']} cannot act for {names}, and so cannot let readers see the views that it will make. "
            f"Whoever administers the server types: grant {names} to {owner['role']};"
        )
    return str(owner["owner"])
