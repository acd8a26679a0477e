"""A version as a statement reads it: a table or a view with all of its rows."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from prescore.catalog.catalog import Version
from prescore.catalog.queries import query
from prescore.catalog.types import INTEGERS

VERSIONS = "prescore_versions"
"""The schema of the versions' tables and views."""
SAMPLE_ROWS = 100_000
"""The number of rows of a sample; a smaller version is read whole."""
_HASHES = 1 << 20


@dataclass(frozen=True)
class Relation:
    """The name of a version's table or view, its number of rows and its key columns as name and type."""

    name: sql.Identifier
    rows: int
    key: tuple[tuple[str, str], ...]

    @classmethod
    def from_version(cls, version: Version, schema: str, rows: int) -> Relation:
        """Return the relation of a version, which has that many rows."""
        key = tuple((column["name"], column["type"]) for column in version["key_columns"])
        return cls(sql.Identifier(schema, version["table_name"]), rows, key)

    @property
    def is_sampled(self) -> bool:
        """Whether a sample is less than all rows."""
        return self.rows > SAMPLE_ROWS

    def sampled(self) -> sql.Composable:
        """Return the condition for a row to be in the sample, which does not depend on its values."""
        if not self.is_sampled:
            return sql.SQL("true")
        hashes = sql.Literal(_HASHES * SAMPLE_ROWS // self.rows)
        return query("comparison_sampled", hash=self._hash(), hashes=hashes)

    def _hash(self) -> sql.Composed:
        names = [sql.Identifier(name) for name, _ in self.key]
        if len(names) == 1 and self.key[0][1] in INTEGERS:
            return query("comparison_integer_hash", key=names[0])
        return query("comparison_key_hash", keys=sql.SQL(", ").join(names))


@dataclass(frozen=True)
class Pair:
    """Two versions of a model: what is measured of either one, and of the join of both by their keys."""

    a: Relation
    b: Relation

    def matches(self) -> sql.Composed:
        """Return the condition of the join."""
        template = sql.SQL("a.{0} = b.{0}")
        conditions = [template.format(sql.Identifier(name)) for name, _ in self.a.key]
        return sql.SQL(" and ").join(conditions)

    def keys(self) -> sql.Composed:
        """Return the key columns of the first version in a join."""
        return sql.SQL(", ").join([sql.Identifier("a", name) for name, _ in self.a.key])
