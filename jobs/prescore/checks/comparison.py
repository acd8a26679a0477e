"""What changed between two versions of a model."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from prescore.catalog.catalog import Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.catalog.types import NUMBERS
from prescore.errors import NotAllowed


def compare(connection: Connection, a: Version, b: Version) -> dict[str, Any]:
    """Keys added, vanished and changed from `a` to `b`, and how far each number moved over the keys of both.

    Raises NotAllowed when one of them has no table any more, or their keys differ.
    """
    for version in (a, b):
        if version["state"] in ("retired", "failed", "building"):
            raise NotAllowed(
                f"{version['model']} version {version['version']} is {version['state']}: it has no table to compare."
            )
    if _key(a) != _key(b):
        raise NotAllowed(f"The versions have different keys: {_key(a)} and {_key(b)}.")
    types = {column["name"]: column["type"] for column in b["output_columns"]}
    both = [column["name"] for column in a["output_columns"] if types.get(column["name"]) == column["type"]]
    tables = {"a": sql.Identifier(a["table_name"]), "b": sql.Identifier(b["table_name"])}
    matches = sql.SQL(" and ").join(sql.SQL("a.{0} = b.{0}").format(sql.Identifier(c)) for c in _key(a))
    changed = sql.SQL(" or ").join(sql.SQL("a.{0} is distinct from b.{0}").format(sql.Identifier(c)) for c in both)
    keys = connection.execute(
        query("comparison_keys", matches=matches, changed=changed if both else sql.SQL("false"), **tables)
    ).fetchone()
    numbers = [column for column in both if types[column] in NUMBERS]
    moved = [(c, query("comparison_number", column=sql.Identifier(c), matches=matches, **tables)) for c in numbers]
    return {
        "model": a["model"],
        "a": a["version"],
        "b": b["version"],
        "keys": keys,
        "columns": [{"column": column, **(connection.execute(q).fetchone() or {})} for column, q in moved],
    }


def _key(version: Version) -> list[str]:
    return [column["name"] for column in version["key_columns"]]
