"""Where every request arrives: it gets an id, is let in or not, answered, counted and logged."""

from __future__ import annotations

import logging
import time
from collections.abc import MutableMapping, Set
from typing import Any

from prescore.errors import PrescoreError
from prescore_api.http import errors
from prescore_api.http.access_log import AccessLog
from prescore_api.http.predictions import PREFIX, Predictions
from prescore_api.http.request import Receive, Request
from prescore_api.http.response import Response, Send
from prescore_api.service import metrics
from prescore_api.service.poller import Poller

Scope = MutableMapping[str, Any]
REQUEST = "prescore.request"
# A load balancer has no key, and what the endpoints are is no secret.
OPEN = frozenset({"/health/live", "/health/ready", "/docs", "/openapi.json"})

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_log = logging.getLogger("prescore_api")


class Dispatcher:
    """An ASGI app. Predictions are answered here; all else goes to the pages, an ASGI app made with a framework."""

    def __init__(self, pages: Any, open_paths: Set[str] = OPEN) -> None:
        self.pages, self.open_paths = pages, open_paths
        self.predictions: Predictions
        self.watch: Poller
        self.log: AccessLog | None = None
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or the server's start and end."""
        if scope["type"] != "http":
            await self.pages(scope, receive, send)
            return
        request = Request(scope)
        if self.draining:
            send = _last(send)
        try:
            reply = await self._reply(request, receive)
        except PrescoreError as error:
            reply = errors.reply(error, request.id)
        except Exception:
            _log.exception("request %s met a fault of prescore's", request.id)
            reply = errors.unforeseen()
        if reply is None:
            await self._page(request, scope, receive, send)
            return
        await reply.send(send, (b"x-request-id", request.id.encode()), bodiless=request.method == "HEAD")
        self._note(request, reply.status, len(reply.body))

    async def _reply(self, request: Request, receive: Receive) -> Response | None:
        request.require_bounded()
        if request.path not in self.open_paths:
            request.caller = await self.watch.caller(request.headers.get(b"authorization"))
        if request.path.startswith(PREFIX):
            return await self.predictions.answer(request, receive)
        return None

    async def _page(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        status, size = 500, 0

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request.id.encode())]
            else:
                size += len(message.get("body", b""))
            await send(message)

        # The server itself leaves out the body of what it knows to be a HEAD.
        scope = {**scope, REQUEST: request, "method": "GET" if request.method == "HEAD" else request.method}
        try:
            await self.pages(scope, receive, noting)
        finally:
            request.route = getattr(scope.get("route"), "name", "")
            self._note(request, status, size)

    def _note(self, request: Request, status: int, size: int) -> None:
        took = time.perf_counter() - request.began
        # Nobody can make up labels.
        method = request.method if request.method in _METHODS else "other"
        answered, seconds = metrics.bound(request.route or "none", method, status)
        answered.inc()
        seconds.observe(took)
        # A published model: nobody can make up others.
        if request.version is not None and request.model is not None:
            hits, misses = metrics.looked_up(request.model)
            if request.found:
                hits.inc(request.found)
            if request.keys > request.found:
                misses.inc(request.keys - request.found)
        if self.log is not None:
            self.log.add(request, status, size, took)


def _last(send: Send) -> Send:
    """The same, for the last reply on its connection: the server is about to end."""

    async def closing(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return closing
