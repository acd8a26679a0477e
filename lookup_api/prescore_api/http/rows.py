"""The endpoint that reads all rows of a version, in pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

from prescore.errors import RequestInvalid
from prescore_api.formats import arrow, csv, json
from prescore_api.http import media_types
from prescore_api.http.request import Request
from prescore_api.http.response import NO_STORE, VARY, Header, Response
from prescore_api.service.options import LookupOptions, refuse_unknown
from prescore_api.service.row_pages import Cursor, Page

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 1_000
JSON_LINES = b"application/x-ndjson"

_FORMATS: dict[bytes, Callable[[Page], bytes]] = {
    JSON_LINES: json.render_lines,
    csv.MEDIA_TYPE: csv.render,
    arrow.MEDIA_TYPE: arrow.render_page,
}
_CONTENT_TYPES = {csv.MEDIA_TYPE: b"text/csv; charset=utf-8; header=present"}
_OFFERED = tuple(_FORMATS)
_LIMIT = re.compile(r"[1-9][0-9]{0,4}")


async def read_rows(request: Request) -> Response:
    """Return a page of a version's rows, and where the next one begins."""
    (model,) = request.path_values
    request.model = model
    request.caller.require(model)
    options, others = LookupOptions.parse(request.parameters())
    limit = _limit(others.pop("limit", str(DEFAULT_LIMIT)))
    after = others.pop("after", None)
    refuse_unknown(others, "limit", "after")
    media_type = media_types.choose(request.headers.get(b"accept"), _OFFERED)
    cursor = None if after is None else Cursor.parse(after)
    page = await request.service.rows.page(model, options, cursor, limit)
    request.version = page.table_version.version
    content_type: Header = (b"content-type", _CONTENT_TYPES.get(media_type, media_type))
    headers = [content_type, VARY, NO_STORE, *_version_headers(page), *_link(page, options, limit)]
    return Response(200, _FORMATS[media_type](page), headers)


def _limit(text: str) -> int:
    if not _LIMIT.fullmatch(text) or int(text) > MAX_LIMIT:
        raise RequestInvalid(f"limit takes a number of rows from 1 to {MAX_LIMIT:,}, not {text[:60]!r}.")
    return int(text)


def _version_headers(page: Page) -> list[Header]:
    """Return what an answer to one key says about its version: not every format has a place for it."""
    row = page.table_version.row
    published_at = row["published_at"]
    values = {
        b"prescore-version": str(row["version"]),
        b"prescore-rows": str(row["rows"]),
        b"prescore-data-as-of": row["data_as_of"].isoformat(),
        b"prescore-published-at": published_at.isoformat() if published_at else "",
        b"prescore-age-seconds": f"{page.age.seconds:.3f}",
        b"prescore-stale": "true" if page.age.stale else "false",
    }
    return [(name, value.encode()) for name, value in values.items()]


def _link(page: Page, options: LookupOptions, limit: int) -> list[Header]:
    """Return the link to the next page (RFC 8288), relative to this one, because a proxy may have changed the path."""
    if page.next is None:
        return []
    parameters: list[tuple[str, str]] = []
    if options.version is not None:
        parameters.append(("version", str(options.version)))
    if options.max_age is not None:
        parameters.append(("max_age", f"{options.max_age:.9f}".rstrip("0").rstrip(".")))
    parameters += [("output", name) for name in options.outputs]
    parameters += [("limit", str(limit)), ("after", page.next.serialize())]
    return [(b"link", f'<rows?{urlencode(parameters)}>; rel="next"'.encode())]
