"""Compatibility of a version's columns with its model's view: the changes that would break readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from psycopg import sql

from prescore.catalog.catalog import Catalog, Column
from prescore.catalog.database import Connection
from prescore.catalog.naming import KEPT_CLOCK
from prescore.catalog.types import short_name
from prescore.errors import NotAllowed
from prescore.versions import table


@dataclass(frozen=True)
class ColumnChange:
    """A view's columns before and after a publication: names with their Postgres types, and the names of the key.

    `published` are the names of all columns that a published version has had. The view may have more, of versions that
    were attached and never published. No reader has seen those filled, so they may disappear.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    key_before: Sequence[str]
    key_after: Sequence[str]
    published: AbstractSet[str]


_BECAUSE = {KEPT_CLOCK: ', because `[vanished]` of the spec does not say `policy = "keep"` any more'}

Rule = Callable[[ColumnChange], list[str]]
"""Returns the changes that break readers, each as a clause for a message."""


def changed_types(change: ColumnChange) -> list[str]:
    """Return the columns whose type changes."""
    messages = []
    for name, after in change.after.items():
        before = change.before.get(name, after)
        if before != after:
            messages.append(f"{name} changes from {before} to {after}")
    return messages


def removed_columns(change: ColumnChange) -> list[str]:
    """Return the columns that readers have seen filled and that disappear."""
    absent = change.before.keys() - change.after.keys()
    removed = sorted(absent & change.published)
    return [f"{name} is removed{_BECAUSE.get(name, '')}" for name in removed]


def columns_joining_the_key(change: ColumnChange) -> list[str]:
    """Return the columns that become part of the key: a row is then no longer found by the old key alone."""
    joining = [name for name in change.key_after if name not in change.key_before]
    return [f"{name} becomes part of the key" for name in joining]


def columns_leaving_the_key(change: ColumnChange) -> list[str]:
    """Return the columns that stay, but outside of the key."""
    leaving = [name for name in change.key_before if name not in change.key_after]
    return [f"{name} is no longer part of the key" for name in leaving if name in change.after]


def reordered_key(change: ColumnChange) -> list[str]:
    """Return the key when the columns that it keeps change their order."""
    kept_before = [name for name in change.key_before if name in change.key_after]
    kept_after = [name for name in change.key_after if name in change.key_before]
    if kept_before == kept_after:
        return []
    before = ", ".join(change.key_before)
    after = ", ".join(change.key_after)
    return [f"the key columns change from {before} to {after}"]


RULES: tuple[Rule, ...] = (
    changed_types,
    removed_columns,
    columns_joining_the_key,
    columns_leaving_the_key,
    reordered_key,
)


def breaking_changes(
    connection: Connection,
    model: str,
    key: Sequence[Column],
    outputs: Sequence[Column],
) -> list[str]:
    """Return the changes that would break readers of the model's view if it had these columns, in words.

    The list is empty while the model has no view.
    """
    before = columns(connection, "predictions", model)
    if not before:
        return []
    names = list(before)
    change = ColumnChange(
        before=before,
        after={column["name"]: column["type"] for column in [*key, *outputs]},
        # The view has the key's columns first, and then `version`.
        key_before=names[: names.index("version")],
        key_after=[column["name"] for column in key],
        published=_published_columns(connection, model),
    )
    messages = []
    for rule in RULES:
        messages += rule(change)
    return messages


def breaking_error(subject: str, changes: Sequence[str], command: str | None) -> NotAllowed:
    """Return the error for columns that would break readers; `command` can allow that, None for a canary."""
    message = (
        f"{subject} would break its readers: {'; '.join(changes)}. Keep the old columns and add new ones beside them, "
        "or publish under another model name."
    )
    if command is None:
        return NotAllowed(f"{message} Such a version cannot be a canary.")
    return NotAllowed(f"{message} If the readers are ready for this, run `{command} --allow-breaking`.")


def columns(connection: Connection, schema: str, name: str) -> dict[str, str]:
    """Return the columns of a table or view in order, name → Postgres type as specs spell it; empty if it is absent."""
    relation = sql.Identifier(schema, name).as_string(connection)
    rows = Catalog(connection).all("tables_columns", relation=relation)
    return {row["name"]: short_name(row["type"]) for row in rows}


def _published_columns(connection: Connection, model: str) -> set[str]:
    names: set[str] = set()
    for version in Catalog(connection).versions(model):
        if version["published_at"] is not None:
            names.update(table.column_names(version))
    return names
