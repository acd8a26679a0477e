"""The endpoints under /v1/predictions: what is asked ten thousand times a second goes through no framework."""

from __future__ import annotations

from typing import Any

import orjson

from prescore.catalog import keys, lookup
from prescore.errors import Forbidden, KeyInvalid, RequestInvalid, TooLarge
from prescore_api.formats import arrow, arrow_validation, json
from prescore_api.http import caching, errors
from prescore_api.http.request import Receive, Request
from prescore_api.http.response import JSON, Header, Response
from prescore_api.service.answers import Age, Answers, FetchedOutputs
from prescore_api.service.lookup import MAX_KEYS, Lookup, Parsed
from prescore_api.service.options import ANY, LookupOptions, refuse
from prescore_api.tables.version import TableVersion

PREFIX = "/v1/predictions/"
_ARROW: Header = (b"content-type", arrow.MEDIA_TYPE)
_VARY: Header = (b"vary", b"Accept, Authorization")


class Predictions:
    """Answers requests whose path begins with PREFIX; gives None for those that are no prediction."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def answer(self, request: Request, receive: Receive) -> Response | None:
        """The reply; raises what goes wrong."""
        model, slash, key = request.path[len(PREFIX) :].partition("/")
        if not model:
            return None
        if request.method in ("GET", "HEAD"):
            request.route = "predict" if slash else "predict_by_name"
            _enter(request, model)
            return await self._one(request, key if slash else None)
        if request.method == "POST" and key == "lookup":
            request.route = "predict_many"
            _enter(request, model)
            return await self._many(request, receive)
        return errors.not_allowed(request.path, request.method, "GET, HEAD, POST" if key == "lookup" else "GET, HEAD")

    async def _one(self, request: Request, value: str | None) -> Response:
        terms, named = LookupOptions.parse(request.parameters()) if request.query else (ANY, {})
        if not request.query:
            request.require_readable()
        if value is not None:
            refuse(named)

        def parse(described: TableVersion) -> Parsed:
            key = named if value is None else {_only(described): value}
            return [[one] for one in keys.parse(described.key, key).values()]

        described, age, parsed, row = await self._lookup.one(str(request.model), parse, terms)
        request.version, request.keys, request.found = described.version, 1, int(row[1] is True)
        form = b"arrow" if _wants_arrow(request) else b"json"
        tag = caching.etag(described, age, terms, form)
        headers = [_VARY, (b"etag", tag), (b"cache-control", caching.cache_control(described, age, terms))]
        if row[1] and caching.matches(request.headers.get(b"if-none-match"), tag):
            return Response(304, b"", headers)
        body = _body(form, described, age, parsed, row, terms)
        return Response(200 if row[1] else 404, body, [JSON if form == b"json" else _ARROW, *headers])

    async def _many(self, request: Request, receive: Receive) -> Response:
        terms, others = LookupOptions.parse(request.parameters())
        refuse(others)
        body = await request.body(receive)
        if request.headers.get(b"content-type", b"").lower().startswith(arrow.MEDIA_TYPE):
            table = arrow_validation.read_table(body)
            request.keys = table.num_rows
            _bounded(request)
            answers = await self._lookup.many(str(request.model), lambda d: arrow.parse(d, table), terms)
        else:
            asked = _asked(body)
            request.keys = len(asked)
            _bounded(request)
            answers = await self._lookup.many(str(request.model), lambda d: keys.parse_many(d.key, asked), terms)
        request.version, request.found = answers.table_version.version, answers.found.count(True)
        headers = [_VARY, (b"cache-control", b"no-store")]
        if _wants_arrow(request):
            return Response(200, arrow.render(answers), [_ARROW, *headers])
        return Response(200, json.render(answers), [JSON, *headers])


def _enter(request: Request, model: str) -> None:
    """Let in only those whose API key is for this model; raises Forbidden whether there is such a model or not."""
    if request.caller is not None and not request.caller.may_read(model):
        raise Forbidden(f"This API key does not open {model!r}.")
    request.model = model


def _wants_arrow(request: Request) -> bool:
    """Whether Accept names Arrow, and prefers it to JSON (RFC 9110, 12.5.1)."""
    accept = request.headers.get(b"accept")
    if accept is None or arrow.MEDIA_TYPE not in (accept := accept.lower()):
        return False
    weights = dict(_weight(one) for one in accept.split(b","))
    others = max(weights.get(form, 0.0) for form in (b"application/json", b"application/*", b"*/*"))
    return weights.get(arrow.MEDIA_TYPE, 0.0) > 0 and weights[arrow.MEDIA_TYPE] >= others


def _weight(one: bytes) -> tuple[bytes, float]:
    form, *parameters = (part.strip() for part in one.split(b";"))
    given = [part[2:] for part in parameters if part.startswith(b"q=")]
    try:
        return form, float(given[0]) if given else 1.0
    except ValueError:
        return form, 0.0


def _bounded(request: Request) -> None:
    if request.keys > MAX_KEYS:
        raise TooLarge(f"{request.keys} keys in one request; at most {MAX_KEYS} are answered. Ask in parts.")


def _only(described: TableVersion) -> str:
    if len(described.key) > 1:
        form = "&".join(f"{column['name']}=…" for column in described.key)
        raise KeyInvalid(
            f"The key of {described.model} has {len(described.key)} columns: "
            f"GET /v1/predictions/{described.model}?{form}"
        )
    return described.key[0]["name"]


def _body(
    form: bytes, described: TableVersion, age: Age, parsed: Parsed, row: lookup.Row, terms: LookupOptions
) -> bytes:
    chosen = described.select_outputs(terms.outputs)
    if form == b"json":
        named = {column["name"]: value[0] for column, value in zip(described.key, parsed, strict=True)}
        return json.render_one(described, age, named, row, chosen)
    outputs = [[value] for value in row[2:]] or [[None] for _ in described.outputs]
    return arrow.render(Answers(described, age, parsed, [row[1]], FetchedOutputs(outputs), chosen))


def _asked(body: bytes) -> list[Any]:
    """The keys of a bulk request; raises RequestInvalid."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestInvalid(f"The body is not JSON: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("keys"), list):
        raise RequestInvalid('The body takes {"keys": [{column: value, …}, …]}.')
    if unknown := sorted(set(content) - {"keys"}):
        raise RequestInvalid(f"Unknown in the body: {', '.join(unknown)}; it takes keys.")
    return list(content["keys"])
