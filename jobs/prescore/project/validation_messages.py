"""What is wrong with a TOML file, in its author's words: a line a fault, with its key and what was there."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_WORDS = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text, in quotes",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}


def lines(error: ValidationError, model: type[BaseModel], page: str) -> list[str]:
    """One line a fault of a file's keys; `page` is the reference that lists them. Faults of the whole are left out."""
    return [f"  {_place(fault)}: {_words(fault, model, page)}" for fault in error.errors() if fault["loc"]]


def _place(fault: Any) -> str:
    # The branches of a union and the marks of mapping keys say nothing to the author of a TOML file.
    return ".".join(str(p) for p in fault["loc"] if not str(p).startswith(("str", "list[", "constrained-", "[key]")))


def _words(fault: Any, model: type[BaseModel], page: str) -> str:
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(str(fault["loc"][-1]), _keys(model, fault["loc"][:-1]), n=1)
        return f"no such key here; {f'did you mean {near[0]}? T' if near else 't'}he reference lists them ({page})"
    said = _WORDS.get(fault["type"], str(fault["msg"]).removeprefix("Value error, "))
    if fault["type"] == "missing" or isinstance(fault["input"], dict):
        return said
    return f"{said.replace('Input should be', 'must be')} (given: {str(fault['input'])[:60]!r})"


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that a section takes; names of the author's own on the way to it are passed over."""
    for part in path:
        field = model.model_fields.get(str(part))
        model = next(_models(field.annotation), model) if field else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
