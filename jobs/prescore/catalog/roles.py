"""Roles and their rights: the catalog owner migrates, writers run jobs, readers look up predictions."""

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
    """Grant roles the rights of writers and readers; return all writers and all readers.

    Roles that already have rights get them again, because a release may need more rights than the one before. Raises
    Mistake for a role that does not exist, and DatabaseRefused unless the connection's role is the catalog owner and a
    member of every writer.
    """
    granted = roles_with_rights(connection)
    all_writers = sorted({*writers, *(role for role, rights in granted if rights == "writer")})
    all_readers = sorted({*readers, *(role for role, rights in granted if rights == "reader")})
    if all_writers or all_readers:
        owner = _require_catalog_owner(connection, all_writers, all_readers)
        _grant_all(connection, owner, all_writers, all_readers)
    return all_writers, all_readers


def grant_version(connection: Connection, table: str, *, readable: bool) -> None:
    """Let readers read a version's own table, or no longer; call it in the transaction that records the checks."""
    connection.execute(query("roles_lock_version"))
    readers = [role for role, rights in roles_with_rights(connection) if rights == "reader"]
    if readers:
        name = "roles_open_version" if readable else "roles_close_version"
        connection.execute(query(name, table=sql.Identifier(table), readers=_role_list(readers)))


def roles_with_rights(connection: Connection) -> list[tuple[str, str]]:
    """Return each role that has rights, with `writer` or `reader`, from the privileges that Postgres stores."""
    return [(row["role"], row["rights"]) for row in connection.execute(query("roles_granted"))]


def require_writer(connection: Connection, model: str) -> None:
    """Raise DatabaseRefused if this role could not publish a version of the model; call it before scoring."""
    writer = connection.execute(query("roles_is_writer")).fetchone() or {}
    if not writer["is_writer"]:
        raise DatabaseRefused(
            f"The role {writer['role']} does not have the rights of a writer. Log in as the writer, or ask the catalog "
            f"owner to run `prescore db grant --writer {writer['role']}`."
        )
    tables = connection.execute(query("roles_other_owner"), {"model": model}).fetchone()
    if tables is not None:
        raise DatabaseRefused(
            f"The tables of {model} belong to the role {tables['owner']}, and Postgres lets only that role attach "
            f"partitions to them; this role is {tables['role']}. Log in as {tables['owner']}: all writers of a model "
            "share one role."
        )


def require_owner(connection: Connection, action: str) -> str:
    """Return the catalog owner; raise DatabaseRefused unless this role is it, or a member of it."""
    owner = connection.execute(query("roles_owner")).fetchone() or {}
    if not owner["is_owner"]:
        raise DatabaseRefused(
            f"Only the catalog owner can {action}: that is {owner['owner']}, and this role is {owner['role']}."
        )
    return str(owner["owner"])


def _grant_all(connection: Connection, owner: str, writers: list[str], readers: list[str]) -> None:
    with connection.transaction():
        connection.execute(query("roles_lock"))
        # Publications lock tables first and the grant lock second. Any other order here could deadlock with them.
        if readers:
            _open_versions(connection, readers)
        connection.execute(query("views_grant_lock"))
        for role in writers:
            connection.execute(query("roles_grant_writer", role=sql.Identifier(role)))
        for role in readers:
            _grant_reader(connection, role, {owner, *writers})


def _open_versions(connection: Connection, readers: list[str]) -> None:
    roles = _role_list(readers)
    for row in connection.execute(query("roles_version_tables")).fetchall():
        table = sql.Identifier(row["name"])
        # The version may be retired between the two statements.
        with suppress(pg.UndefinedTable), connection.transaction():
            connection.execute(query("roles_open_version", table=table, readers=roles))


def _grant_reader(connection: Connection, role: str, writers: set[str]) -> None:
    reader = sql.Identifier(role)
    connection.execute(query("roles_grant_reader", role=reader))
    for writer in sorted(writers):
        connection.execute(query("roles_open_views", writer=sql.Identifier(writer), reader=reader))


def _role_list(roles: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, roles))


def _require_catalog_owner(connection: Connection, writers: list[str], readers: list[str]) -> str:
    """Return the catalog owner; raise unless this role is it, all roles exist and it is a member of all writers."""
    missing = connection.execute(query("views_missing_roles"), {"roles": [*writers, *readers]}).fetchall()
    if missing:
        names = ", ".join(row["role"] for row in missing)
        raise Mistake(f"This server has no role {names}. Ask its administrator to create it: create role … login;")
    owner = require_owner(connection, "grant rights on the catalog")
    not_inherited = connection.execute(query("roles_not_inherited"), {"roles": writers}).fetchall()
    if not_inherited:
        names = ", ".join(row["role"] for row in not_inherited)
        raise DatabaseRefused(
            f"{owner} is not a member of {names}, so it cannot grant readers the views that {names} will "
            f"create. Ask the server's administrator to run: grant {names} to {owner};"
        )
    return owner
