"""Statements by name, out of the .sql files; no SQL is spelled in Python."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, NamedTuple

from psycopg import sql


class Migration(NamedTuple):
    """A file of `prescore_sql/migrations`: its number, its name and its statements."""

    number: int
    name: str
    text: LiteralString

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements."""
        return hashlib.sha256(self.text.encode()).hexdigest()


_NAMED = re.compile(r"^-- name: (\w+)\n(?:--.*\n)*", re.MULTILINE)


@cache
def statements() -> dict[str, LiteralString]:
    """Every named statement of `prescore_sql/queries/*.sql`; a name that stands twice is a ValueError."""
    found: dict[str, LiteralString] = {}
    for file in sorted(files("prescore_sql").joinpath("queries").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            _, *parts = _NAMED.split(file.read_text())
            for name, statement in zip(parts[::2], parts[1::2], strict=True):
                if name in found:
                    raise ValueError(f"{file.name}: {name} is defined twice")
                found[name] = _literal(statement.strip().removesuffix(";"))
    return found


def query(name: str, /, **identifiers: sql.Composable) -> sql.Composed:
    """The named statement with its {braces} filled by composed identifiers; values stay %(placeholders)s."""
    return sql.SQL(statements()[name]).format(**identifiers)


@cache
def migration_files() -> list[Migration]:
    """Return every migration, in order."""
    folder = files("prescore_sql").joinpath("migrations")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [Migration(int(name.split("_")[0]), name, _literal(folder.joinpath(name).read_text())) for name in names]


def _literal(text: str) -> LiteralString:
    """Text out of our own package, never from a user: as literal as if it stood here."""
    return text
