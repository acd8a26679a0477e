"""Names: what models and columns may be called, in Postgres, in the catalog and in query strings."""

from __future__ import annotations

import re

RESERVED_COLUMNS = frozenset({"version", "data_as_of", "published_at", "max_age"})
"""Columns and parameters that prescore itself defines."""
PARAMETERS = ("version", "max_age", "output")
"""Query parameters of the lookup API."""
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""Columns that every Postgres table has."""
UPKEEP_DAGS = ("watch", "retire")
_LONGEST_COLUMN = 63


def require_model_name(value: str) -> str:
    """Return a model's name; raise ValueError with the reason when no model can have it."""
    # Postgres silently truncates identifiers to 63 bytes, and table names append the version.
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,47}", value):
        raise ValueError("names are lower case letters, digits and underscores, at most 48, and start with no digit")
    if value == "freshness":
        raise ValueError("predictions.freshness is prescore's own view; give the model another name")
    if value in UPKEEP_DAGS:
        raise ValueError(f"prescore_{value} is one of prescore's own DAGs; give the model another name")
    if re.search(r"_v\d+$", value):
        raise ValueError("a name must not end like churn_v2, which is the name of churn's second version")
    return value


def model_name_error(name: str) -> str | None:
    """Return why a model cannot have this name, or None when it can."""
    try:
        require_model_name(name)
    except ValueError as error:
        return str(error)
    return None


def require_column_name(value: str) -> str:
    """Return a column's name; raise ValueError with the reason when no column of predictions can have it."""
    if value in RESERVED_COLUMNS:
        raise ValueError(f"{value} is prescore's own column; give yours another name in the domain query")
    if value in SYSTEM_COLUMNS:
        raise ValueError(f"every Postgres table has a column {value}; give yours another name in the domain query")
    if not value or len(value.encode()) > _LONGEST_COLUMN or "\x00" in value:
        raise ValueError("Postgres takes column names of 1 to 63 bytes")
    return value


def require_key_name(value: str) -> str:
    """Return a key column's name; raise ValueError when a query parameter has the same name."""
    if value in PARAMETERS:
        raise ValueError(f"{value} is a parameter of the lookup API; give the key another name in the domain query")
    return value
