"""Read the row condition of a check, such as `col("plan") == "team" and col("score") > 0.5`.

Great Expectations has a parser of its own for such texts. It is deprecated, and it ignores everything after the first
comparison.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

FORM = """write it as 'col("score") > 0.5 and col("plan") == "team"'"""

_TERM = re.compile(
    r"""
    col\(\s*(?P<quote>["'])(?P<column>(?:(?!(?P=quote)).)+)(?P=quote)\s*\)\s*
    (?:
        (?P<nullity>\.isnull\(\)|\.notnull\(\))
        | (?P<operator>==|!=|<=|>=|<|>)\s*
          (?: "(?P<double>[^"]*)" | '(?P<single>[^']*)' | (?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?) | (?P<boolean>true|false) )
    )
    (?:\s+and\s+(?=\S)|$)
    """,  # noqa: E501
    re.VERBOSE,
)


def parse(text: str, types: dict[str, str]) -> Any:
    """Return the condition of Great Expectations that a text describes; raise ValueError if it cannot be evaluated.

    `types` are the types of the table's columns. A text that is compared with a date column must be a date.
    """
    from great_expectations.expectations.row_conditions import AndCondition

    conditions = list(_conditions(text.strip(), types))
    return conditions[0] if len(conditions) == 1 else AndCondition(conditions=conditions)


def _conditions(text: str, types: dict[str, str]) -> Iterator[Any]:
    position = 0
    while position < len(text) or not text:
        term = _TERM.match(text, position)
        if term is None:
            raise ValueError(f"cannot read {text[position:]!r}; {FORM}")
        yield _condition(term, types)
        position = term.end()


def _condition(term: re.Match[str], types: dict[str, str]) -> Any:
    from great_expectations.expectations.row_conditions import Column, ComparisonCondition, NullityCondition

    name = term["column"]
    if name not in types:
        raise ValueError(f"the table has no column {name}; it has {', '.join(types)}")
    if term["nullity"]:
        return NullityCondition(column=Column(name), is_null=term["nullity"] == ".isnull()")
    value = _value(term, types[name])
    return ComparisonCondition(column=Column(name), operator=term["operator"], parameter=value)


def _value(term: re.Match[str], type_name: str) -> object:
    """Return the value that a column is compared with: a number, a boolean, a date or a text."""
    if term["boolean"]:
        return term["boolean"] == "true"
    if term["number"]:
        return float(term["number"]) if re.search("[.eE]", term["number"]) else int(term["number"])
    text = term["double"] if term["double"] is not None else term["single"]
    if type_name != "date":
        return text
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f'{text!r} is not a valid date. Use, for example, "2026-01-31"') from None
