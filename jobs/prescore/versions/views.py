"""The stable name: one view per model over its attached versions.

The view is extended as outputs are added, and replaced only when a version is published that may break readers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.catalog import Catalog, Column, Version
from prescore.catalog.columns import column_definition, identifiers
from prescore.catalog.database import Connection
from prescore.catalog.naming import CANARY, KEPT_CLOCK
from prescore.catalog.queries import query
from prescore.errors import NotAllowed
from prescore.versions import privileges, table
from prescore.versions.compatibility import columns

# The view has these columns of its own, between the key and the outputs.
_OWN_COLUMNS = ["version", "data_as_of", "published_at"]
_PUBLISHED = {
    "visible": sql.Identifier("prescore", "visible"),
    "clocks": sql.Identifier("predictions", "freshness"),
}
"""Where a model's view finds the version to show, and its times."""
_CANARY = {
    "visible": sql.Identifier("prescore", "canaries"),
    "clocks": sql.Identifier("prescore", "canaries"),
}
"""The same for the view of its canary."""


def align(connection: Connection, version: Version, parent: str) -> None:
    """Give a parent and a version's table the same columns. Columns added to either one are NULL in its rows."""
    own = columns(connection, "prescore_versions", version["rows_table"])
    shared = columns(connection, "prescore_versions", parent)
    if own.keys() - shared.keys():
        connection.execute(query("views_lock", model=sql.Identifier(version["model"])))
    declared = {column["name"]: column for column in table.columns(version)}
    for name in own:
        if name not in shared:
            _add_column(connection, parent, declared[name])
    for name, kind in shared.items():
        if name not in own:
            column = Column(
                name=name,
                type=kind,
                comment="",
                role="output",
            )
            _add_column(connection, version["rows_table"], column)


def create(
    connection: Connection,
    version: Version,
    parent: str,
    grants: tuple[str, ...],
) -> None:
    """Create or extend the model's view where needed. A view that stays the same is not locked against its readers."""
    model = version["model"]
    expected = _expected_columns(connection, version, parent)
    catalog = Catalog(connection)
    reads_deltas = catalog.model(model)["reads_deltas"]
    must_read_deltas = reads_deltas or table.is_view(version)
    if list(columns(connection, "predictions", model)) != expected or must_read_deltas != reads_deltas:
        if must_read_deltas:
            statement = _with_deltas(version, parent, expected, model, _PUBLISHED)
        else:
            statement = _without_deltas(version, parent, expected)
        connection.execute(statement)
    if must_read_deltas != reads_deltas:
        catalog.execute("models_set_reads_deltas", model=model)
    _comment(connection, version, model, catalog.model(model)["description"])
    for role in grants:
        privileges.grant(connection, model, role)


def create_canary(
    connection: Connection,
    version: Version,
    parent: str,
    grants: tuple[str, ...],
) -> None:
    """Create or extend the view of the model's canary where needed. It has no rows while there is no canary."""
    view = canary_view(version["model"])
    expected = _expected_columns(connection, version, parent)
    if list(columns(connection, "predictions", view)) != expected:
        connection.execute(_with_deltas(version, parent, expected, view, _CANARY))
    _comment(connection, version, view, f"the canary of {version['model']}")
    for role in grants:
        privileges.grant(connection, view, role)


def canary_view(model: str) -> str:
    """Return the name of the view that shows a model's canary."""
    return f"{model}{CANARY}"


def _expected_columns(connection: Connection, version: Version, parent: str) -> list[str]:
    """Return the columns of a view over a parent, in order."""
    keys = table.key_names(version)
    available = columns(connection, "prescore_versions", parent)
    outputs = [name for name in available if name not in keys and name != "version"]
    return [*keys, *_OWN_COLUMNS, *outputs]


def _without_deltas(version: Version, parent: str, expected: Sequence[str]) -> sql.Composed:
    """Return the statement of the model's view over full versions, whose rows have the number of their version."""
    return query(
        "views_create",
        view=sql.Identifier(version["model"]),
        shown=_shown(version, expected, sql.Identifier("p", "version"), _PUBLISHED["clocks"]),
        **_parts(version, parent, _PUBLISHED["visible"]),
    )


def _with_deltas(
    version: Version, parent: str, expected: Sequence[str], view: str, where: dict[str, sql.Identifier]
) -> sql.Composed:
    """Return the statement of a view that shows the rows of a base under the number of the version that readers see."""
    shown_version = query("views_version", visible=where["visible"], name=sql.Literal(version["model"]))
    return query(
        "views_create_with_deltas",
        view=sql.Identifier(view),
        shown=_shown(version, expected, shown_version, where["clocks"]),
        same_key=same_key(table.key_names(version), "d", "p"),
        **_parts(version, parent, where["visible"]),
    )


