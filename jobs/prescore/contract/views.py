"""The stable name: one view a model over its attached versions, extended as outputs are added, never broken."""

from __future__ import annotations

from psycopg import sql

from prescore.contract.catalog import Catalog, Column, Version
from prescore.contract.database import Connection
from prescore.contract.errors import Mistake, NotAllowed
from prescore.contract.queries import query
from prescore.contract.tables import definition, names

_SHORT = {"timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz"}
_CLOCKS = ["version", "data_as_of", "published_at"]


def columns(connection: Connection, schema: str, name: str) -> dict[str, str]:
    """The columns of a table or view in order, name → Postgres type as specs spell it; empty when there is none."""
    relation = sql.Identifier(schema, name).as_string(connection)
    rows = Catalog(connection).all("tables_columns", relation=relation)
    return {row["name"]: _SHORT.get(row["type"], row["type"]) for row in rows}


def align(connection: Connection, version: Version) -> None:
    """Give a model's parent and a version's table the same columns: what only one of them has is NULL in the other.

    Raises NotAllowed when the version drops or retypes a column that readers may rely on.
    """
    table = columns(connection, "prescore_versions", version["table_name"])
    parent = columns(connection, "prescore_versions", version["model"])
    breaks = [f"{n} was {parent[n]} and would become {t}" for n, t in table.items() if parent.get(n, t) != t]
    breaks += [f"{name} would go" for name in _dropped(connection, version, set(parent) - set(table))]
    described = {column["name"]: column for column in [*version["key_columns"], *version["output_columns"]]}
    breaks += [f"{n} would become part of the key" for n in table if n not in parent and described[n]["role"] == "key"]
    if breaks:
        raise NotAllowed(
            f"{version['model']} version {version['version']} would break its readers: {'; '.join(breaks)}. "
            "Keep the column, add the new one beside it, or publish under another model name."
        )
    if set(table) - set(parent):
        connection.execute(query("views_lock", model=sql.Identifier(version["model"])))
    for name in [n for n in table if n not in parent]:
        _extend(connection, version["model"], described[name])
    for name in [n for n in parent if n not in table]:
        _extend(connection, version["table_name"], Column(name=name, type=parent[name], comment="", role="output"))


def create(connection: Connection, version: Version, grants: tuple[str, ...]) -> None:
    """Make or extend the model's view, if it needs it: an unchanged view is not locked against its readers."""
    model = version["model"]
    keys = [column["name"] for column in version["key_columns"]]
    parent = columns(connection, "prescore_versions", model)
    outputs = [name for name in parent if name not in keys and name != "version"]
    if list(columns(connection, "predictions", model)) != [*keys, *_CLOCKS, *outputs]:
        connection.execute(
            query(
                "views_create",
                model=sql.Identifier(model),
                name=sql.Literal(model),
                parent=sql.Identifier(model),
                keys=names(keys, "p"),
                outputs=names(outputs, "p"),
            )
        )
    _describe(connection, version)
    for role in grants:
        _grant(connection, model, role)


def require_roles(connection: Connection, roles: tuple[str, ...]) -> None:
    """Raises Mistake for a role under [grants] that the server does not have."""
    if missing := [row["role"] for row in Catalog(connection).all("views_missing_roles", roles=list(roles))]:
        raise Mistake(
            f"grants.select names {', '.join(missing)}, which this server does not have. Create the role first."
        )


def _grant(connection: Connection, model: str, role: str) -> None:
    catalog, view = Catalog(connection), sql.Identifier("predictions", model).as_string(connection)
    if catalog.one("views_granted", role=role, view=view)["granted"]:
        return
    catalog.one("views_grant_lock")
    connection.execute(query("views_schema_grant", role=sql.Identifier(role)))
    connection.execute(query("views_grant", model=sql.Identifier(model), role=sql.Identifier(role)))


def _describe(connection: Connection, version: Version) -> None:
    model = sql.Identifier(version["model"])
    described = Catalog(connection).model(version["model"])["description"]
    connection.execute(query("views_comment", model=model, comment=sql.Literal(described)))
    for column in [*version["key_columns"], *version["output_columns"]]:
        if column["comment"]:
            name, comment = sql.Identifier(column["name"]), sql.Literal(column["comment"])
            connection.execute(query("views_comment_column", model=model, column=name, comment=comment))


def _dropped(connection: Connection, version: Version, absent: set[str]) -> list[str]:
    """Columns that an earlier version had and this one has not; those that came later are no loss."""
    earlier = [
        v
        for v in Catalog(connection).versions(version["model"])
        if v["version"] < version["version"] and v["published_at"]
    ]
    had = {column["name"] for v in earlier for column in [*v["key_columns"], *v["output_columns"]]}
    return sorted(absent & had)


def _extend(connection: Connection, table: str, column: Column) -> None:
    connection.execute(query("tables_extend", table=sql.Identifier(table), column=definition(column)))
