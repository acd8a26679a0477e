"""The route table, and how a path is matched against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from prescore_api.http import documents, health, inference, models, predictions, rows, score
from prescore_api.http.request import Request
from prescore_api.http.response import Response

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """An endpoint.

    `path` is fixed, or a prefix with one placeholder (`/a/{b}`), followed by a fixed name (`/a/{b}/c`), by a second
    placeholder that takes the rest of the path, slashes included (`/a/{b}/{c...}`), or by a fixed name and a path of
    the same forms (`/a/{b}/c/{d}/e`). A GET route answers HEAD, too.

    An `open` route needs no API key. A route that is not `documented` is missing from the OpenAPI document.
    """

    method: str
    path: str
    name: str
    handler: Handler
    open: bool = False
    documented: bool = True

    @cached_property
    def placeholders(self) -> int:
        """The number of placeholders in the path."""
        return self.path.count("{")


def _both(method: str, path: str, tail: str, name: str, handler: Handler) -> tuple[Route, Route]:
    """Return the routes of one operation of the Open Inference Protocol: with and without a version in the path."""
    return (
        Route(method, path + tail, name, handler, documented=False),
        Route(method, path + "/versions/{version}" + tail, name, handler, documented=False),
    )


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/predictions/{model}", "predict_by_name", predictions.predict_by_name),
    Route("GET", "/v1/predictions/{model}/{key...}", "predict", predictions.predict),
    Route("GET", "/v1/predictions/{model}/rows", "read_rows", rows.read_rows),
    Route("POST", "/v1/predictions/{model}/lookup", "predict_many", predictions.predict_many),
    Route("POST", "/v1/predictions/{model}/score", "score", score.score),
    Route("GET", "/v1/models", "list_models", models.list_models),
    Route("GET", "/v1/models/{model}", "describe_model", models.describe_model),
    Route("GET", "/v2", "v2_server", inference.server_metadata, documented=False),
    Route("GET", "/v2/health/live", "v2_live", inference.live, open=True, documented=False),
    Route("GET", "/v2/health/ready", "v2_ready", inference.ready, open=True, documented=False),
    Route("GET", "/v2/models/stats", "v2_statistics", inference.statistics, documented=False),
    *_both("GET", "/v2/models/{model}", "", "v2_model", inference.model_metadata),
    *_both("GET", "/v2/models/{model}", "/ready", "v2_model_ready", inference.model_ready),
    *_both("POST", "/v2/models/{model}", "/infer", "v2_infer", inference.infer),
    Route("GET", "/health/live", "live", health.live, open=True),
    Route("GET", "/health/ready", "ready", health.ready, open=True),
    Route("GET", "/metrics", "scrape", health.scrape),
    Route("GET", "/", "status_page", documents.status_page, documented=False),
    Route("GET", "/docs", "docs", documents.docs, open=True, documented=False),
    Route("GET", "/openapi.json", "openapi", documents.openapi_json, open=True, documented=False),
)

Methods = dict[str, Route]
"""The routes of one path by method; HEAD has an entry of its own."""
Match = tuple[Methods, tuple[str, ...]]
"""The routes of a path and the values of its placeholders, of which a route takes as many as its path has."""


class Router:
    """Matches paths against routes. A fixed path takes precedence over placeholders."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._fixed: dict[str, Methods] = {}
        self._prefixes: dict[str, _Prefix] = {}
        for route in routes:
            prefix, placeholder, rest = route.path.partition("{")
            if placeholder:
                self._prefixes.setdefault(prefix, _Prefix()).add(route, rest.partition("}")[2])
            else:
                _add(self._fixed.setdefault(route.path, {}), route)
        for subtree in self._prefixes.values():
            subtree.complete()

    def match(self, path: str) -> Match | None:
        """Return the routes of a path and the values of its placeholders, or None."""
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, ()
        for prefix, subtree in self._prefixes.items():
            if path.startswith(prefix):
                return subtree.match(path[len(prefix) :])
        return None


class _Prefix:
    """The routes whose paths have the same text before the first placeholder."""

    def __init__(self) -> None:
        self._alone: Methods = {}
        self._named: dict[str, Methods] = {}
        self._rest: Methods = {}
        self._nested: dict[str, _Prefix] = {}

    def add(self, route: Route, tail: str) -> None:
        """Add a route whose path continues with `tail` after the first placeholder."""
        if not tail:
            _add(self._alone, route)
        elif tail.startswith("/{") and tail.endswith("...}"):
            _add(self._rest, route)
        elif tail.startswith("/") and "{" not in tail:
            _add(self._named.setdefault(tail[1:], {}), route)
        elif tail.startswith("/") and not tail.startswith("/{"):
            name, _, rest = tail[1:].partition("{")
            self._nested.setdefault(name, _Prefix()).add(route, rest.partition("}")[2])
        else:
            raise ValueError(f"{route.path} is not a path that a route can have")

    def complete(self) -> None:
        """Let a fixed name have the methods of the second placeholder that it does not define itself."""
        self._named = {name: {**self._rest, **methods} for name, methods in self._named.items()}
        for subtree in self._nested.values():
            subtree.complete()

    def match(self, path: str) -> Match | None:
        """Match what follows the prefix. A placeholder does not match the empty string, except for the rest."""
        value, slash, rest = path.partition("/")
        if not value:
            return None
        if not slash:
            return (self._alone, (value,)) if self._alone else None
        methods = self._named.get(rest, self._rest)
        if methods:
            return methods, (value, rest)
        for name, subtree in self._nested.items():
            if rest.startswith(name) and (match := subtree.match(rest[len(name) :])):
                return match[0], (value, *match[1])
        return None


def _add(methods: Methods, route: Route) -> None:
    methods[route.method] = route
    if route.method == "GET":
        methods["HEAD"] = route
