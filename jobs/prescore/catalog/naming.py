"""Rules for the names of models and columns, which become identifiers in Postgres and parameters in query strings."""

from __future__ import annotations

import re
from collections.abc import Sequence

KEPT_CLOCK = "kept_data_as_of"
"""The column that has the `data_as_of` of a row that is kept after its key has vanished, and NULL in other rows."""
RESERVED_COLUMNS = frozenset(
    {
        "version",
        "data_as_of",
        "published_at",
        "max_age",
        "found",
        "stale",
        "last_version",
        "source",
        KEPT_CLOCK,
        "rejected",
        "rejected.reason",
    }
)
"""Columns, tensors and query parameters that prescore defines itself."""
IS_NULL = ".is_null"
"""How the names of tensors end that say where a column is null."""
PARAMETERS = ("version", "max_age", "output")
"""Query parameters of the lookup API."""
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""Columns that every Postgres table has."""
UPKEEP_DAGS = ("watch", "retire")
"""Names of prescore's own DAGs, without the prefix."""
CANARY = "_canary"
"""How the names of views end that show a model's canary."""
_LONGEST_COLUMN = 63


def require_model_name(value: str) -> str:
    """Return a model's name; raise ValueError with the reason if it is not valid."""
    # Postgres silently truncates identifiers to 63 bytes, and table names are a model's name plus its version.
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,47}", value):
        raise ValueError(
            "names are lower case letters, digits and underscores, at most 48, and do not start with a digit"
            f"{_example(value)}"
        )
    if value == "freshness":
        raise ValueError("predictions.freshness is a view of prescore's own; give the model another name")
    if value in UPKEEP_DAGS:
        raise ValueError(f"prescore_{value} is a DAG of prescore's own; give the model another name")
    if value.endswith(CANARY):
        raise ValueError("a name must not end like churn_canary, the view of the canary of churn")
    if re.search(r"_v\d+$", value):
        raise ValueError("a name must not end like churn_v2, the table name of version 2 of churn")
    return value


def _example(value: str) -> str:
    """Return a valid name that is like this one, such as my_model for My-Model, as the end of a message."""
    name = _plain(value)
    return f"; {name} would be one" if re.fullmatch(r"[a-z_][a-z0-9_]{0,47}", name) else ""


def model_name_error(name: str) -> str | None:
    """Return the reason why a model's name is not valid, or None if it is."""
    try:
        require_model_name(name)
    except ValueError as error:
        return str(error)
    return None


def require_column_name(value: str) -> str:
    """Return a column's name; raise ValueError with the reason if a table of predictions cannot have it."""
    if value in RESERVED_COLUMNS:
        raise ValueError(f"{value} is a column of prescore's own; rename yours in the domain query")
    if value in SYSTEM_COLUMNS:
        raise ValueError(f"{value} is a system column of every Postgres table; rename yours in the domain query")
    if value.endswith(IS_NULL):
        raise ValueError(f"names that end in {IS_NULL} belong to tensors of prescore's own; rename {value}")
    if not value or len(value.encode()) > _LONGEST_COLUMN or "\x00" in value:
        raise ValueError("column names in Postgres have 1 to 63 bytes")
    return value


def require_key_name(value: str) -> str:
    """Return a key column's name; raise ValueError if it is also a query parameter of the lookup API."""
    if value in PARAMETERS:
        raise ValueError(f"{value} is a query parameter of the lookup API; rename the key in the domain query")
    return value


def probability_columns(labels: Sequence[object]) -> list[str]:
    """Return a column for the probability of each class, such as `probability_one_year` for the class `One year`.

    Texts are in lower case and without spaces or punctuation, so that SQL needs no quotes, unless two classes would
    get the same name.
    """
    plain = [_plain(label) if isinstance(label, str) else str(label) for label in labels]
    is_distinct = len(set(plain)) == len(plain) and all(plain)
    return [f"probability_{name}" for name in (plain if is_distinct else labels)]


def _plain(label: str) -> str:
    return re.sub(r"\W+", "_", label.lower()).strip("_")
