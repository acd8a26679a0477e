"""Cross-origin requests (CORS): pages of the origins that `prescore serve --cors-origin` names may read responses.

The protocol: https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

from collections.abc import Iterable

from prescore_api.http.request import Request
from prescore_api.http.response import Header, Response

_ALL = b"*"
_EXPOSED_NAMES = (
    b"ETag", b"Link", b"Retry-After", b"X-Request-Id", b"Prescore-Version", b"Prescore-Canary", b"Prescore-Rows",
    b"Prescore-Data-As-Of", b"Prescore-Published-At", b"Prescore-Age-Seconds", b"Prescore-Stale",
    b"Inference-Header-Content-Length",
)  # fmt: skip
_EXPOSED: Header = (b"access-control-expose-headers", b", ".join(_EXPOSED_NAMES))
_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-max-age", b"600"),
    (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
    (b"cache-control", b"no-store"),
)


class CrossOrigin:
    """The origins whose pages may read responses."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._allows_all = _ALL in self._origins

    def preflight(self, request: Request) -> Response | None:
        """Return the response to a preflight request, which a browser sends without an API key; None for others."""
        if request.method != "OPTIONS" or b"access-control-request-method" not in request.headers:
            return None
        # Whatever headers a page wants to send, such as those of a tracing library, do no harm.
        headers = request.headers.get(b"access-control-request-headers", b"Authorization, Content-Type")
        return Response(204, b"", [*_PREFLIGHT, (b"access-control-allow-headers", headers)])

    def headers(self, request: Request) -> list[Header]:
        """Return the headers that let the page which sent the request read the response."""
        if self._allows_all:
            return [(b"access-control-allow-origin", b"*"), _EXPOSED]
        varies: Header = (b"vary", b"Origin")
        origin = request.headers.get(b"origin")
        if origin not in self._origins:
            return [varies]
        return [varies, (b"access-control-allow-origin", origin), _EXPOSED]
