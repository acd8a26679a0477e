"""Render the answers to a request for scores as JSON: from the table, or live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from prescore_api.formats.json_template import column_json, literal, object_template
from prescore_api.service.answers import Age, Answers
from prescore_api.service.live import Rejection, Source
from prescore_api.tables.version import TableVersion

_ACCEPTED = b',"rejected":null'
_REJECTED = b',"prediction":null,"rejected":'
_NO_KEY = b"null"
UNKNOWN_KEY = "The table does not have this key, and the row has no features to score."


class ScoreFrame(NamedTuple):
    """What the answers from a version have in common: how they begin, and when the version was published, as JSON."""

    head: bytes
    published_at: bytes

    @classmethod
    def of_version(cls, version: TableVersion, source: Source) -> ScoreFrame:
        """Return the frame of the answers from a version."""
        head = orjson.dumps({"model": version.model, "version": version.version, "source": source})
        return cls(head[:-1] + b',"key":', orjson.dumps(version.row["published_at"]))

    def end(self, data_as_of: float, age: Age) -> bytes:
        """Return how an answer ends; `data_as_of` is in seconds since 1970."""
        as_of = orjson.dumps(datetime.fromtimestamp(data_as_of, UTC))
        stale = b"true" if age.stale else b"false"
        parts = (as_of, self.published_at, orjson.dumps(round(age.seconds, 3)), stale)
        return b',"data_as_of":%b,"published_at":%b,"age_seconds":%b,"stale":%b}' % parts


class LiveRows(NamedTuple):
    """Rows that were scored: their keys and predictions as JSON, the latter by output, and their rejections by place.

    `scored_at` is in seconds since 1970.
    """

    keys: Sequence[bytes]
    predictions: Mapping[str, Sequence[bytes]]
    rejections: Mapping[int, Rejection]
    scored_at: Sequence[float]


def render_live(frame: ScoreFrame, rows: LiveRows, now: float) -> list[bytes]:
    """Return the answers to rows that were scored; `now` is in seconds since 1970."""
    end_at = {}
    for scored_at in set(rows.scored_at):
        age = Age(max(now - scored_at, 0.0), stale=False)
        end_at[scored_at] = frame.end(scored_at, age)
    ends = [end_at[scored_at] for scored_at in rows.scored_at]
    prediction = object_template(list(rows.predictions))
    template = literal(frame.head) + b'%b,"prediction":' + prediction + _ACCEPTED + b"%b"
    parts = zip(rows.keys, *rows.predictions.values(), ends, strict=True)
    rendered = [template % values for values in parts]
    for place, rejection in rows.rejections.items():
        rendered[place] = _rejected(frame, rows.keys[place], rejection, ends[place])
    return rendered


def render_found(answers: Answers) -> list[bytes | None]:
    """Return the answers to keys in the table, None for those that it does not have."""
    version = answers.table_version
    frame = ScoreFrame.of_version(version, "table")
    key = object_template(version.key_names)
    prediction = object_template(answers.selection.names)
    end = _ACCEPTED + frame.end(version.data_as_of, answers.age)
    template = literal(frame.head) + key + b',"prediction":' + prediction + literal(end)
    outputs = answers.outputs.to_lists(answers.selection.positions)
    columns = [column_json(column) for column in (*answers.keys, *outputs)]
    rows = zip(*columns, strict=True)
    rendered = [template % values if found else None for found, values in zip(answers.found, rows, strict=True)]
    for position, age in answers.kept_ages.items():
        data_as_of = age.data_as_of(version).timestamp()
        own_end = _ACCEPTED + frame.end(data_as_of, age)
        shared = rendered[position] or b""
        rendered[position] = shared.removesuffix(end) + own_end
    return rendered


def render_unanswered(
    version: TableVersion, keys: Sequence[Sequence[Any]], ages: Sequence[Age], reasons: Sequence[str]
) -> list[bytes]:
    """Return the answers to keys that the table does not answer, for rows without features."""
    frame = ScoreFrame.of_version(version, "table")
    end_at = {age: frame.end(age.data_as_of(version).timestamp(), age) for age in set(ages)}
    rendered = render_keys(version.key_names, keys)
    parts = zip(rendered, reasons, ages, strict=True)
    return [_rejected(frame, key, Rejection(None, reason), end_at[age]) for key, reason, age in parts]


def render_keys(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[bytes]:
    """Return keys, given by column, as JSON."""
    template = object_template(names)
    parts = [column_json(column) for column in columns]
    return [template % values for values in zip(*parts, strict=True)]


def no_keys(rows: int) -> list[bytes]:
    """Return what stands for the keys of rows without one."""
    return [_NO_KEY] * rows


def join(rendered: Iterable[bytes]) -> bytes:
    """Return the answers to a request."""
    return b'{"answers":[%b]}' % b",".join(rendered)


def _rejected(frame: ScoreFrame, key: bytes, rejection: Rejection, end: bytes) -> bytes:
    reason = orjson.dumps(rejection._asdict())
    return frame.head + key + _REJECTED + reason + end
