"""Messages for the errors of a TOML file: one line for each error, with its key and the value in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from prescore.wording import similar_name

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


def lines(
    error: ValidationError,
    model: type[BaseModel],
    content: Mapping[str, Any],
    written: Mapping[str, str] | None = None,
) -> list[str]:
    """Return an indented line for each error that belongs to a key of the file that `model` describes.

    `content` is the content of the file. `written` has how the file writes a value, if it is another text: a reference
    to an environment variable.
    """
    faults = [fault for fault in error.errors() if fault["loc"]]
    return [f"  {_key(fault, content)}: {_message(fault, model, written or {})}" for fault in faults]


def misplacement(key: str, model: type[BaseModel], path: Sequence[int | str]) -> str | None:
    """Return where a key that is not known in the section at `path` belongs, such as `max_age belongs in [freshness]`.

    Returns None for a key that no section has.
    """
    fields = model.model_fields
    if path and key in fields:
        if _section(fields[key]) is not None:
            return f"{key} is a section of its own, [{key}]"
        return f"{key} belongs at the top of the file, before the first [section]"
    for name, field in fields.items():
        section = _section(field)
        if section is not None and key in section.model_fields:
            return f"{key} belongs in [{name}]"
    return None


def _key(fault: Any, content: Mapping[str, Any]) -> str:
    """Return the place of a fault, such as `checks.0.expect (scores are probabilities)`."""
    parts = [str(part) for part in fault["loc"]]
    key = ".".join(part for part in parts if not part.startswith(_PYDANTIC_PARTS))
    match fault["loc"]:
        case ("checks", int(number), *_) if isinstance(check := content["checks"][number], dict) and "name" in check:
            return f"{key} ({check['name']})"
    return key


def _message(fault: Any, model: type[BaseModel], written: Mapping[str, str]) -> str:
    *path, key = fault["loc"]
    kind = fault["type"]
    if kind == "extra_forbidden":
        return f"unknown key; {_alternative(str(key), model, path)}"
    message = _MESSAGES.get(kind)
    if message is None:
        message = str(fault["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    # The entries of a section such as [passthrough] have any names, so a key of the file is taken for one of them.
    if path and key in model.model_fields:
        message += f"; if the key {key} is meant: {misplacement(key, model, path)}"
    if kind == "missing" or isinstance(fault["input"], dict):
        return message
    value = str(fault["input"])
    value = written.get(value, value)[:60]
    return f"{message} (given: {value!r})"


def _alternative(key: str, model: type[BaseModel], path: Sequence[int | str]) -> str:
    if place := misplacement(key, model, path):
        return place
    known = _known_keys(model, path)
    similar = similar_name(key, known)
    if similar:
        return f"did you mean {similar}?"
    return f"the keys here are {', '.join(known)}"


def _known_keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Return the keys of the section at a path. Parts that the author chose, such as column names, are skipped."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(_models(field.annotation), model)
    # The name of the file is the model of a spec.
    return [field.alias or name for name, field in model.model_fields.items() if name != "model"]


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is one section, and not a table or list of them."""
    annotation = field.annotation
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and get_origin(annotation) not in (dict, tuple):
            return kind
    return None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type annotation, such as Output in `dict[str, Output]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
