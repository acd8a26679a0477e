"""The endpoints under /v1/predictions: one key by path or by column name, and many keys at once."""

from __future__ import annotations

from typing import Any

import orjson

from prescore.catalog import keys
from prescore.errors import KeyInvalid, RequestInvalid, TooLarge
from prescore_api.formats import arrow, arrow_validation, json
from prescore_api.http import caching
from prescore_api.http.request import Request
from prescore_api.http.response import JSON, Header, Response
from prescore_api.service.answers import Answer, Answers, FetchedOutputs
from prescore_api.service.lookup import MAX_KEYS, KeyColumns, ParseKeys
from prescore_api.service.options import DEFAULTS, LookupOptions, refuse_unknown
from prescore_api.tables.version import OutputSelection, TableVersion

_ARROW: Header = (b"content-type", arrow.MEDIA_TYPE)
_VARY: Header = (b"vary", b"Accept, Authorization")
_NO_STORE: Header = (b"cache-control", b"no-store")
_JSON_TYPES = (b"application/json", b"application/*", b"*/*")


async def predict(request: Request) -> Response:
    """Look up a key of one column, given in the path."""
    model, value = request.path_values
    _authorize(request, model)
    if request.query:
        options, others = LookupOptions.parse(request.parameters())
        refuse_unknown(others)
    else:
        request.require_utf8()
        options = DEFAULTS

    def parse(version: TableVersion) -> KeyColumns:
        return _key_columns(version, {_only_column(version): value})

    return await _one(request, model, parse, options)


async def predict_by_name(request: Request) -> Response:
    """Look up a key given by column name in the query string."""
    (model,) = request.path_values
    _authorize(request, model)
    options, key = LookupOptions.parse(request.parameters())
    return await _one(request, model, lambda version: _key_columns(version, key), options)


async def predict_many(request: Request) -> Response:
    """Look up the keys in the body, all in one version."""
    (model,) = request.path_values
    _authorize(request, model)
    options, others = LookupOptions.parse(request.parameters())
    refuse_unknown(others)
    parse = _parse_body(request, await request.body())
    answers = await request.service.lookup.many(model, parse, options)
    request.version = answers.table_version.version
    request.found = answers.found.count(True)
    if _prefers_arrow(request):
        return Response(200, arrow.render(answers), [_ARROW, _VARY, _NO_STORE])
    return Response(200, json.render(answers), [JSON, _VARY, _NO_STORE])


async def _one(request: Request, model: str, parse: ParseKeys, options: LookupOptions) -> Response:
    answer = await request.service.lookup.one(model, parse, options)
    version, is_found = answer.table_version, answer.is_found
    request.version = version.version
    request.keys = 1
    request.found = int(is_found)
    form = b"arrow" if _prefers_arrow(request) else b"json"
    tag = caching.etag(version, answer.age, options, form)
    cache_control = caching.cache_control(version, answer.age, options)
    headers = [_VARY, (b"etag", tag), (b"cache-control", cache_control)]
    if is_found and caching.matches(request.headers.get(b"if-none-match"), tag):
        return Response(304, b"", headers)
    status = 200 if is_found else 404
    selection = version.select_outputs(options.outputs)
    if form == b"json":
        return Response(status, _json(answer, selection), [JSON, *headers])
    return Response(status, _arrow(answer, selection), [_ARROW, *headers])


def _json(answer: Answer, selection: OutputSelection) -> bytes:
    version = answer.table_version
    key = {column["name"]: value for column, (value,) in zip(version.key, answer.key, strict=True)}
    return json.render_one(version, answer.age, key, answer.row, selection)


def _arrow(answer: Answer, selection: OutputSelection) -> bytes:
    version = answer.table_version
    values = answer.row[2:] or [None] * len(version.outputs)
    answers = Answers(
        table_version=version,
        age=answer.age,
        keys=answer.key,
        found=[answer.is_found],
        outputs=FetchedOutputs([[value] for value in values]),
        selection=selection,
    )
    return arrow.render(answers)


def _authorize(request: Request, model: str) -> None:
    """Raise Forbidden unless the caller may read the model, before anything else depends on whether it exists."""
    request.caller.require(model)
    request.model = model


def _key_columns(version: TableVersion, key: dict[str, str]) -> KeyColumns:
    return [[value] for value in keys.parse(version.key, key).values()]


def _only_column(version: TableVersion) -> str:
    if len(version.key) > 1:
        form = "&".join(f"{column['name']}=…" for column in version.key)
        raise KeyInvalid(
            f"The key of {version.model} has {len(version.key)} columns. Use GET /v1/predictions/{version.model}?{form}"
        )
    return version.key[0]["name"]


def _parse_body(request: Request, body: bytes) -> ParseKeys:
    """Read the keys of a bulk request, JSON or Arrow, and return how to parse them; raises RequestInvalid, TooLarge."""
    if request.headers.get(b"content-type", b"").lower().startswith(arrow.MEDIA_TYPE):
        table = arrow_validation.read_table(body)
        _count_keys(request, table.num_rows)
        return lambda version: arrow.parse(version, table)
    keys_by_name = _json_keys(body)
    _count_keys(request, len(keys_by_name))
    return lambda version: keys.parse_many(version.key, keys_by_name)


def _count_keys(request: Request, count: int) -> None:
    request.keys = count
    if count > MAX_KEYS:
        raise TooLarge(f"The request has {count} keys; the limit is {MAX_KEYS} per request. Send several requests.")


def _json_keys(body: bytes) -> list[Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestInvalid(f"The body is not valid JSON: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("keys"), list):
        raise RequestInvalid('The body must be {"keys": [{column: value, …}, …]}.')
    if unknown := sorted(set(content) - {"keys"}):
        raise RequestInvalid(f"Unknown in the body: {', '.join(unknown)}. It takes keys.")
    return list(content["keys"])


def _prefers_arrow(request: Request) -> bool:
    """Return whether Accept names Arrow and prefers it to JSON (RFC 9110, 12.5.1)."""
    accept = request.headers.get(b"accept")
    if accept is None or arrow.MEDIA_TYPE not in (accept := accept.lower()):
        return False
    weights = dict(_weight(media_range) for media_range in accept.split(b","))
    arrow_weight = weights.get(arrow.MEDIA_TYPE, 0.0)
    json_weight = max(weights.get(media_type, 0.0) for media_type in _JSON_TYPES)
    return arrow_weight > 0 and arrow_weight >= json_weight


def _weight(media_range: bytes) -> tuple[bytes, float]:
    media_type, *parameters = (part.strip() for part in media_range.split(b";"))
    weights = [parameter[2:] for parameter in parameters if parameter.startswith(b"q=")]
    try:
        return media_type, float(weights[0]) if weights else 1.0
    except ValueError:
        return media_type, 0.0
