"""Rules that span several sections of a spec.

They work on plain TOML, whose values can be of any type, so that the errors of all sections are reported together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prescore.catalog.types import ARRAYS

_COLUMN_SECTIONS = ("key", "outputs", "passthrough")
_PAIRS = (("key", "outputs"), ("key", "passthrough"), ("outputs", "passthrough"))


def errors(content: Mapping[str, Any]) -> list[str]:
    """Return one message for each inconsistency in the content of a spec; each begins with the key that it is about."""
    sections = {name: _keys(content.get(name)) for name in _COLUMN_SECTIONS}
    columns = set().union(*sections.values())
    return [
        *_duplicate_columns(sections),
        *_unknown_columns(content, columns),
        *_indexed_arrays(content),
        *_nul_characters(content),
        *_unknown_features(content.get("onnx")),
    ]


def selection_fault(type_name: str, index: object, columns: object) -> str | None:
    """Return why an output of this type cannot select columns of the model's output in this way, or None if it can."""
    if type_name in ARRAYS and index is not None:
        return f"{type_name} takes columns instead of index; use columns = [{index}], or a type that is not an array"
    if type_name not in ARRAYS and columns is not None:
        return f"{type_name} holds one column; choose it with index, or use an array type, such as real[]"
    return None


def _duplicate_columns(sections: dict[str, set[str]]) -> Iterator[str]:
    for first, second in _PAIRS:
        for name in sorted(sections[first] & sections[second]):
            yield f"{second}.{name}: [{first}] has a column {name} too; remove one of the two, or rename it"


def _unknown_columns(content: Mapping[str, Any], columns: set[str]) -> Iterator[str]:
    for name in sorted(_keys(content.get("comments")) - columns):
        yield f"comments.{name}: the table has no column {name}; correct the name, or remove the comment"
    for index in _items(content.get("indexes")):
        for name in _texts(index):
            if name not in columns:
                yield f"indexes: the table has no column {name}; use columns of [key], [outputs] or [passthrough]"


def _indexed_arrays(content: Mapping[str, Any]) -> Iterator[str]:
    outputs = content.get("outputs")
    if not isinstance(outputs, Mapping):
        return
    for index in _items(content.get("indexes")):
        for name in _texts(index):
            output = outputs.get(name)
            if isinstance(output, Mapping) and output.get("type") in ARRAYS:
                yield f"indexes: {name} is an array, which a secondary index cannot find by its elements; remove it"


def _unknown_features(onnx: object) -> Iterator[str]:
    if not isinstance(onnx, Mapping):
        return
    features = _features(onnx.get("inputs"))
    for key in ("allow_precision_loss", "nullable"):
        for name in sorted(set(_texts(onnx.get(key))) - set(features)):
            yield f"onnx.{key}: {name} is not a feature; the features are {', '.join(features)}"


def _features(inputs: object) -> list[str]:
    """Return the feature columns, each once, in the order of the inputs."""
    if not isinstance(inputs, Mapping):
        return []
    names = (name for columns in inputs.values() for name in _texts(columns))
    return list(dict.fromkeys(names))


def _nul_characters(content: Mapping[str, Any]) -> Iterator[str]:
    for key, text in _flatten(content):
        if "\x00" in text:
            yield f"{key}: contains a NUL character, which Postgres cannot store; remove it"


def _flatten(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in a value, with its key, such as `checks.0.name`."""
    if isinstance(value, str):
        yield key, value
        return
    entries = value.items() if isinstance(value, Mapping) else enumerate(_items(value))
    for part, entry in entries:
        path = f"{key}.{part}" if key else str(part)
        yield from _flatten(entry, path)


def _keys(table: object) -> set[str]:
    if not isinstance(table, Mapping):
        return set()
    return {str(key) for key in table}


def _items(value: object) -> Iterable[Any]:
    """Return a list or set as it is, and nothing for a value of another type."""
    return value if isinstance(value, list | tuple | set | frozenset) else ()


def _texts(value: object) -> list[str]:
    """Return the texts in a list; a text by itself counts as a list of one."""
    if isinstance(value, str):
        return [value]
    return [item for item in _items(value) if isinstance(item, str)]