def _shown(version: Version, expected: Sequence[str], number: sql.Composable, clocks: sql.Identifier) -> sql.Composed:
    keys = table.key_names(version)
    outputs = expected[len(keys) + len(_OWN_COLUMNS) :]
    name = sql.Literal(version["model"])
    if KEPT_CLOCK in outputs:
        data_as_of = query("views_own_data_as_of", clock=sql.Identifier(KEPT_CLOCK), clocks=clocks, name=name)
    else:
        data_as_of = query("views_data_as_of", clocks=clocks, name=name)
    return query(
        "views_shown",
        keys=identifiers(keys, "p"),
        version=number,
        data_as_of=data_as_of,
        clocks=clocks,
        name=name,
        outputs=identifiers(outputs, "p"),
    )


def _parts(version: Version, parent: str, visible: sql.Identifier) -> dict[str, sql.Composable]:
    return {
        "name": sql.Literal(version["model"]),
        "parent": sql.Identifier(parent),
        "parent_name": sql.Literal(parent),
        "visible": visible,
    }


def same_key(keys: Sequence[str], one: str, other: str) -> sql.Composed:
    """Return the condition that rows of two relations, by their aliases, have the same key."""
    pairs = [sql.SQL("{} = {}").format(sql.Identifier(one, key), sql.Identifier(other, key)) for key in keys]
    return sql.SQL(" and ").join(pairs)


def restore(connection: Connection) -> list[str]:
    """Create the views of published models and of canaries that are gone, and return their names."""
    catalog = Catalog(connection)
    restored = []
    for row in catalog.all("views_missing"):
        _restore(connection, row, create)
        restored.append(f"view predictions.{row['model']}")
    for row in catalog.all("views_missing_canaries"):
        _restore(connection, row, create_canary)
        restored.append(f"view predictions.{canary_view(row['model'])}")
    return restored


def _restore(connection: Connection, row: dict[str, Any], create_view: Callable[..., None]) -> None:
    version = Catalog(connection).version(row["model"], row["version"])
    with connection.transaction():
        connection.execute(query("views_become_owner", owner=sql.Identifier(row["owner"])))
        create_view(connection, version, row["parent"], ())


def replace(
    connection: Connection,
    version: Version,
    parent: str,
    grants: tuple[str, ...],
) -> None:
    """Drop the model's view and create it over another parent, with the same grants; drop the view of its canary.

    Raises NotAllowed while other objects in the database depend on one of the views.
    """
    model = version["model"]
    # The lock keeps the grants from changing until the new view has them.
    connection.execute(query("views_lock", model=sql.Identifier(model)))
    readers = privileges.readers(connection, model)
    try:
        connection.execute(query("views_drop", model=sql.Identifier(canary_view(model))))
        connection.execute(query("views_drop", model=sql.Identifier(model)))
    except pg.DependentObjectsStillExist as error:
        raise _dependents_error(version, error) from error
    create(connection, version, parent, grants)
    privileges.restore(connection, model, readers, grants)


def _dependents_error(version: Version, error: pg.DependentObjectsStillExist) -> NotAllowed:
    model, number = version["model"], version["version"]
    detail = error.diag.message_detail or str(error)
    dependents = "; ".join(detail.splitlines())
    return NotAllowed(
        f"{model} version {number} changes the columns of predictions.{model}, and other objects depend on that view: "
        f"{dependents}. Drop them, or define them without the view, then publish again and create them again. Readers "
        "still see the previous version."
    )


def _comment(connection: Connection, version: Version, view: str, description: str) -> None:
    """Copy the descriptions of a view and of the version's columns into the view's comments."""
    relation = sql.Identifier(view)
    connection.execute(query("views_comment", model=relation, comment=sql.Literal(description)))
    for column in table.columns(version):
        if not column["comment"]:
            continue
        statement = query(
            "views_comment_column",
            model=relation,
            column=sql.Identifier(column["name"]),
            comment=sql.Literal(column["comment"]),
        )
        connection.execute(statement)


def _add_column(connection: Connection, relation: str, column: Column) -> None:
    statement = query(
        "tables_extend",
        table=sql.Identifier(relation),
        column=column_definition(column),
    )
    connection.execute(statement)
