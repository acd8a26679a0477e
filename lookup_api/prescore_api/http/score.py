"""The endpoint that scores rows of features on request, or answers them from the table."""

from __future__ import annotations

from prescore.errors import RequestInvalid
from prescore_api.formats import arrow, arrow_scores, arrow_validation
from prescore_api.http import bulk_body, media_types
from prescore_api.http.request import Request
from prescore_api.http.response import JSON, NO_STORE, VARY, Response
from prescore_api.service.live import Source
from prescore_api.service.options import LookupOptions, refuse_unknown

_SOURCES: dict[str, Source] = {"table": "table", "live": "live"}
_HEADERS = [JSON, VARY, NO_STORE]
_ARROW_HEADERS = [(b"content-type", arrow.MEDIA_TYPE), VARY, NO_STORE]


async def score(request: Request) -> Response:
    """Answer the rows in the body, all with one version: from its table by key, or by scoring their features."""
    (model,) = request.path_values
    request.model = model
    request.caller.require(model)
    options, others = LookupOptions.parse(request.parameters())
    prefer = _source(others.pop("prefer", "table"))
    refuse_unknown(others, "prefer")
    # Answers have the form of the rows.
    form = bulk_body.content_type(request)
    media_types.choose(request.headers.get(b"accept"), (form,))
    live = request.service.live
    body = await request.body()
    if form == arrow.MEDIA_TYPE:
        table = arrow_validation.read_table(body, arrow_validation.ROWS)
        scored = await live.answer_table(model, table, prefer, options)
        request.version = scored.table_version.version
        return Response(200, arrow_scores.render(scored), _ARROW_HEADERS)
    answers = await live.answer(model, body, prefer, options)
    request.version = answers.version
    return Response(200, answers.content, _HEADERS)


def _source(text: str) -> Source:
    if text not in _SOURCES:
        raise RequestInvalid(f"prefer takes table or live, not {text[:60]!r}.")
    return _SOURCES[text]
