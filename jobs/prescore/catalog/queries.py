"""Statements by name, out of the .sql files; no SQL is spelled in Python."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString

from psycopg import sql

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


def migrations() -> list[tuple[int, str, LiteralString]]:
    """(number, file name, text) of every migration, in order."""
    folder = files("prescore_sql").joinpath("migrations")
    named = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql"))
    return [(int(n.split("_")[0]), n, _literal(folder.joinpath(n).read_text())) for n in named]


def _literal(text: str) -> LiteralString:
    """Text out of our own package, never from a user: as literal as if it stood here."""
    return text
