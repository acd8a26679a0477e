"""Privileges: the roles that may read a model's view."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypedDict

from psycopg import sql

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import Mistake


class Reader(TypedDict):
    """A role that was granted a view, None for PUBLIC, and whether it may grant the view to others."""

    role: str | None
    may_grant: bool


def require_roles(connection: Connection, roles: tuple[str, ...]) -> None:
    """Raise Mistake for a role under [grants] that does not exist on the server."""
    rows = Catalog(connection).all("views_missing_roles", roles=list(roles))
    if rows:
        missing = ", ".join(row["role"] for row in rows)
        raise Mistake(f"grants.select names {missing}, which this server does not have. Create the role first.")


def grant(connection: Connection, view: str, role: str) -> None:
    """Let a role read a view, unless it can."""
    catalog = Catalog(connection)
    granted = catalog.one("views_granted", role=role, view=_qualified(connection, view))
    if granted["granted"]:
        return
    catalog.one("views_grant_lock")
    grantee = sql.Identifier(role)
    connection.execute(query("views_schema_grant", role=grantee))
    connection.execute(query("views_grant", model=sql.Identifier(view), role=grantee))


def readers(connection: Connection, view: str) -> list[Reader]:
    """Return the roles that were granted a view; the role that made it is not among them."""
    return Catalog(connection).all("views_readers", view=_qualified(connection, view))


def restore(connection: Connection, view: str, before: Sequence[Reader], roles: Collection[str]) -> None:
    """Give a view the readers of the view that it replaces, `before`, and no others than these and `roles`."""
    expected = {reader["role"] for reader in before} | set(roles)
    for reader in readers(connection, view):
        # Default privileges grant a new view to roles that could not read the view before.
        if reader["role"] not in expected:
            connection.execute(query("views_revoke", model=sql.Identifier(view), role=_role(reader)))
    for reader in before:
        _grant_again(connection, view, reader)


def _grant_again(connection: Connection, view: str, reader: Reader) -> None:
    option = " with grant option" if reader["may_grant"] else ""
    statement = query(
        "views_grant_again",
        model=sql.Identifier(view),
        role=_role(reader),
        may_grant=sql.SQL(option),
    )
    connection.execute(statement)


def _role(reader: Reader) -> sql.Composable:
    """Return a role for GRANT and REVOKE."""
    return sql.SQL("public") if reader["role"] is None else sql.Identifier(reader["role"])


def _qualified(connection: Connection, view: str) -> str:
    """Return a view's qualified and quoted name, as to_regclass takes it."""
    return sql.Identifier("predictions", view).as_string(connection)
