"""The ASGI app: authenticate each request, pass it to its handler, and record it in metrics and access log."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, closing, contextmanager, nullcontext
from http import HTTPStatus

from prescore.errors import NotFound, PrescoreError
from prescore_api.http import compression, documents, errors, inference
from prescore_api.http.cors import CrossOrigin
from prescore_api.http.request import Receive, Request, Scope
from prescore_api.http.response import Response, Send
from prescore_api.http.routes import ROUTES, Route, Router
from prescore_api.service import metrics
from prescore_api.service.access_log import AccessLog
from prescore_api.service.service import Service

# Other methods are counted as one, so that clients cannot create labels.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_log = logging.getLogger("prescore_api")


class Dispatcher:
    """An ASGI app that serves the routes from a service.

    `open_log` opens the access log when the server starts, and `open_beside` another server of the same service, which
    stops when this one has answered its last request. Pages of the `origins` may read responses. `root_path` is
    what clients' URLs have before /v1.
    """

    def __init__(
        self,
        service: Service,
        open_log: Callable[[], AccessLog] | None = None,
        open_beside: Callable[[AccessLog | None], AbstractAsyncContextManager[object]] | None = None,
        routes: Sequence[Route] = ROUTES,
        *,
        origins: Sequence[str] = (),
        root_path: str = "",
    ) -> None:
        self.service = service
        self._cross_origin = CrossOrigin(origins) if origins else None
        self._root_path = root_path
        self._router = Router(routes)
        self._open_paths = {route.path for route in routes if route.open}
        if service.settings.open_metrics:
            self._open_paths.add("/metrics")
        self._open_log = open_log
        self._open_beside = open_beside
        self._access_log: AccessLog | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._run(scope, receive, send)
            return
        request = Request(scope, receive, self.service, self._root_path)
        response = await self._response(request)
        headers = [(b"x-request-id", request.id.encode())]
        if self._cross_origin is not None:
            headers += self._cross_origin.headers(request)
        if len(response.body) >= compression.SMALLEST:
            response = await compression.compress(response, request.headers.get(b"accept-encoding"))
        await response.send(send, headers, head=request.method == "HEAD", close=self.service.draining)
        self.record(request, response)

    async def _response(self, request: Request) -> Response:
        """Return the response to a request, whatever is raised meanwhile."""
        response = await self._response_or_error(request)
        is_error = response.status >= HTTPStatus.BAD_REQUEST
        return inference.error(response) if is_error and inference.is_path(request.path) else response

    async def _response_or_error(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except PrescoreError as error:
            response = errors.response(error, request.id, request.model)
            return documents.error_page(response) if documents.is_status_page(request) else response
        except Exception:
            _log.exception("internal error in request %s", request.id)
            return errors.internal(request.id)

    async def _respond(self, request: Request) -> Response:
        request.require_valid()
        if self._cross_origin is not None and (preflight := self._cross_origin.preflight(request)):
            return preflight
        # Whether a path exists is answered only after authentication.
        if request.path not in self._open_paths:
            request.caller = await self.service.authenticate(request.authorization)
        match = self._router.match(request.path)
        if match is None:
            raise NotFound(inference.nothing_at(request.path))
        methods, values = match
        route = methods.get(request.method)
        if route is None:
            inference.require_version_2(request.path)
            return errors.not_allowed(request.path, request.method, ", ".join(sorted(methods)))
        request.route = route.name
        request.path_values = values[: route.placeholders]
        return await route.handler(request)

    def record(self, request: Request, response: Response) -> None:
        """Count an answered request in the metrics, and write its line of the access log."""
        seconds = time.perf_counter() - request.began
        method = request.method if request.method in _METHODS else "other"
        counter, histogram = metrics.request_metrics(request.route or "none", method, response.status)
        counter.inc()
        histogram.observe(seconds)
        metrics.count_lookups(request.model, request.version, request.keys, request.found)
        if request.canary is not None and request.model is not None:
            metrics.count_canary(request.model, request.canary)
        if self._access_log is not None:
            failed_login = response.status == HTTPStatus.UNAUTHORIZED
            self._access_log.add(request, response.status, len(response.body), seconds, failed_login=failed_login)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the service from the server's start to its end, by ASGI's lifespan protocol."""
        await receive()
        phase = "startup"
        try:
            async with self.service:
                scope["state"]["dispatcher"] = self
                with self._logging():
                    async with self._beside():
                        await send({"type": "lifespan.startup.complete"})
                        phase = "shutdown"
                        await receive()
        except BaseException:
            await send({"type": f"lifespan.{phase}.failed", "message": traceback.format_exc()})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    def _beside(self) -> AbstractAsyncContextManager[object]:
        return nullcontext() if self._open_beside is None else self._open_beside(self._access_log)

    @contextmanager
    def _logging(self) -> Iterator[None]:
        if self._open_log is None:
            yield
            return
        with closing(self._open_log()) as self._access_log:
            yield
