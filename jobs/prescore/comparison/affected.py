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
    key = [column["name"] for column in shared.base["key_columns"]]
    names = {"key": identifiers(key), "columns": identifiers([*key, *(column.name for column in columns)])}
    if shared.largest_delta < _SMALL * (shared.base["rows"] or 0):
        table_name = sql.Identifier(VERSIONS, shared.base["rows_table"]).as_string()
        connection.execute(query("comparison_use_index", base=sql.Literal(table_name)))
    base = _create(connection, shared.base, "base", _base_rows(shared, names))
    connection.execute(query("comparison_use_any_join"))
    relations = []
    for name, version in (("a", shared.a), ("b", shared.b)):
        table = delta(version)
        if table is None:
            relations.append(base)
            continue
        number = sql.Literal(version["rows_version"])
        rows = query("comparison_delta_rows", delta=table, version=number, base=base.name, **names)
        relations.append(_create(connection, version, name, rows))
    return AffectedRows(base, *relations)


def discard(connection: Connection, rows: AffectedRows) -> None:
    """Drop the temporary tables."""
    copies = [relation for relation in (rows.a, rows.b) if relation is not rows.base]
    for relation in (rows.base, *copies):
        connection.execute(query("tables_discard", table=relation.name))


def _base_rows(shared: SharedBase, names: Mapping[str, sql.Composable]) -> sql.Composed:
    base = sql.Identifier(VERSIONS, shared.base["rows_table"])
    keys = [query("comparison_keys", relation=table, key=names["key"]) for table in shared.deltas]
    if not keys:
        keys = [query("comparison_no_keys", relation=base, key=names["key"])]
    return query("comparison_base_rows", keys=sql.SQL(" union ").join(keys), base=base, **names)


def _create(connection: Connection, version: Version, name: str, rows: sql.Composed) -> Relation:
    """Create a table with rows of a version."""
    table = sql.Identifier("pg_temp", f"prescore_affected_{name}")
    cursor = connection.execute(query("comparison_affected", table=table, rows=rows))
    connection.execute(query("tables_analyze", table=table))
    return replace(Relation.from_version(version, VERSIONS, cursor.rowcount), name=table)
