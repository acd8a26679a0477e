"""Build expectations from the checks of a spec, and explain what is wrong with a check that cannot work.

Great Expectations takes seconds to import, so the functions that need it import it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from prescore.catalog.types import ARRAYS, NUMBERS
from prescore.checks import row_conditions
from prescore.checks.results import ROWS_EXPECTATION
from prescore.project.spec import Check, Spec
from prescore.project.validation_messages import misplacement
from prescore.wording import guess, short

# Arguments that every expectation has and no check needs, so that no message suggests them.
_IRRELEVANT = {
    "batch_id",
    "catch_exceptions",
    "description",
    "id",
    "meta",
    "notes",
    "rendered_content",
    "result_format",
    "severity",
    "windows",
}
_RESERVED = ("id", "meta")
_BOUNDS = ("min_value", "max_value")
_COMPARED = (*_BOUNDS, "value_set", "quantile_ranges", "regex", "regex_list", "like_pattern")
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B")
_QUANTILES = "{ quantiles = [0.1, 0.9], value_ranges = [[0, 0.2], [0.5, 1]] }"
_MAX_LENGTH = 60
_NUMBER_OR_NONE = (int, float, type(None))


def build_expectation(check: Check, spec: Spec) -> Any:
    """Return the Great Expectations expectation that a check describes.

    Raises ValueError with everything that is wrong with the check, separated by semicolons.
    """
    arguments = check.model_extra or {}
    expectation_class = _expectation_class(check.expect)
    _raise_any(
        [
            *_reserved_arguments(arguments),
            *_unknown_columns(arguments, spec),
            *_rewritten_columns(check, arguments),
            *_unusable_condition(check, arguments, spec),
        ]
    )
    expectation = _instantiate(expectation_class, arguments, check.title, spec)
    _raise_any(
        [
            *_quoted_bounds(arguments, spec),
            *_bounded_arrays(arguments, spec),
            *_reversed_bounds(expectation),
            *_malformed_quantiles(expectation),
        ]
    )
    return expectation


def _rewritten_columns(check: Check, arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield a column that Great Expectations writes with other white space, so that Postgres does not find it."""
    column = arguments.get("column")
    if check.expect == "column_values_to_be_unique" and isinstance(column, str) and set(column) & set("\t\n\r\v\f"):
        yield f"column: Great Expectations replaces the tab or line break in {column!r}; rename the column with AS"


def _raise_any(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))


def _expectation_class(name: str) -> Any:
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import registry

    try:
        return registry.get_expectation_impl(name if name == ROWS_EXPECTATION else f"expect_{name}")
    except ExpectationNotFoundError as error:
        registered = registry.list_registered_expectation_implementations()
        names = [full_name.removeprefix("expect_") for full_name in registered]
        raise ValueError(f"Great Expectations has no expect_{name}{guess(name, names)}") from error


def _instantiate(
    expectation_class: Any,
    arguments: Mapping[str, Any],
    title: str,
    spec: Spec,
) -> Any:
    # Results show the row condition as the spec has it, and not what Great Expectations makes of it.
    condition = arguments.get("row_condition")
    meta = {"title": title, "row_condition": condition}
    given = dict(arguments)
    if condition is not None:
        given["row_condition"] = row_conditions.parse(str(condition), _types(spec))
    try:
        return expectation_class(**given, meta=meta)
    except ValueError as error:
        faults = _argument_faults(error, expectation_class, arguments)
        raise ValueError("; ".join(faults)) from error


def _argument_faults(
    error: Any,
    expectation_class: Any,
    arguments: Mapping[str, Any],
) -> Iterator[str]:
    """Yield one message per argument from a pydantic validation error."""
    # For an argument of several possible types pydantic reports one fault per type. The first is the clearest.
    faults: dict[str, Any] = {}
    for fault in error.errors():
        location = fault["loc"]
        name = str(location[0])
        faults.setdefault(name, fault)
    for name, fault in faults.items():
        kind = fault["type"]
        message = fault["msg"]
        if kind == "value_error.extra":
            alternative = misplacement(name, Spec, ["checks"]) or _alternative(name, expectation_class)
            yield f"{name}: unknown argument; {alternative}"
        elif kind == "value_error.missing":
            missing = fault["loc"][-1]
            yield f"{missing}: is missing"
        elif name != "__root__":
            value = _quoted(arguments.get(name))
            yield f"{name}: {message} (value: {value})"
        elif len(faults) == 1:
            # A fault of all arguments together only means something once each of them is valid.
            yield str(message)


def _alternative(name: str, expectation_class: Any) -> str:
    fields = expectation_class.__fields__
    accepted = [field for field in fields if field not in _IRRELEVANT]
    similar = get_close_matches(name, accepted, n=1, cutoff=0.5)
    if similar:
        return f"did you mean {similar[0]}?"
    listed = ", ".join(accepted)
    return f"it takes {listed}"


