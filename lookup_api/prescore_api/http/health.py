"""The endpoints for operations: liveness, readiness and metrics."""

from __future__ import annotations

from prescore_api.http.request import Request
from prescore_api.http.response import NO_STORE, VARY, Header, Response, json
from prescore_api.service import metrics
from prescore_api.service.options import refuse_all

_METRICS: Header = (b"content-type", metrics.CONTENT_TYPE.encode())


async def live(_: Request) -> Response:
    """Answer as long as the process serves requests."""
    return json({"status": "live"})


async def ready(request: Request) -> Response:
    """Answer 200 if lookups can be answered; raises DatabaseUnavailable, DatabaseRefused or Transient if not."""
    request.service.require_ready()
    return json({"status": "ready"})


async def scrape(request: Request) -> Response:
    """Return the metrics in Prometheus' text format: all of them, or those that the parameters `name[]` name."""
    names, others = [], []
    for name, value in request.parameters():
        if name == "name[]":
            names.append(value)
        else:
            others.append((name, value))
    refuse_all(others, known="name[]")
    return Response(200, request.service.metrics(request.caller, names), [_METRICS, NO_STORE, VARY])
