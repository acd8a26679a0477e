"""Whether a domain may have changed, by a query whose value changes with it: domain.unchanged_if."""

from __future__ import annotations

from prescore.errors import DomainInvalid
from prescore.project.spec import Spec
from prescore.sources.source import Source

LABEL = "domain.unchanged_if"
"""The name of its query in messages."""


def query(source: Source, spec: Spec) -> str | None:
    """Run the spec's unchanged_if query and return its text with its value, None for NULL or without such a query.

    Another query may return the same value, but that says nothing about the rows.
    Raises DomainInvalid unless the query returns one row with one value.
    """
    if spec.domain.unchanged_if is None:
        return None
    rows = source.rows(spec.domain.unchanged_if, LABEL)
    values = [value for row in rows for value in row.values()]
    if len(values) != 1:
        raise DomainInvalid(f"{LABEL} must return one row with one value, but returned {rows[:2] or 'no row'}.")
    return None if values[0] is None else f"{spec.domain.unchanged_if}: {values[0]}"
