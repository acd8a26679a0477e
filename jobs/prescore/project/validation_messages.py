"""Messages for the errors of a TOML file: one line for each error, with its key and the value in the file."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_MESSAGES = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text, in quotes",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be in lower case, with underscores between words",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "too_short": "must have at least one entry",
}
"""pydantic's type of an error → the message for it."""
_PYDANTIC_PARTS = ("str", "list[", "constrained-", "[key]")
"""Beginnings of the parts of a location that pydantic adds for unions and for the keys of a mapping."""


def lines(error: ValidationError, model: type[BaseModel], page: str) -> list[str]:
    """Return an indented line for each error that belongs to a key of the file.

    `page` is the path of the reference page that lists the keys.
    """
    return [f"  {_key(fault)}: {_message(fault, model, page)}" for fault in error.errors() if fault["loc"]]


def _key(fault: Any) -> str:
    parts = [str(part) for part in fault["loc"]]
    return ".".join(part for part in parts if not part.startswith(_PYDANTIC_PARTS))


def _message(fault: Any, model: type[BaseModel], page: str) -> str:
    kind = fault["type"]
    if kind == "extra_forbidden":
        return _unknown_key_message(fault, model, page)
    message = _MESSAGES.get(kind)
    if message is None:
        message = str(fault["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    if kind == "missing" or isinstance(fault["input"], dict):
        return message
    value = str(fault["input"])[:60]
    return f"{message} (given: {value!r})"


def _unknown_key_message(fault: Any, model: type[BaseModel], page: str) -> str:
    *path, key = fault["loc"]
    similar = get_close_matches(str(key), _known_keys(model, path), n=1)
    suggestion = f"did you mean {similar[0]}? " if similar else ""
    return f"unknown key; {suggestion}{page} lists all keys"


def _known_keys(model: type[BaseModel], path: list[int | str]) -> list[str]:
    """Return the keys of the section at a path. Parts that the author chose, such as column names, are skipped."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(_models(field.annotation), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type annotation, such as Output in `dict[str, Output]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
