"""Render answers as JSON.

Integers are exact, also beyond 2^53. Floats are the shortest text that parses back to the column's own value. Times are
ISO 8601; those with a time zone are in UTC. NaN and infinity have no JSON number: a passthrough column renders them as
null, and outputs never contain them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from prescore.catalog.version_row import Row
from prescore_api.formats.json_template import column_json, literal, object_template
from prescore_api.service.answers import Age, Answers, MixedAnswers, Tombstone
from prescore_api.service.row_pages import Page
from prescore_api.tables.version import OutputSelection, TableVersion

_FOUND = b',"found":true,"prediction":'
_NOT_FOUND = b',"found":false,"prediction":null'
_END_FRESH = b',"stale":false}'
_END_STALE = b',"stale":true}'


def render_one(
    version: TableVersion,
    age: Age,
    key: dict[str, Any],
    row: Row,
    selection: OutputSelection,
    tombstone: Tombstone | None = None,
) -> bytes:
    """Return the answer to one key, which maps column names to values."""
    head = version.json_head
    key_json = orjson.dumps(key)
    end = _end(version, age)
    is_found = row[1]
    if not is_found:
        return b"".join((head, key_json, _NOT_FOUND, _tombstone(tombstone), end))
    values = zip(selection.names, selection.positions, strict=True)
    prediction = {name: row[2 + position] for name, position in values}
    prediction_json = orjson.dumps(prediction)
    return b"".join((head, key_json, _FOUND, prediction_json, end))


def render(answers: Answers | MixedAnswers) -> bytes:
    """Return `{"answers": […]}` with one answer for each key, in the order of the request."""
    if isinstance(answers, MixedAnswers):
        published, canary = iter(_rendered(answers.published)), iter(_rendered(answers.canary))
        rendered = [next(canary if is_canary else published) for is_canary in answers.is_canary]
    else:
        rendered = _rendered(answers)
    return b'{"answers":[%b]}' % b",".join(rendered)


def _rendered(answers: Answers) -> list[bytes]:
    """Return each answer.

    What all answers share is rendered once, into a bytes template with a `%b` for each value. Filling it in is several
    times faster than serializing a dictionary for each row.
    """
    version = answers.table_version
    head = literal(version.json_head)
    head += object_template(version.key_names)
    end = _end(version, answers.age)
    found_template = head + _FOUND + object_template(answers.selection.names) + literal(end)
    missing_template = head + _NOT_FOUND + literal(end)

    outputs = answers.outputs.to_lists(answers.selection.positions)
    columns = [column_json(column) for column in (*answers.keys, *outputs)]
    key_width = len(version.key)
    rendered = []
    for found, values in zip(answers.found, zip(*columns, strict=True), strict=True):
        if found:
            rendered.append(found_template % values)
        else:
            rendered.append(missing_template % values[:key_width])
    for position, tombstone in answers.tombstones.items():
        key = head % tuple(column[position] for column in columns[:key_width])
        rendered[position] = b"".join((key, _NOT_FOUND, _tombstone(tombstone), end))
    for position, age in answers.kept_ages.items():
        rendered[position] = rendered[position].removesuffix(end) + _end(version, age)
    return rendered


def render_lines(page: Page) -> bytes:
    """Return a page of rows as JSON lines: `{"key": {…}, "prediction": {…}}` for each row.

    A kept row has its own `data_as_of`, `age_seconds` and `stale` besides; those of all others are in the headers.
    """
    key_template = object_template(page.table_version.key_names)
    prediction_template = object_template(page.selection.names)
    template = b'{"key":' + key_template + b',"prediction":' + prediction_template + b"}\n"
    columns = [column_json(column) for column in (*page.keys, *page.selected())]
    rows = zip(*columns, strict=True)
    lines = [template % values for values in rows]
    for position, age in page.kept_ages.items():
        unended = lines[position].removesuffix(b"}\n")
        lines[position] = unended + _own_times(page.table_version, age)
    return b"".join(lines)


def _own_times(version: TableVersion, age: Age) -> bytes:
    members = {
        "data_as_of": age.data_as_of(version),
        "age_seconds": round(age.seconds, 3),
        "stale": age.stale,
    }
    return b"," + orjson.dumps(members)[1:] + b"\n"


def _tombstone(tombstone: Tombstone | None) -> bytes:
    """Return the members of an answer that say which version had the key last."""
    if tombstone is None:
        return b""
    members = {
        "last_version": tombstone.version,
        "last_data_as_of": datetime.fromtimestamp(tombstone.data_as_of, UTC),
    }
    return b"," + orjson.dumps(members)[1:-1]


def _end(version: TableVersion, age: Age) -> bytes:
    """Return the end of an answer: its times, its age, and whether it is stale."""
    stale = _END_STALE if age.stale else _END_FRESH
    kept = age.kept_data_as_of
    times = version.json_times if kept is None else version.json_times_of(kept)
    return b"%b%.3f%b" % (times, age.seconds, stale)
