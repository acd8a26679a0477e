"""The stable name: one view a model over its attached versions, extended as outputs are added, broken only if told."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.catalog import Catalog, Column, Version
from prescore.catalog.columns import column_definition, identifiers
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.catalog.types import short_name
from prescore.errors import Mistake, NotAllowed

_CLOCKS = ["version", "data_as_of", "published_at"]


def columns(connection: Connection, schema: str, name: str) -> dict[str, str]:
    """The columns of a table or view in order, name → Postgres type as specs spell it; empty when there is none."""
    relation = sql.Identifier(schema, name).as_string(connection)
    rows = Catalog(connection).all("tables_columns", relation=relation)
    return {row["name"]: short_name(row["type"]) for row in rows}


def breaking_changes(connection: Connection, model: str, key: Sequence[Column], outputs: Sequence[Column]) -> list[str]:
    """What of a version's columns, or of a spec's, would break those who read the model's view, each in words."""
    seen = columns(connection, "predictions", model)
    was = [name for name in seen if name not in _CLOCKS][: list(seen).index("version")] if seen else []
    types = {column["name"]: column["type"] for column in [*key, *outputs]}
    keys = [column["name"] for column in key]
    found = [f"{n} was {seen[n]} and would become {kind}" for n, kind in types.items() if seen.get(n, kind) != kind]
    found += [f"{n} would go" for n in _lost(connection, model, set(seen) - set(types))]
    if not seen or keys == was:
        return found
    found += [f"{n} would become part of the key" for n in keys if n not in was]
    found += [f"{n} would no longer be part of the key" for n in was if n in types and n not in keys]
    if [n for n in keys if n in was] != [n for n in was if n in keys]:
        found.append(f"the key would be {', '.join(keys)} and no longer {', '.join(was)}")
    return found


def breaking_error(subject: str, found: list[str], command: str) -> NotAllowed:
    """What to raise for columns that would break readers."""
    return NotAllowed(
        f"{subject} would break its readers: {'; '.join(found)}. Keep the column and add the new one beside it, or "
        f"publish under another model name. If the readers know of it: `{command} --allow-breaking`."
    )


def align(connection: Connection, version: Version, parent: str) -> None:
    """Give a parent and a version's table the same columns: what only one of them has is NULL in the other."""
    mine = columns(connection, "prescore_versions", version["table_name"])
    theirs = columns(connection, "prescore_versions", parent)
    described = {column["name"]: column for column in [*version["key_columns"], *version["output_columns"]]}
    if set(mine) - set(theirs):
        connection.execute(query("views_lock", model=sql.Identifier(version["model"])))
    for name in [n for n in mine if n not in theirs]:
        _extend(connection, parent, described[name])
    for name in [n for n in theirs if n not in mine]:
        _extend(connection, version["table_name"], Column(name=name, type=theirs[name], comment="", role="output"))


def create(connection: Connection, version: Version, parent: str, grants: tuple[str, ...]) -> None:
    """Make or extend the model's view, if it needs it: an unchanged view is not locked against its readers."""
    model = version["model"]
    keys = [column["name"] for column in version["key_columns"]]
    outputs = [n for n in columns(connection, "prescore_versions", parent) if n not in keys and n != "version"]
    if list(columns(connection, "predictions", model)) != [*keys, *_CLOCKS, *outputs]:
        connection.execute(
            query(
                "views_create",
                model=sql.Identifier(model),
                name=sql.Literal(model),
                parent=sql.Identifier(parent),
                parent_name=sql.Literal(parent),
                keys=identifiers(keys, "p"),
                outputs=identifiers(outputs, "p"),
            )
        )
    _describe(connection, version)
    for role in grants:
        _grant(connection, model, role)


def replace(connection: Connection, version: Version, parent: str, grants: tuple[str, ...]) -> None:
    """Make the model's view anew over another parent, for those who could read it.

    Raises NotAllowed while something of the users' own depends on it.
    """
    model, catalog = sql.Identifier(version["model"]), Catalog(connection)
    # From here on nobody is granted it.
    connection.execute(query("views_lock", model=model))
    view = sql.Identifier("predictions", version["model"]).as_string(connection)
    readers = catalog.all("views_readers", view=view)
    try:
        connection.execute(query("views_drop", model=model))
    except pg.DependentObjectsStillExist as error:
        dependents = "; ".join((error.diag.message_detail or str(error)).splitlines())
        raise NotAllowed(
            f"{version['model']} version {version['version']} changes the columns of predictions.{version['model']}, "
            f"and something else is made from it: {dependents}. Drop that, or make it without the view, then publish "
            "again and make it anew. Readers still see the version from before."
        ) from error
    create(connection, version, parent, grants)
    _revoke(connection, version["model"], view, {*(reader["role"] for reader in readers), *grants})
    for reader in readers:
        role = sql.SQL("public") if reader["role"] is None else sql.Identifier(reader["role"])
        may_grant = sql.SQL(" with grant option" if reader["may_grant"] else "")
        connection.execute(query("views_grant_again", model=model, role=role, may_grant=may_grant))


def _revoke(connection: Connection, model: str, view: str, readers: set[str | None]) -> None:
    """Take from a new view what default privileges gave to others than those who could read the one before."""
    for row in Catalog(connection).all("views_readers", view=view):
        if row["role"] not in readers:
            role = sql.SQL("public") if row["role"] is None else sql.Identifier(row["role"])
            connection.execute(query("views_revoke", model=sql.Identifier(model), role=role))


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


def _lost(connection: Connection, model: str, absent: set[str]) -> list[str]:
    """Columns that readers have seen filled; others are there of versions that were never published."""
    published = [v for v in Catalog(connection).versions(model) if v["published_at"]]
    return sorted(absent & {column["name"] for v in published for column in [*v["key_columns"], *v["output_columns"]]})


def _extend(connection: Connection, table: str, column: Column) -> None:
    connection.execute(query("tables_extend", table=sql.Identifier(table), column=column_definition(column)))
