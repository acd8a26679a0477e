"""Whether the sections of a spec agree with each other.

Asked of plain TOML too, which need not be of the right types: so all that is wrong can be told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_PAIRS = (("key", "outputs"), ("key", "passthrough"), ("outputs", "passthrough"))


def errors(content: Mapping[str, Any]) -> list[str]:
    """What does not agree, each by its key."""
    tables = {name: _names(content.get(name)) for name in ("key", "outputs", "passthrough")}
    wrong = [f"{n} is both under [{a}] and under [{b}]" for a, b in _PAIRS for n in sorted(tables[a] & tables[b])]
    known = set().union(*tables.values())
    wrong += [f"comments.{n}: no such column" for n in sorted(_names(content.get("comments")) - known)]
    indexed = [name for index in _listed(content.get("indexes")) for name in _texts(index)]
    wrong += [f"indexes: no column {n}" for n in indexed if n not in known]
    wrong += [f"{key}: holds a NUL character, which no text in Postgres can" for key in _with_nul(content)]
    onnx = content.get("onnx")
    return wrong + list(_strangers(onnx if isinstance(onnx, Mapping) else {}))


def _strangers(onnx: Mapping[str, Any]) -> Iterator[str]:
    inputs = onnx.get("inputs")
    fed = inputs.values() if isinstance(inputs, Mapping) else ()
    features = list(dict.fromkeys(name for columns in fed for name in _texts(columns)))
    for key in ("allow_precision_loss", "nullable"):
        for name in sorted(set(_texts(onnx.get(key))) - set(features)):
            yield f"onnx.{key}: {name} is not a feature; features are {', '.join(features)}"


def _with_nul(value: object, key: str = "") -> Iterator[str]:
    """The keys of texts that hold a NUL."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(_listed(value))
    for part, below in inner:
        yield from _with_nul(below, f"{key}.{part}".lstrip("."))
    if isinstance(value, str) and "\x00" in value:
        yield key


def _names(table: object) -> set[str]:
    return {str(name) for name in table} if isinstance(table, Mapping) else set()


def _listed(value: object) -> Iterable[Any]:
    return value if isinstance(value, list | tuple | set | frozenset) else ()


def _texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [name for name in _listed(value) if isinstance(name, str)]
