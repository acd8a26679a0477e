"""The JSON body of a request: an object with one list, in which no object has a name twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from prescore import wording
from prescore.errors import RequestInvalid

_OPTIONS = {"version": "version=7", "max_age": "max_age=3600", "output": "output=NAME", "outputs": "output=NAME"}


def parse_list(body: bytes, name: str, form: str, **parameters: str) -> list[Any]:
    """Return the list in a body that is an object with nothing else; raise RequestInvalid, which shows the `form`.

    `parameters` are those that the URL takes besides lookup options: the message for one in the body shows them.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestInvalid(f"The body is not valid JSON: {_fault(body, error)}.") from error
    if not isinstance(content, dict) or not isinstance(content.get(name), list):
        raise RequestInvalid(f"The body must be {form}.")
    if unknown := sorted(set(content) - {name}):
        raise RequestInvalid(
            f"Unknown in the body: {wording.names(unknown)}. It takes {name}.{_advice(unknown, _OPTIONS | parameters)}"
        )
    values: list[Any] = content[name]
    return values


def require_unique_names(body: bytes) -> None:
    """Raise RequestInvalid for a name that an object of a body has twice, which takes parsing it again."""
    try:
        json.loads(body, object_pairs_hook=_unique)
    except (RecursionError, ValueError) as error:
        raise RequestInvalid("The body is nested too deeply, or contains a number of thousands of digits.") from error


def _advice(unknown: Sequence[str], parameters: Mapping[str, str]) -> str:
    """Return where the names among some unknown ones belong that are parameters of the URL."""
    examples = dict.fromkeys(parameters[name] for name in unknown if name in parameters)
    return f" Parameters belong in the URL: ?{'&'.join(examples)}." if examples else ""


def _fault(body: bytes, error: orjson.JSONDecodeError) -> str:
    """Return what is wrong with a body that is not JSON, where the parser would say it in its own terms."""
    if not body:
        return "it is empty"
    try:
        body.decode()
    except UnicodeDecodeError as undecodable:
        return f"it is not UTF-8 at byte {undecodable.start:,}"
    return str(error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = [name for name, count in counts.items() if count > 1]
        raise RequestInvalid(f"An object of the body has a name more than once: {wording.names(repeated)}.")
    return names
