"""Requests and answers as bytes: what JSON says of a value, and what a request may say.

Integers are exact, also beyond 2^53. Floats are the shortest text that comes back as the column's own value. Times are
ISO 8601, those with a zone in UTC. A passed-through NaN or infinity has no JSON number and is null; outputs never are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from fastapi import Request, Response

from prescore.contract.errors import RequestInvalid

RESERVED = ("version", "max_age")


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def parameters(request: Request) -> dict[str, str]:
    """The query string's parameters, each given once; raises RequestInvalid."""
    readable(request)
    given = request.query_params.multi_items()
    named = dict(given)
    if reserved := [name for name in RESERVED if name in named]:
        raise RequestInvalid(f"{' and '.join(reserved)}: not supported yet; answers are of the published version.")
    if len(named) < len(given):
        twice = sorted(name for name in named if [n for n, _ in given].count(name) > 1)
        raise RequestInvalid(f"Given more than once: {', '.join(twice)}.")
    return named


def no_parameters(request: Request) -> None:
    """Nothing is ignored silently; raises RequestInvalid that names the parameters."""
    if given := parameters(request):
        raise RequestInvalid(f"Unknown parameters: {', '.join(given)}; none are taken here.")


def readable(request: Request) -> None:
    """Bytes that are not UTF-8 would silently become another key; raises RequestInvalid."""
    for part in (request.scope.get("raw_path") or b"", request.scope["query_string"]):
        try:
            unquote_to_bytes(part).decode()
        except UnicodeDecodeError as error:
            raise RequestInvalid("The URL is not UTF-8 behind its percent signs.") from error


async def asked_keys(request: Request) -> list[Any]:
    """The keys of a bulk request; raises RequestInvalid."""
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise RequestInvalid(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict) or not isinstance(body.get("keys"), list):
        raise RequestInvalid('The body takes {"keys": [{column: value, …}, …]}.')
    if unknown := sorted(set(body) - {"keys"}):
        raise RequestInvalid(f"Unknown in the body: {', '.join(unknown)}; it takes keys.")
    return list(body["keys"])
