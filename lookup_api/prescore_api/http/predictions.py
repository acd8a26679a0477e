"""The endpoints under /v1/predictions: one key by path or by column name, and many keys at once."""

from __future__ import annotations

from urllib.parse import unquote

from prescore.catalog import keys
from prescore.errors import KeyInvalid
from prescore_api.formats import arrow, json
from prescore_api.http import bulk_body, caching, media_types, pins
from prescore_api.http.request import Request
from prescore_api.http.response import JSON, NO_STORE, VARY, Header, Response
from prescore_api.service.answers import Answer, Answers, FetchedOutputs, MixedAnswers, Tombstone
from prescore_api.service.canary import Pin
from prescore_api.service.lookup import KeyColumns, ParseKeys
from prescore_api.service.metrics import CanaryKeys
from prescore_api.service.options import DEFAULTS, LookupOptions, refuse_unknown
from prescore_api.tables.version import OutputSelection, TableVersion

_ARROW: Header = (b"content-type", arrow.MEDIA_TYPE)
_OFFERED = (media_types.JSON, arrow.MEDIA_TYPE)
_TAGS = {media_types.JSON: b"json", arrow.MEDIA_TYPE: b"arrow"}


async def predict(request: Request) -> Response:
    """Look up a key of one column, given in the path."""
    model, encoded = request.path_values
    _authorize(request, model)
    if request.query:
        options, others = LookupOptions.parse(request.parameters())
        refuse_unknown(others)
    else:
        request.require_utf8()
        options = DEFAULTS
    value = unquote(encoded) if "%" in encoded else encoded

    def parse(version: TableVersion) -> KeyColumns:
        return _key_columns(version, {_only_column(version): value})

    return await _one(request, model, parse, options)


async def predict_by_name(request: Request) -> Response:
    """Look up a key given by column name in the query string."""
    (model,) = request.path_values
    _authorize(request, model)
    options, key = LookupOptions.parse(request.parameters())

    def parse(version: TableVersion) -> KeyColumns:
        try:
            return _key_columns(version, key)
        except KeyInvalid as error:
            if b"+" not in request.query:
                raise
            raise KeyInvalid(f"{error} In a query string, + stands for a space. Send a plus sign as %2B.") from error

    return await _one(request, model, parse, options)


async def predict_many(request: Request) -> Response:
    """Look up the keys in the body, all in one version, or in it and a canary; the headers say in which."""
    (model,) = request.path_values
    _authorize(request, model)
    options, others = LookupOptions.parse(request.parameters())
    options, pin = pins.read(others, options)
    refuse_unknown(others, "canary")
    form = _form(request)
    parse = bulk_body.parse(request, await request.body())
    answers = await request.service.canary_lookup.many(model, parse, options, pin)
    _record(request, answers)
    headers = [VARY, NO_STORE, *_pins(answers, options)]
    if form == arrow.MEDIA_TYPE:
        return Response(200, arrow.render(answers), [_ARROW, *headers])
    answers = await request.service.tombstones.add_to(answers)
    return Response(200, json.render(answers), [JSON, *headers])


def _pins(answers: Answers | MixedAnswers, options: LookupOptions) -> list[Header]:
    if isinstance(answers, Answers):
        return pins.headers(answers.table_version.version, options)
    canary = Pin(answers.canary.table_version.version, answers.share)
    return pins.headers(answers.published.table_version.version, options, canary)


def _record(request: Request, answers: Answers | MixedAnswers) -> None:
    """Note what was found, for the metrics and the access log."""
    if isinstance(answers, MixedAnswers):
        canary, found = answers.canary, answers.canary.found.count(True)
        request.canary = CanaryKeys(canary.table_version.version, len(canary.found), found)
        request.found = found
        answers = answers.published
    request.version = answers.table_version.version
    request.found += answers.found.count(True)


async def _one(request: Request, model: str, parse: ParseKeys, options: LookupOptions) -> Response:
    form = _form(request)
    answer, is_canary = await request.service.canary_lookup.one(model, parse, options)
    version = answer.table_version
    is_found = answer.is_found
    request.version = version.version
    request.keys = 1
    request.found = int(is_found)
    if is_canary:
        request.canary = CanaryKeys(version.version, 1, request.found)
    tag = caching.etag(version, answer.age, options, _TAGS[form])
    cache_control = caching.cache_control(version, answer.age, options)
    headers = [VARY, (b"etag", tag), (b"cache-control", cache_control)]
    if is_found and caching.matches(request.headers.get(b"if-none-match"), tag):
        return Response(304, b"", headers)
    status = 200 if is_found else 404
    selection = version.select_outputs(options.outputs)
    if form == media_types.JSON:
        tombstone = None
        if not is_found and version.row["tombstones"]:
            tombstones = await request.service.tombstones.find(version, answer.key, [0])
            tombstone = tombstones.get(0)
        return Response(status, _json(answer, selection, tombstone), [JSON, *headers])
    return Response(status, _arrow(answer, selection), [_ARROW, *headers])


def _json(answer: Answer, selection: OutputSelection, tombstone: Tombstone | None) -> bytes:
    version = answer.table_version
    key = {column["name"]: value for column, (value,) in zip(version.key, answer.key, strict=True)}
    return json.render_one(version, answer.age, key, answer.row, selection, tombstone)


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
        kept_ages={} if answer.age.kept_data_as_of is None else {0: answer.age},
    )
    return arrow.render(answers)


def _authorize(request: Request, model: str) -> None:
    """Raise Forbidden unless the caller may read the model, before anything else depends on whether it exists."""
    request.model = model
    request.caller.require(model)


def _key_columns(version: TableVersion, key: dict[str, str]) -> KeyColumns:
    return [[value] for value in keys.parse(version.key, key).values()]


def _only_column(version: TableVersion) -> str:
    if len(version.key) > 1:
        values = [f"{name}=…" for name in version.key_names]
        named, form = ", ".join(values), "&".join(values)
        raise KeyInvalid(
            f"The key of {version.model} has {len(version.key)} columns. Pass each by its name: {named} in the Python "
            f"client, GET /v1/predictions/{version.model}?{form} over HTTP."
        )
    return version.key[0]["name"]


def _form(request: Request) -> bytes:
    """Return the media type to answer with; raise NotAcceptable."""
    accept = request.headers.get(b"accept", media_types.ANY)
    return media_types.JSON if accept == media_types.ANY else media_types.choose(accept, _OFFERED)
