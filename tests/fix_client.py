"""The Python client, blocking and awaited, and a server whose replies are written beforehand."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from fix_api import Shelf
from prescore.catalog.catalog import Catalog
from prescore.versions.retention import _drop
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
    """Where the server of a client of the tests listens."""
    return str(client.base_url)


@dataclass(frozen=True)
class Asking:
    """One call of a client, which is opened for it and closed after it."""

    awaited: bool

    def __call__(
        self, url: Any, call: str, *arguments: Any, settings: Mapping[str, Any] | None = None, **more: Any
    ) -> Any:
        """What the call gives or raises; `settings` are the client's."""
        if self.awaited:
            return asyncio.run(self._awaited(url, call, arguments, settings or {}, more))
        with Client(str(url), **settings or {}) as client:
            return getattr(client, call)(*arguments, **more)

    async def _awaited(self, url: Any, call: str, arguments: Any, settings: Mapping[str, Any], more: Any) -> Any:
        async with AsyncClient(str(url), **settings) as client:
            return await getattr(client, call)(*arguments, **more)


@pytest.fixture(params=["blocking", "awaited"])
def ask(request: pytest.FixtureRequest) -> Asking:
    """A call of each of the two clients."""
    return Asking(awaited=request.param == "awaited")


@dataclass(frozen=True)
class Said:
    """A reply as it is written. `cut`: the connection ends without one; `seconds`: before each byte of its body."""

    status: int = 200
    body: Any = field(default_factory=lambda: ANSWER)
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    seconds: float = 0.0


def failed(status: int, code: str, **headers: str) -> Said:
    """An error as the lookup API tells it; header names have underscores in place of dashes."""
    error = {"error": {"code": code, "message": f"It is {code}."}}
    return Said(status, error, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class Scripted:
    """A real server on a real socket. It sends each response once and repeats the last one; it records the requests."""

    script: list[Said]
    asked: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    url: str = ""

    def next(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Said:
        """What to say to a request."""
        self.asked.append((method, target, headers, body))
        self.at.append(time.monotonic())
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """Starts a scripted server."""
    running: list[ThreadingHTTPServer] = []

    def start(*script: Said) -> Scripted:
        made = Scripted(list(script))
        running.append(ThreadingHTTPServer(("127.0.0.1", 0), _handler(made)))
        running[-1].daemon_threads = True
        threading.Thread(target=running[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        made.url = f"http://127.0.0.1:{running[-1].server_port}"
        return made

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def _handler(script: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = script.next(self.command, self.path, dict(self.headers), body)
            if said.cut:
                self.close_connection = True
                return
            content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(content)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self._write(content, said.seconds)

        do_POST = do_GET  # noqa: N815 - the name is the base class's

        def _write(self, content: bytes, seconds: float) -> None:
            try:
                for piece in [content[i : i + 1] for i in range(len(content))] if seconds else [content]:
                    time.sleep(seconds)
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:  # whoever asked has had enough
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Tests say what went wrong by themselves."""

    return Handler


class Meanwhile(httpx.HTTPTransport):
    """Lets something happen before a request is sent, counted from 0."""

    def __init__(self, happens: dict[int, Callable[[], Any]]) -> None:
        super().__init__()
        self.happens, self.sent = happens, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.happens.get(self.sent, lambda: None)()
        self.sent += 1
        return super().handle_request(request)


def publish(shelf: Shelf, version: int) -> None:
    """Publish the next version of a model m, which has the first key and the first that is beyond a request."""
    assert shelf.publish("m", {"k": "bigint"}, [(k, version / 2) for k in (0, MAX_KEYS)]) == version


def retire(shelf: Shelf, version: int) -> None:
    """Retire it, table and all."""
    with shelf.database.connect() as connection:
        Catalog(connection).execute("versions_retire", model="m", version=version)
        assert _drop(connection, Catalog(connection).version("m", version))
