"""Render answers as JSON.

Integers are exact, also beyond 2^53. Floats are the shortest text that parses back to the column's own value. Times are
ISO 8601; those with a time zone are in UTC. NaN and infinity have no JSON number: a passthrough column renders them as
null, and outputs never contain them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from prescore.catalog.lookup import Row
from prescore_api.service.answers import Age, Answers
from prescore_api.tables.version import OutputSelection, TableVersion

_FOUND = b',"found":true,"prediction":'
_NOT_FOUND = b',"found":false,"prediction":null'
_END_FRESH = b',"stale":false}'
_END_STALE = b',"stale":true}'
_NUMBERS = {int, float, type(None)}


def render_one(version: TableVersion, age: Age, key: dict[str, Any], row: Row, selection: OutputSelection) -> bytes:
    """Return the answer to one key, which maps column names to values."""
    key_json = orjson.dumps(key)
    if not row[1]:
        return b"".join((version.json_head, key_json, _NOT_FOUND, _end(version, age)))
    prediction = orjson.dumps({name: row[2 + position] for position, name in selection})
    return b"".join((version.json_head, key_json, _FOUND, prediction, _end(version, age)))


def render(answers: Answers) -> bytes:
    """Return `{"answers": […]}` with one answer a key, in the order of the request.

    What all answers share is rendered once, into a bytes template that has a `%b` for each value. Filling it in is
    several times faster than serializing a dictionary a row.
    """
    version = answers.table_version
    key_names = [column["name"] for column in version.key]
    output_names = [name for _, name in answers.selection]
    head = _literal(version.json_head) + _object_template(key_names)
    end = _literal(_end(version, answers.age))
    found_template = head + _FOUND + _object_template(output_names) + end
    missing_template = head + _NOT_FOUND + end

    outputs = answers.outputs.to_lists([position for position, _ in answers.selection])
    columns = [_column_json(column) for column in (*answers.keys, *outputs)]
    key_width = len(key_names)
    rendered = []
    for found, values in zip(answers.found, zip(*columns, strict=True), strict=True):
        if found:
            rendered.append(found_template % values)
        else:
            rendered.append(missing_template % values[:key_width])
    return b'{"answers":[%b]}' % b",".join(rendered)


def _end(version: TableVersion, age: Age) -> bytes:
    """Return how every answer ends: the version's times and its age."""
    return b"%b%.3f%b" % (version.json_times, age.seconds, _END_STALE if age.stale else _END_FRESH)


def _column_json(values: Sequence[Any]) -> list[bytes]:
    """Return each value as JSON. Numbers contain no comma, so a column of them is serialized at once and split."""
    if not values:
        return []
    if set(map(type, values)) <= _NUMBERS:
        return orjson.dumps(values)[1:-1].split(b",")
    return list(map(orjson.dumps, values))


def _object_template(names: Sequence[str]) -> bytes:
    """Return a template of a JSON object with these names and a `%b` for each value."""
    members = [_literal(orjson.dumps(name)) + b":%b" for name in names]
    return b"{%b}" % b",".join(members)


def _literal(text: bytes) -> bytes:
    """Escape text for a bytes template."""
    return text.replace(b"%", b"%%")