def _reserved_arguments(arguments: Mapping[str, Any]) -> Iterator[str]:
    for name in _RESERVED:
        if name in arguments:
            yield f"{name}: is reserved by Great Expectations; leave it out"
    for name, value in arguments.items():
        if not isinstance(value, Mapping):
            continue
        if "$PARAMETER" in value:
            yield f"{name}: $PARAMETER is not supported; write the value itself"


def _unknown_columns(arguments: Mapping[str, Any], spec: Spec) -> Iterator[str]:
    columns = [arguments.get(argument) for argument in _COLUMN_ARGUMENTS]
    column_list = arguments.get("column_list")
    if isinstance(column_list, list):
        columns += column_list
    types = _types(spec)
    listed = ", ".join(types)
    for column in columns:
        if not isinstance(column, str):
            continue
        if column not in types:
            yield f"the table has no column {column}{guess(column, types)}; it has {listed}"


def _types(spec: Spec) -> dict[str, str]:
    """Return name → type of the columns of the table."""
    columns = [*spec.key_columns, *spec.output_columns]
    return {column["name"]: column["type"] for column in columns}


def _quoted_bounds(arguments: Mapping[str, Any], spec: Spec) -> Iterator[str]:
    """Yield bounds of a numeric column that are not numbers, which Great Expectations only rejects at run time."""
    column = arguments.get("column")
    type_name = _types(spec).get(str(column))
    if type_name not in NUMBERS:
        return
    for name in _BOUNDS:
        bound = arguments.get(name)
        if isinstance(bound, _NUMBER_OR_NONE):
            continue
        value = _quoted(bound)
        yield (f"{name} is {value}, but {column} is {type_name}; write a number, without quotes")


def _bounded_arrays(arguments: Mapping[str, Any], spec: Spec) -> Iterator[str]:
    """Yield an array column with an argument that is compared with its values: Postgres compares arrays with arrays."""
    column = arguments.get("column")
    type_name = _types(spec).get(str(column))
    if type_name in ARRAYS and any(name in arguments for name in _COMPARED):
        yield f"{column} is {type_name}, whose elements no expectation looks at; check a column with one value instead"


def _reversed_bounds(expectation: Any) -> Iterator[str]:
    """Yield bounds that no value can meet, which Great Expectations accepts."""
    bounds = [getattr(expectation, name, None) for name in _BOUNDS]
    ranges = [bounds]
    quantiles = getattr(expectation, "quantile_ranges", None)
    if quantiles is not None and _is_paired(quantiles):
        ranges += quantiles["value_ranges"]
    for low, high in ranges:
        if _is_above(low, high):
            lower = short(low)
            upper = short(high)
            yield f"the lower bound {lower} is above the upper bound {upper}, so no value can pass"


def _malformed_quantiles(expectation: Any) -> Iterator[str]:
    """Yield quantile ranges of a shape that Great Expectations accepts now and fails on at run time."""
    quantiles = getattr(expectation, "quantile_ranges", None)
    if quantiles is not None and not _is_paired(quantiles):
        yield f"quantile_ranges: write a lowest and a highest number for each quantile, such as {_QUANTILES}"


def _is_paired(quantiles: Mapping[str, Any]) -> bool:
    points = quantiles.get("quantiles")
    ranges = quantiles.get("value_ranges")
    if not isinstance(points, list):
        return False
    if not isinstance(ranges, list):
        return False
    if len(points) != len(ranges):
        return False
    numbers = list(points)
    for value_range in ranges:
        if not isinstance(value_range, list):
            return False
        if len(value_range) != 2:
            return False
        numbers += value_range
    return all(isinstance(number, int | float) for number in numbers)


def _is_above(low: Any, high: Any) -> bool:
    if None in (low, high):
        return False
    try:
        return bool(low > high)
    except TypeError:
        # A date and a number, say: what that means is up to Great Expectations.
        return False


def _unusable_condition(check: Check, arguments: Mapping[str, Any], spec: Spec) -> Iterator[str]:
    """Yield what is wrong with a row condition, and an argument that says how to read it: there is one way."""
    if "condition_parser" in arguments:
        yield "condition_parser: leave it out"
    condition = arguments.get("row_condition")
    if condition is None:
        return
    if check.expect == "column_pair_values_to_be_in_set":
        yield "row_condition: Great Expectations ignores it here; use unexpected_rows_expectation instead"
    try:
        row_conditions.parse(str(condition), _types(spec))
    except ValueError as error:
        yield f"row_condition: {error}"


def _quoted(value: Any) -> str:
    text = str(value)[:_MAX_LENGTH]
    return repr(text)
