"""SQL statements by name, read from the .sql files of `prescore_sql`. Python code contains no SQL."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, NamedTuple

from psycopg import sql


class Migration(NamedTuple):
    """A file of `prescore_sql/migrations`: its number, its file name and its statements."""

    number: int
    name: str
    text: LiteralString

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


_HEADER = re.compile(r"^-- name: (\w+)\n(?:--.*\n)*", re.MULTILINE)
"""The name of a statement, and the comment lines directly below it."""


@cache
def statements() -> dict[str, LiteralString]:
    """Return the statements of `prescore_sql/queries/*.sql` by name; raise ValueError for a duplicate name."""
    by_name: dict[str, LiteralString] = {}
    for file in files("prescore_sql").joinpath("queries").iterdir():
        if not file.name.endswith(".sql"):
            continue
        # Splitting at a pattern with one group alternates names and texts, after what precedes the first name.
        _, *parts = _HEADER.split(file.read_text())
        for name, statement in zip(parts[::2], parts[1::2], strict=True):
            if name in by_name:
                raise ValueError(f"{file.name}: the statement {name} is defined twice")
            by_name[name] = _literal(statement.strip().removesuffix(";"))
    return by_name


def query(name: str, /, **identifiers: sql.Composable) -> sql.Composed:
    """Return a named statement with its {braces} filled in; its %(placeholders)s are left for the values."""
    return sql.SQL(statements()[name]).format(**identifiers)


@cache
def migration_files() -> list[Migration]:
    """Return all migrations that this release ships, in order."""
    migrations = []
    for file in files("prescore_sql").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            number = int(file.name.split("_")[0])
            migrations.append(Migration(number, file.name, _literal(file.read_text())))
    return sorted(migrations)


def _literal(text: str) -> LiteralString:
    """Return a file of this package as a literal: it is never user input."""
    return text
