"""Render a page of rows as CSV (RFC 4180), in UTF-8, with a header.

Values are spelled as in JSON. A missing value is empty. Text is always in quotes, so that empty text differs from a
missing value. Arrays are JSON in quotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from prescore_api.service.row_pages import Page

MEDIA_TYPE = b"text/csv"
_END = b"\r\n"


def render(page: Page) -> bytes:
    """Return a page with its key columns and its outputs, in this order, and `data_as_of` if the version keeps rows."""
    version = page.table_version
    names = [*version.key_names, *page.selection.names]
    values = [*page.keys, *page.selected()]
    if version.kept_position is not None:
        names.append("data_as_of")
        ages = [page.kept_ages.get(position, page.age) for position in range(len(page.keys[0]))]
        values.append([age.data_as_of(version) for age in ages])
    header = b",".join(_quote(name.encode()) for name in names)
    columns = [_cells(column) for column in values]
    rows = zip(*columns, strict=True)
    lines = [header, *map(b",".join, rows)]
    return _END.join(lines) + _END


def _cells(values: Sequence[Any]) -> list[bytes]:
    return [_cell(value) for value in values]


def _cell(value: Any) -> bytes:
    if isinstance(value, str):
        return _quote(value.encode())
    json = orjson.dumps(value)
    if json == b"null":
        return b""
    if isinstance(value, list):
        return _quote(json)
    # Times and UUIDs.
    return json.strip(b'"')


def _quote(text: bytes) -> bytes:
    return b'"%b"' % text.replace(b'"', b'""')
