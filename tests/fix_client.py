"""The Python client, blocking and asynchronous, and a server that sends scripted responses."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from fix_api import Shelf
from prescore.catalog.catalog import Catalog
from prescore.versions.retirement import _drop
from prescore_api.client import MAX_KEYS, AsyncClient, Client

ANSWER = {
    "model": "m",
    "version": 3,
    "key": {"k": 7},
    "found": True,
    "prediction": {"score": 0.5},
    "data_as_of": "2026-11-21T03:37:05.858230+00:00",
    "published_at": "2026-11-21T03:38:07.887349+00:00",
    "age_seconds": 216.0,
    "stale": False,
}


def address(client: httpx.Client) -> str:
    """Return the base URL of a test client's server."""
    return str(client.base_url)


@dataclass(frozen=True)
class ClientCall:
    """A call of the blocking or the asynchronous client, which is opened for this call and closed after it."""

    asynchronous: bool

    def __call__(
        self, url: Any, method: str, *arguments: Any, settings: Mapping[str, Any] | None = None, **more: Any
    ) -> Any:
        """Call a method of a new client with these `settings`; return what it returns, and raise what it raises.

        An iterator becomes a list.
        """
        if self.asynchronous:
            return asyncio.run(self._call_async(url, method, arguments, settings or {}, more))
        with Client(str(url), **settings or {}) as client:
            result = getattr(client, method)(*arguments, **more)
            return list(result) if isinstance(result, Iterator) else result

    async def _call_async(self, url: Any, method: str, arguments: Any, settings: Mapping[str, Any], more: Any) -> Any:
        async with AsyncClient(str(url), **settings) as client:
            result = getattr(client, method)(*arguments, **more)
            return [item async for item in result] if isinstance(result, AsyncIterator) else await result


@pytest.fixture(params=["blocking", "asynchronous"])
def call(request: pytest.FixtureRequest) -> ClientCall:
    """Calls of the blocking client, then of the asynchronous one."""
    return ClientCall(asynchronous=request.param == "asynchronous")


@dataclass(frozen=True)
class Response:
    """A scripted response.

    With `disconnect`, the server closes the connection without sending it. `seconds_per_byte` is the pause before
    each byte of the body.
    """

    status: int = 200
    body: Any = field(default_factory=lambda: ANSWER)
    headers: Mapping[str, str] = field(default_factory=dict)
    disconnect: bool = False
    seconds_per_byte: float = 0.0


def error_response(status: int, code: str, **headers: str) -> Response:
    """Build an error response of the lookup API; write header names with underscores instead of dashes."""
    error = {"error": {"code": code, "message": f"It is {code}."}}
    return Response(status, error, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class ScriptedServer:
    """A server on a real socket that records its requests.

    It sends each response of the script once and then repeats the last one. `requests` holds the method, target,
    headers and body of each request; `arrivals` holds the monotonic time at which each of them arrived.
    """

    script: list[Response]
    requests: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    url: str = ""

    def respond(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Record a request and return the response to it."""
        self.requests.append((method, target, headers, body))
        self.arrivals.append(time.monotonic())
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@pytest.fixture
def start_server() -> Iterator[Callable[..., ScriptedServer]]:
    """A function that starts a scripted server."""
    running: list[ThreadingHTTPServer] = []

    def start(*script: Response) -> ScriptedServer:
        scripted = ScriptedServer(list(script))
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(scripted))
        server.daemon_threads = True
        running.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        scripted.url = f"http://127.0.0.1:{server.server_port}"
        return scripted

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            response = server.respond(self.command, self.path, dict(self.headers), body)
            if response.disconnect:
                self.close_connection = True
                return
            content = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
            self.send_response(response.status)
            for name, value in {"Content-Length": str(len(content)), **response.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self._write(content, response.seconds_per_byte)

        # BaseHTTPRequestHandler prescribes the name.
        do_POST = do_GET  # noqa: N815

        def _write(self, content: bytes, seconds_per_byte: float) -> None:
            pieces = [content[i : i + 1] for i in range(len(content))] if seconds_per_byte else [content]
            try:
                for piece in pieces:
                    time.sleep(seconds_per_byte)
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                # The client has closed the connection, for example after a timeout.
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Log nothing: a failing test shows what went wrong."""

    return Handler


class InterleavingTransport(httpx.HTTPTransport):
    """A transport that runs an action before it sends a request; `actions` maps the request's number, from 0, to it."""

    def __init__(self, actions: dict[int, Callable[[], Any]]) -> None:
        super().__init__()
        self.actions = actions
        self.request_count = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if action := self.actions.get(self.request_count):
            action()
        self.request_count += 1
        return super().handle_request(request)


def publish(shelf: Shelf, version: int) -> None:
    """Publish the next version of model m with two keys: 0 and MAX_KEYS, the first that needs a second request."""
    assert shelf.publish("m", {"k": "bigint"}, [(k, version / 2) for k in (0, MAX_KEYS)]) == version


def retire(shelf: Shelf, version: int) -> None:
    """Retire a version of model m and drop its table."""
    with shelf.database.connect() as connection:
        Catalog(connection).execute("versions_retire", model="m", version=version)
        assert _drop(connection, Catalog(connection).version("m", version))
