"""The endpoint that scores rows of features on request, or answers them from the table."""

from __future__ import annotations

from prescore.errors import RequestInvalid
from prescore_api.formats import arrow
from prescore_api.http import bulk_body, media_types, pins
from prescore_api.http.request import Request
from prescore_api.http.response import JSON, NO_STORE, VARY, Header, Response
from prescore_api.service.live import Source
from prescore_api.service.options import LookupOptions, refuse_unknown

_SOURCES: dict[str, Source] = {"table": "table", "live": "live"}
_ARROW: Header = (b"content-type", arrow.MEDIA_TYPE)


async def score(request: Request) -> Response:
    """Answer the rows in the body, all with one version: from its table by key, or by scoring their features."""
    (model,) = request.path_values
    request.model = model
    request.caller.require(model)
    options, others = LookupOptions.parse(request.parameters())
    prefer = _source(others.pop("prefer", "table"))
    options, canary = pins.read(others, options)
    if canary is not None:
        raise RequestInvalid(f"No canary answers rows of features: canary takes {pins.NO_CANARY} here.")
    refuse_unknown(others, "prefer", "canary")
    # Answers have the form of the rows.
    form = bulk_body.content_type(request)
    media_types.choose(request.headers.get(b"accept"), (form,))
    live = request.service.live
    body = await request.body()
    is_arrow = form == arrow.MEDIA_TYPE
    answer = live.answer_arrow if is_arrow else live.answer
    answers = await answer(model, body, prefer, options)
    request.version = answers.version
    headers = [_ARROW if is_arrow else JSON, VARY, NO_STORE, *pins.headers(answers.version, options)]
    return Response(200, answers.content, headers)


def _source(text: str) -> Source:
    if text not in _SOURCES:
        raise RequestInvalid(f"prefer takes table or live, not {text[:60]!r}.")
    return _SOURCES[text]
