"""What is wrong with a check, in the words of whoever wrote it, before anything is scored for it.

Great Expectations takes seconds to import, so it is imported here, inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from prescore.catalog.types import NUMBERS
from prescore.project.spec import Check, Spec
from prescore.wording import short

# What every expectation takes, and no check needs.
_NOT_OURS = {"id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content"}
_NOT_OURS |= {"severity", "windows", "batch_id"}
_TAKEN = ("id", "meta")
_QUANTILES = "write { quantiles = [0.1, 0.9], value_ranges = [[0, 0.2], [0.5, 1]] }"
_CONDITION = 'write it as \'col("score") > 0.5\', with condition_parser = "great_expectations"'


def make(check: Check, spec: Spec) -> Any:
    """The expectation that a check asks for; raises ValueError with all that is wrong with it."""
    arguments = check.model_extra or {}
    kind = _kind(check.expect)
    if early := [*_taken(arguments), *_strangers(arguments, spec)]:
        raise ValueError("; ".join(early))
    made = _made(kind, arguments, check.title)
    if late := [*_ill_bounded(arguments, made, spec), *_misshapen(made), *_misput(made, spec)]:
        raise ValueError("; ".join(late))
    return made


def _kind(name: str) -> Any:
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import registry

    try:
        return registry.get_expectation_impl(f"expect_{name}")
    except ExpectationNotFoundError as error:
        known = [k.removeprefix("expect_") for k in registry.list_registered_expectation_implementations()]
        near = get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"Great Expectations has no expect_{name}{meant}") from error


def _made(kind: Any, arguments: Mapping[str, Any], title: str) -> Any:
    from great_expectations.exceptions import GreatExpectationsError

    try:
        return kind(**arguments, meta={"title": title})
    except GreatExpectationsError as error:
        raise ValueError(f"row_condition: {error}; {_CONDITION}") from error
    except ValueError as error:
        raise ValueError("; ".join(_told(error, kind, arguments))) from error


def _told(error: Any, kind: Any, arguments: Mapping[str, Any]) -> Iterator[str]:
    """A fault an argument: for one that could be of several types, pydantic has one for each of them."""
    found = {str(fault["loc"][0]): fault for fault in reversed(error.errors())}
    for name, fault in reversed(found.items()):
        if fault["type"] == "value_error.extra":
            yield f"{name}: no such argument; {_instead(name, kind)}"
        elif fault["type"] == "value_error.missing":
            yield f"{fault['loc'][-1]}: is missing"
        elif name != "__root__":
            yield f"{name}: {fault['msg']} (given: {str(arguments.get(name))[:60]!r})"
        elif len(found) == 1:  # of all arguments together, once each of them is one
            yield str(fault["msg"])


def _instead(name: str, kind: Any) -> str:
    takes = [known for known in kind.__fields__ if known not in _NOT_OURS]
    near = get_close_matches(name, takes, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"it takes {', '.join(takes)}"


def _taken(arguments: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{name} is Great Expectations' own" for name in _TAKEN if name in arguments)
    for name, value in arguments.items():
        if isinstance(value, Mapping) and "$PARAMETER" in value:
            yield f"{name}: there are no parameters here; write the value itself"


def _strangers(arguments: Mapping[str, Any], spec: Spec) -> Iterator[str]:
    listed = arguments.get("column_list")
    named = [
        *(arguments.get(n) for n in ("column", "column_A", "column_B")),
        *(listed if isinstance(listed, list) else []),
    ]
    known = _types(spec)
    yield from (f"the table has no column {name}" for name in named if isinstance(name, str) and name not in known)


def _types(spec: Spec) -> dict[str, str]:
    return {column["name"]: column["type"] for column in (*spec.key_columns, *spec.output_columns)}


def _ill_bounded(arguments: Mapping[str, Any], made: Any, spec: Spec) -> Iterator[str]:
    """Bounds that nothing can meet: Great Expectations only finds that out in the data."""
    column = arguments.get("column")
    kind = _types(spec).get(str(column))
    for name, given in [(n, arguments.get(n)) for n in ("min_value", "max_value")]:
        if kind in NUMBERS and given is not None and not isinstance(given, int | float):
            yield f"{name} is {str(given)[:60]!r}, and {column} is {kind}: write a number, without quotes"
    for low, high in _ranges(made):
        if _above(low, high):
            yield f"its lower bound {short(low)} is above its upper bound {short(high)}, so that nothing can pass"


def _ranges(made: Any) -> Iterator[tuple[Any, Any]]:
    yield getattr(made, "min_value", None), getattr(made, "max_value", None)
    quantiles = getattr(made, "quantile_ranges", None)
    if quantiles is not None and _paired(quantiles):
        yield from quantiles["value_ranges"]


def _misshapen(made: Any) -> Iterator[str]:
    """What Great Expectations takes as it comes, and fails on when it is too late."""
    quantiles = getattr(made, "quantile_ranges", None)
    if quantiles is not None and not _paired(quantiles):
        yield f"quantile_ranges: a lowest and a highest number for each quantile; {_QUANTILES}"


def _paired(quantiles: Mapping[str, Any]) -> bool:
    points, pairs = quantiles.get("quantiles"), quantiles.get("value_ranges")
    if not isinstance(points, list) or not isinstance(pairs, list) or len(points) != len(pairs):
        return False
    ends = [*points, *(end for pair in pairs if isinstance(pair, list) and len(pair) == 2 for end in pair)]
    return len(ends) == 3 * len(points) and all(isinstance(end, int | float) for end in ends)


def _above(low: Any, high: Any) -> bool:
    try:
        return low is not None and high is not None and bool(low > high)
    except TypeError:  # a date and a number, of which Great Expectations makes what it can
        return False


def _misput(made: Any, spec: Spec) -> Iterator[str]:
    """A condition on rows that Postgres would not be asked, or has no column for."""
    from great_expectations.expectations.row_conditions import PassThroughCondition

    condition = getattr(made, "row_condition", None)
    column = getattr(getattr(condition, "column", None), "name", None)
    if isinstance(condition, PassThroughCondition):
        yield f"row_condition: Postgres is not asked in such words; {_CONDITION}"
    elif column is not None and column not in _types(spec):
        yield f"row_condition: the table has no column {column}"
