"""The body of a bulk request: its keys in JSON or Arrow."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import chain
from typing import Any

from prescore.catalog import keys
from prescore.errors import TooLarge, UnsupportedMediaType
from prescore_api.formats import arrow, arrow_validation, json_body
from prescore_api.http import media_types
from prescore_api.http.request import Request
from prescore_api.service.lookup import MAX_KEYS, ParseKeys

# Many clients do not name the type of the JSON that they send. The second one is curl's default.
_SENT_AS_JSON = (media_types.JSON, b"application/x-www-form-urlencoded", b"text/plain", b"")
_CHARSET = re.compile(rb"charset\s*=\s*\"?([^\s;\"]*)")
_UTF8 = (b"utf-8", b"utf8", b"us-ascii")


def parse(request: Request, body: bytes) -> ParseKeys:
    """Read the keys of a bulk request, JSON or Arrow, and return how to parse them; raises RequestInvalid, TooLarge."""
    if content_type(request) == arrow.MEDIA_TYPE:
        table = arrow_validation.read_table(body)
        _count_keys(request, table.num_rows)
        return lambda version: arrow.parse(version.key, table)
    keys_by_name = _json_keys(body)
    _count_keys(request, len(keys_by_name))
    return lambda version: keys.parse_many(version.key, keys_by_name)


def _count_keys(request: Request, count: int) -> None:
    request.keys = count
    if count > MAX_KEYS:
        raise TooLarge(f"The request has {count:,} keys; the limit is {MAX_KEYS:,} per request. Send several requests.")


def content_type(request: Request) -> bytes:
    """Return the type of the body, JSON or Arrow; raise UnsupportedMediaType."""
    header = request.headers.get(b"content-type", media_types.JSON).lower()
    name, _, parameters = header.partition(b";")
    name = name.strip()
    if name == arrow.MEDIA_TYPE:
        return name
    charset = _CHARSET.search(parameters)
    is_utf8 = charset is None or charset[1] in _UTF8
    if is_utf8 and (name in _SENT_AS_JSON or name.endswith(b"+json")):
        return media_types.JSON
    raise UnsupportedMediaType(
        f"The Content-Type of the body is {header.decode(errors='replace')[:100]!r}. Send application/json in "
        f"UTF-8, or {arrow.MEDIA_TYPE.decode()}."
    )


def _json_keys(body: bytes) -> list[Any]:
    keys_by_name = json_body.parse_list(body, "keys", '{"keys": [{column: value, …}, …]}')
    _require_unique_names(body, keys_by_name)
    return keys_by_name


def _require_unique_names(body: bytes, objects: list[Any]) -> None:
    """Raise RequestInvalid for a name that an object has twice: the parser has kept one of its values.

    Each name is followed by a colon, so that there are at least as many colons as names. The parser has kept all of
    them if the numbers are equal. They differ if a value contains a colon, and only then is the body parsed again.
    """
    with suppress(TypeError):
        kept = 1 + sum(map(len, objects))
        if body.count(b":") == kept or _count_names(body, objects) == kept:
            return
    json_body.require_unique_names(body)


def _count_names(body: bytes, objects: list[Any]) -> int | None:
    """Return how many names there are in a body, by its quotes; None if some of them may be escaped, or are nested."""
    values = list(chain.from_iterable(map(dict.values, objects)))
    types = list(map(type, values))
    if b"\\" in body or dict in types or list in types:
        return None
    return body.count(b'"') // 2 - types.count(str)
