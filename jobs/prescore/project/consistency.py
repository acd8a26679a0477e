"""Rules that span several sections of a spec.

They work on plain TOML, whose values can be of any type, so that the errors of all sections are reported together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prescore.catalog.types import ARRAYS, FLOATS, NUMBERS, OUTPUT_TYPES, TYPES
from prescore.project.fields import BY_NAME
from prescore.project.limits import OF_ELEMENTS, OF_NUMBERS
from prescore.wording import guess

# Postgres' limit for a view is 1,600 columns, and three are version, data_as_of and published_at.
_MOST_COLUMNS = 1_597
# A row must fit into a page of 8 kB, beside the headers of both and the column `version`.
_LARGEST_ROW = 8_132
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
        *_example_faults(content),
        *_comparison_faults(content),
        *_too_many_columns(columns),
        *_too_wide_row(content),
        *_selections_without_model(content),
        *_sources_of_two_types(content),
        *_live_faults(content),
    ]


def selection_fault(type_name: str, index: object, label: object, columns: object) -> str | None:
    """Return why an output of this type cannot select columns of the model's output in this way, or None if it can."""
    if index is not None and label is not None:
        return "must have either index or class, and not both"
    if type_name in ARRAYS and index is not None:
        return f"{type_name} takes columns instead of index; use columns = [{index}], or a type that is not an array"
    if type_name in ARRAYS and label is not None:
        listed = json.dumps([label], ensure_ascii=False) if isinstance(label, str) else "[…] with the classes' numbers"
        return f"{type_name} takes columns instead of class; use columns = {listed}, or a type that is not an array"
    if type_name not in ARRAYS and columns is not None:
        return f"{type_name} holds one column; choose it with index, or use an array type, such as real[]"
    return None


def _duplicate_columns(sections: dict[str, set[str]]) -> Iterator[str]:
    for first, second in _PAIRS:
        for name in sorted(sections[first] & sections[second]):
            yield f"{second}.{name}: [{first}] has a column {name} too; remove one of the two, or rename it"


def _unknown_columns(content: Mapping[str, Any], columns: set[str]) -> Iterator[str]:
    for name in sorted(_keys(content.get("comments")) - columns):
        yield (
            f"comments.{name}: the table has no column {name}{guess(name, columns)}; correct the name, or remove the "
            "comment"
        )
    for index in _items(content.get("indexes")):
        for name in _texts(index):
            if name not in columns:
                similar = guess(name, columns)
                yield f"indexes: the table has no column {name}{similar}; use those of [key], [outputs], [passthrough]"


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
    # The features of inputs = "by name" are those of the model file.
    if not features:
        return
    for key in ("allow_precision_loss", "nullable"):
        for name in sorted(set(_texts(onnx.get(key))) - set(features)):
            listed = ", ".join(features)
            yield f"onnx.{key}: {name} is not a feature{guess(name, features)}; the features are {listed}"


def _features(inputs: object) -> list[str]:
    """Return the feature columns, each once, in the order of the inputs."""
    lists = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    names = (name for columns in lists for name in _texts(columns) if name != BY_NAME)
    return list(dict.fromkeys(names))


def _example_faults(content: Mapping[str, Any]) -> Iterator[str]:
    onnx = content.get("onnx")
    examples = onnx.get("examples") if isinstance(onnx, Mapping) else None
    if not isinstance(examples, Mapping):
        return
    outputs = content.get("outputs")
    known = _keys(outputs)
    for key in ("columns", "tolerance"):
        for name in sorted(_keys(examples.get(key)) - known):
            similar = guess(name, known)
            yield f"onnx.examples.{key}.{name}: there is no output {name}{similar}; use names of [outputs]"
    for name in sorted(_keys(examples.get("tolerance")) & known):
        output = outputs[name] if isinstance(outputs, Mapping) else None
        kind = output.get("type") if isinstance(output, Mapping) else None
        if kind not in OUTPUT_TYPES:
            continue
        element = TYPES[kind].element or kind
        if element not in FLOATS:
            yield f"onnx.examples.tolerance.{name}: {name} is {kind}, which must be exact; remove the tolerance"


