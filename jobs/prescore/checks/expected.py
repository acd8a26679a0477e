"""What an expectation of Great Expectations demands, in a few words for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prescore.wording import short

_MOST_VALUES = 10

# Expectation → what it demands of its arguments. Others show the name of each argument with its value.
_DEMANDS = {
    "column_distinct_values_to_be_in_set": "only {value_set}",
    "column_distinct_values_to_contain_set": "all of {value_set}",
    "column_distinct_values_to_equal_set": "exactly {value_set}",
    "column_most_common_value_to_be_in_set": "one of {value_set}",
    "column_pair_values_a_to_be_greater_than_b": "{column_A} greater than {column_B}",
    "column_pair_values_to_be_equal": "{column_A} equal to {column_B}",
    "column_pair_values_to_be_in_set": "for {column_A} and {column_B} only {value_pairs_set}",
    "column_to_exist": "at position {column_index}",
    "column_value_lengths_to_equal": "a length of {value}",
    "column_values_to_be_in_set": "only {value_set}",
    "column_values_to_be_in_type_list": "one of {type_list}",
    "column_values_to_be_of_type": "{type_}",
    "column_value_z_scores_to_be_less_than": "z-scores less than {threshold}",
    "column_values_to_match_like_pattern": "like {like_pattern}",
    "column_values_to_match_like_pattern_list": "like one of {like_pattern_list}",
    "column_values_to_match_regex": "a match of {regex}",
    "column_values_to_match_regex_list": "a match of {regex_list}",
    "column_values_to_not_be_in_set": "none of {value_set}",
    "column_values_to_not_match_like_pattern": "not like {like_pattern}",
    "column_values_to_not_match_like_pattern_list": "not like one of {like_pattern_list}",
    "column_values_to_not_match_regex": "no match of {regex}",
    "column_values_to_not_match_regex_list": "no match of {regex_list}",
    "compound_columns_to_be_unique": "no two rows with the same {column_list}",
    "multicolumn_sum_to_equal": "{column_list} adding up to {sum_total}",
    "select_column_values_to_be_unique_within_record": "no two of {column_list} equal",
    "table_column_count_to_equal": "exactly {value}",
    "table_columns_to_match_ordered_list": "exactly {column_list}, in this order",
    "table_columns_to_match_set": "exactly {column_set}",
    "table_row_count_to_equal": "exactly {value}",
}
_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")
# What the name of the expectation or the table already implies, or is shown in another way.
_IMPLIED = ("batch_id", "column", "unexpected_rows_query", "mostly", "row_condition", "condition_parser")


def describe(kind: str, arguments: Mapping[str, Any], condition: str | None = None) -> str:
    """Return what an expectation demands, such as `0 to 1` or `only billing, sales in at least 30 % of the rows`.

    `kind` is its name without `expect_`, and `condition` the row condition as the spec has it.
    """
    given = {name: value for name, value in arguments.items() if value is not None and name not in _IMPLIED}
    text = ", ".join(_parts(kind, given))
    mostly = arguments.get("mostly")
    if mostly is not None and mostly != 1:
        text += f" in at least {short(mostly * 100)} % of the rows"
    if condition is not None:
        text += f" where {condition}"
    return text.strip()


def _parts(kind: str, given: dict[str, Any]) -> Iterable[str]:
    """Yield what the arguments demand; each function takes those out of `given` that it describes."""
    yield from _quantiles(given)
    yield from _bounds(kind, given)
    yield from _demands(kind, given)
    for name, value in given.items():
        yield f"{name.strip('_').replace('_', ' ')} {shown(value)}"


def _quantiles(given: dict[str, Any]) -> Iterable[str]:
    quantiles = given.pop("quantile_ranges", None)
    if quantiles is not None:
        ranges = [_range(*bounds) for bounds in quantiles["value_ranges"]]
        yield at_points(quantiles["quantiles"], ranges)


def _bounds(kind: str, given: dict[str, Any]) -> Iterable[str]:
    low, high, is_above, is_below = (given.pop(name, None) for name in _BOUNDS)
    if low is None and high is None:
        return
    unit = " characters" if kind == "column_value_lengths_to_be_between" else ""
    yield _range(low, high, is_above, is_below) + unit


def _demands(kind: str, given: dict[str, Any]) -> Iterable[str]:
    demand = _DEMANDS.get(kind, "")
    if given.pop("or_equal", False):
        demand += " or equal to it"
    named = [name for name in given if f"{{{name}}}" in demand]
    if named:
        texts = {name: shown(given.pop(name)) for name in named}
        yield demand.format_map(texts)


def shown(value: Any) -> str:
    """Return a value as text, and a list as its first values."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        value = tuple(f"{name} {shown(item)}" for name, item in value.items())
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))})"
    if not isinstance(value, list | set):
        return short(value)
    texts = list(map(shown, value))
    if len(texts) > _MOST_VALUES:
        texts[_MOST_VALUES:] = [f"… ({len(texts)} values)"]
    return ", ".join(texts)


def _range(low: Any, high: Any, is_above: bool | None = None, is_below: bool | None = None) -> str:
    """Return bounds in words; `is_above` and `is_below` exclude the bounds themselves."""
    lowest = f"{'more than' if is_above else 'at least'} {short(low)}"
    highest = f"{'less than' if is_below else 'at most'} {short(high)}"
    if high is None:
        return lowest
    if low is None:
        return highest
    if low == high:
        return f"exactly {short(low)}"
    return f"{lowest} and {highest}" if is_above or is_below else f"{short(low)} to {short(high)}"


def at_points(points: Iterable[float], values: Iterable[str]) -> str:
    """Return a value for each quantile, such as `0.2 at 0.1, 0.9 at 0.5`."""
    parts = []
    for point, value in zip(points, values, strict=True):
        parts.append(f"{value} at {point}")
    return ", ".join(parts)
