"""The rows that may differ between two versions over one base: those whose keys are in either delta.

All other rows are equal in both versions. The affected ones are copied into temporary tables of the transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from prescore.catalog.catalog import Version
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.comparison.columns import SharedColumn
from prescore.comparison.relation import VERSIONS, Pair, Relation
from prescore.comparison.shared_base import SharedBase, delta

_SMALL = 0.1
"""The share of a base's rows below which looking them up by their keys takes less work than reading all of them."""


@dataclass(frozen=True)
class AffectedRows:
    """The affected rows of the base and of either version. A version that is equal to the base shares its table."""

    base: Relation
    a: Relation
    b: Relation

    @property
    def pair(self) -> Pair:
        """The affected rows of the two versions."""
        return Pair(self.a, self.b)


def read(connection: Connection, shared: SharedBase, columns: Sequence[SharedColumn]) -> AffectedRows:
    """Copy the affected rows into temporary tables. Pass them to `discard` before the end of the transaction."""
    base_table = sql.Identifier(VERSIONS, shared.base["rows_table"])
    key = [column["name"] for column in shared.base["key_columns"]]
    outputs = [column.name for column in columns]
    names = {
        "key": identifiers(key),
        "columns": identifiers([*key, *outputs]),
    }
    _choose_join(connection, shared, base_table)
    base = _create(
        connection,
        shared.base,
        "base",
        _base_rows(shared, base_table, names),
    )
    connection.execute(query("comparison_use_any_join"))
    a = _read_version(connection, shared.a, "a", base, names)
    b = _read_version(connection, shared.b, "b", base, names)
    return AffectedRows(base, a, b)


def discard(connection: Connection, rows: AffectedRows) -> None:
    """Drop the temporary tables."""
    _discard(connection, rows.base)
    for relation in (rows.a, rows.b):
        if relation is not rows.base:
            _discard(connection, relation)


def _choose_join(connection: Connection, shared: SharedBase, base_table: sql.Identifier) -> None:
    """Have the rows of the base looked up by their keys if the deltas are small."""
    rows = shared.base["rows"] or 0
    if shared.largest_delta >= _SMALL * rows:
        return
    name = sql.Literal(base_table.as_string())
    connection.execute(query("comparison_use_index", base=name))


def _base_rows(
    shared: SharedBase,
    base_table: sql.Identifier,
    names: Mapping[str, sql.Composable],
) -> sql.Composed:
    """Return the statement that reads the rows of the base whose keys are in either delta."""
    keys = []
    for table in shared.deltas:
        selected = query("comparison_keys", relation=table, key=names["key"])
        keys.append(selected)
    if not keys:
        none = query("comparison_no_keys", relation=base_table, key=names["key"])
        keys.append(none)
    return query(
        "comparison_base_rows",
        keys=sql.SQL(" union ").join(keys),
        base=base_table,
        **names,
    )


def _read_version(
    connection: Connection,
    version: Version,
    name: str,
    base: Relation,
    names: Mapping[str, sql.Composable],
) -> Relation:
    """Return the affected rows of a version: those of the base, if it is equal to the base."""
    table = delta(version)
    if table is None:
        return base
    rows = query(
        "comparison_delta_rows",
        delta=table,
        version=sql.Literal(version["rows_version"]),
        base=base.name,
        **names,
    )
    return _create(connection, version, name, rows)


def _create(connection: Connection, version: Version, name: str, rows: sql.Composed) -> Relation:
    """Create a table with rows of a version."""
    table = sql.Identifier("pg_temp", f"prescore_affected_{name}")
    statement = query("comparison_affected", table=table, rows=rows)
    created = connection.execute(statement)
    connection.execute(query("tables_analyze", table=table))
    relation = Relation.from_version(version, VERSIONS, created.rowcount)
    return replace(relation, name=table)


def _discard(connection: Connection, relation: Relation) -> None:
    connection.execute(query("tables_discard", table=relation.name))