def _comparison_faults(content: Mapping[str, Any]) -> Iterator[str]:
    """Limits of columns that the table does not have, and of measures that a column's type does not have."""
    comparison = content.get("comparison")
    limits = comparison.get("columns") if isinstance(comparison, Mapping) else None
    if not isinstance(limits, Mapping):
        return
    types = _column_types(content)
    for name, measures in limits.items():
        if name not in types:
            yield f"comparison.columns.{name}: the table has no column {name}; use those of [outputs] or [passthrough]"
        for measure in _given(measures):
            kind = types.get(name)
            if kind in TYPES and not _is_measured(kind, measure):
                yield f"comparison.columns.{name}.{measure}: {name} is {kind}, which has no such measure; use changed"


def _column_types(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return column → type of the outputs and passthrough columns, as far as they are valid."""
    types: dict[str, Any] = {}
    outputs, passthrough = content.get("outputs"), content.get("passthrough")
    if isinstance(outputs, Mapping):
        types |= {name: output.get("type") for name, output in outputs.items() if isinstance(output, Mapping)}
    if isinstance(passthrough, Mapping):
        types |= passthrough
    return types


def _given(measures: object) -> list[str]:
    """Return the keys of a table that have a value."""
    if not isinstance(measures, Mapping):
        return []
    return [name for name, value in measures.items() if value is not None]


def _is_measured(kind: str, measure: str) -> bool:
    if measure in OF_NUMBERS:
        return kind in NUMBERS
    if measure in OF_ELEMENTS:
        return kind in NUMBERS or TYPES[kind].element in NUMBERS
    return True


def _selections_without_model(content: Mapping[str, Any]) -> Iterator[str]:
    if "onnx" in content and content["onnx"] is not None:
        return
    outputs = content.get("outputs")
    for name, output in outputs.items() if isinstance(outputs, Mapping) else ():
        for key in ("index", "class", "columns"):
            if isinstance(output, Mapping) and output.get(key) is not None:
                yield f"outputs.{name}.{key}: chooses among a model's columns, but the spec has no [onnx] section"


def _sources_of_two_types(content: Mapping[str, Any]) -> Iterator[str]:
    """Without a model, a column of the domain that is needed as two types: it is read as one."""
    if content.get("onnx") is not None:
        return
    types: dict[object, object] = {}
    for section in ("key", "passthrough"):
        table = content.get(section)
        types |= table if isinstance(table, Mapping) else {}
    outputs = content.get("outputs")
    for name, output in outputs.items() if isinstance(outputs, Mapping) else ():
        if not isinstance(output, Mapping):
            continue
        source = output.get("from") or name
        wanted = output.get("type")
        if _in_arrow(types.setdefault(source, wanted)) != _in_arrow(wanted):
            yield (
                f"outputs.{name}: column {source} is needed as {types[source]} and as {wanted}; return it twice in the "
                "domain query, under two names"
            )


def _live_faults(content: Mapping[str, Any]) -> Iterator[str]:
    live, onnx = content.get("live"), content.get("onnx")
    if not isinstance(live, Mapping) or live.get("allowed") is not True:
        return
    if onnx is None:
        yield "live.allowed: the spec has no [onnx] section, so that there is no model to score with"
    elif isinstance(onnx, Mapping) and onnx.get("allow_batch_dependence") is True:
        yield (
            "live.allowed: with onnx.allow_batch_dependence, a score depends on the rows beside it, and live answers "
            "are scored together with whatever else is requested"
        )


def _in_arrow(kind: object) -> object:
    """Return what a type is read as: a vector is an array of its elements."""
    if isinstance(kind, str) and kind in ARRAYS:
        return f"{TYPES[kind].element}[]"
    return kind


def _too_many_columns(columns: set[str]) -> Iterator[str]:
    if len(columns) > _MOST_COLUMNS:
        yield (
            f"outputs: the table would have {len(columns):,} columns, but Postgres allows {_MOST_COLUMNS:,} beside "
            "version, data_as_of and published_at; leave some out"
        )


def _too_wide_row(content: Mapping[str, Any]) -> Iterator[str]:
    outputs = [output for output in _values(content.get("outputs")) if isinstance(output, Mapping)]
    kinds = [output.get("type") for output in outputs]
    kinds += [*_values(content.get("key")), *_values(content.get("passthrough"))]
    size = sum(TYPES[kind].size for kind in kinds if isinstance(kind, str) and kind in TYPES)
    if size > _LARGEST_ROW:
        yield (
            f"outputs: a row of the table would take {size:,} bytes, but Postgres allows {_LARGEST_ROW:,} for columns "
            "of fixed size; use narrower types, such as real, or one array for many outputs"
        )


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


def _values(table: object) -> Iterable[Any]:
    return table.values() if isinstance(table, Mapping) else ()


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
