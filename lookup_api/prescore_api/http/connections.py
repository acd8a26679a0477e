"""Connections below the ASGI app: writes in groups, time limits, ignored upgrades, malformed requests, and their end.

This builds on internals of uvicorn and httptools; `tests/test_api_connections.py` lists them and checks each.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from prescore.errors import Malformed
from prescore_api.http import errors
from prescore_api.http.request import BODY_ARRIVED, LONGEST_HEADERS, LONGEST_URL, Request, Scope
from prescore_api.http.response import CLOSE

# A client may be sending its next request just when the server begins to shut down.
_GRACE_SECONDS = 0.5
# A client that sends a byte now and then must not keep a connection forever.
_HEAD_SECONDS = 10.0
# Beyond this, an incomplete head ends the connection. A complete head that is too long gets a 413 from the app.
_LONGEST_HEAD = 2 * (LONGEST_URL + LONGEST_HEADERS)
_KEEP_ALIVE = (b"connection", b"keep-alive")
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n"
# An empty SETTINGS frame and a GOAWAY frame with the error code HTTP_1_1_REQUIRED (RFC 9113, 3.4, 6.8 and 7): a client
# that speaks HTTP/2 without negotiating it does not understand a response in HTTP/1.1.
_ONLY_HTTP1 = b"This server speaks HTTP/1.1."
_GOAWAY = b"\0\0\0\4\0\0\0\0\0" + b"\0\0%c\7\0\0\0\0\0\0\0\0\0\0\0\0\r" % (8 + len(_ONLY_HTTP1)) + _ONLY_HTTP1


class _Outbox:
    """Sends what all connections have written in one turn of the event loop at its end.

    Each write wakes up its receiver, which costs more than the write. With clients on the same machine, this serves
    between a fifth and a third more lookups a second.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: list[_BufferedTransport] = []

    def add(self, transport: _BufferedTransport) -> None:
        """Send what this transport has buffered at the end of the turn."""
        if not self._pending:
            self._loop.call_soon(self._send)
        self._pending.append(transport)

    def _send(self) -> None:
        pending, self._pending = self._pending, []
        for transport in pending:
            transport.send()


class _BufferedTransport:
    """A connection's transport that sends a response's head and body as one."""

    def __init__(self, transport: Any, outbox: _Outbox) -> None:
        self._transport, self._outbox = transport, outbox
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Buffer data until the end of the turn."""
        if not self._parts:
            self._outbox.add(self)
        self._parts.append(data)

    def send(self) -> None:
        """Send the buffered data now."""
        parts, self._parts = self._parts, []
        if parts and not self.is_closing():
            self._transport.writelines(parts)

    def close(self) -> None:
        """Send the buffered data and close the connection."""
        self.send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """An HTTP/1.1 connection.

    The head of a request must arrive soon and must not be too long. An offered upgrade is ignored, as RFC 9110, 7.8
    allows: the request is answered as if it had no Upgrade header. What is not HTTP gets a 400, after the responses to
    the requests before it. Requests that are on their way are still answered when the server shuts down, and when the
    client has already ended its side of the connection.
    """

    _head_bytes = 0
    _in_head = False
    _timer: asyncio.TimerHandle | None = None
    _malformed: Malformed | None = None
    _client_ended = False
    _is_http2 = False

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first request."""
        outbox = self.app_state.setdefault("outbox", _Outbox(self.loop))
        self._buffered = _BufferedTransport(transport, outbox)
        super().connection_made(cast("Any", self._buffered))
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """Note that a head begins. Empty lines, which may precede it, do not keep a connection open."""
        self._unset_keepalive_if_required()
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start to answer the request, unless it offers an upgrade: then it is parsed again without it."""
        self._in_head, self._head_bytes = False, 0
        self._stop_timer()
        if self.parser.should_upgrade():
            return
        super().on_headers_complete()
        if self.parser.get_http_version() == "1.0" and self.parser.should_keep_alive():
            self.cycle.keep_alive = True
            self.cycle.default_headers = [*self.cycle.default_headers, _KEEP_ALIVE]

    def on_message_complete(self) -> None:
        """Complete the request. For the parser, one that offers an upgrade ends with its head, which is wrong here."""
        if not self.parser.should_upgrade():
            self.scope[BODY_ARRIVED] = True  # type: ignore[literal-required]
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parse data, which may end anywhere in a request and contain several."""
        if self._malformed is not None:
            return
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._is_http2 = self.cycle is None and data.startswith(_HTTP2_PREFACE)
            self._refuse(error)
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(_HEAD_SECONDS, self._give_up)
            if self._head_bytes > _LONGEST_HEAD:
                self._give_up()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Return whether to keep the connection, which the client has ended on its side, for the last responses."""
        # asyncio would close the connection below the buffer.
        self._buffered.send()
        self._client_ended = True
        if self.scheme == "https" or self._is_idle():
            self._unset_keepalive_if_required()
            return None
        return not self.cycle.more_body

    def on_response_complete(self) -> None:
        """Start to answer the next request that has arrived; after the last one, end or keep the connection."""
        was_last = not self.pipeline
        super().on_response_complete()
        if not was_last or self.transport.is_closing():
            return
        if self._malformed is not None:
            self._respond_malformed(self._malformed)
        elif self._client_ended:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for a request."""
        self._stop_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Announce the end in responses from now on, and close idle connections after a grace period."""
        dispatcher = self.app_state.get("dispatcher")
        if dispatcher is not None:
            dispatcher.service.draining = True
        self.loop.call_later(_GRACE_SECONDS, super().shutdown)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = memoryview(data)[upgrade.args[0] :]
        else:
            return
        # The parser stopped after a head that offers an upgrade and would take the body for another protocol. Several
        # such requests may have arrived at once.
        while True:
            self._restart_without_upgrade()
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            else:
                return

    def _restart_without_upgrade(self) -> None:
        """Have a new parser read the current head again without its Upgrade headers, so that it reads the body, too."""
        method = self.parser.get_method()
        # CONNECT requests a tunnel, whatever its headers say. There is none, and what follows is not HTTP.
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is not supported")
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn sets it: a request that came with an earlier one that ends the connection is not an error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def _is_idle(self) -> bool:
        """Return whether every request that has arrived is answered."""
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, error: httptools.HttpParserError) -> None:
        """Respond to what is not HTTP, as soon as the requests before it are answered."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        # Callbacks fail on nothing but a URL.
        is_url = isinstance(error, httptools.HttpParserCallbackError)
        reason = "its URL cannot be read" if is_url else str(error)
        self._malformed = Malformed(f"The request is not valid HTTP/1.1: {reason}.")
        if not self._is_idle():
            if not self.cycle.more_body:
                return
            # Its body is malformed.
            if self.pipeline:
                self.pipeline.popleft()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._respond_malformed(self._malformed)

    def _respond_malformed(self, error: Malformed) -> None:
        dispatcher = self.app_state["dispatcher"]
        scope: Scope = {"method": "", "raw_path": b"", "query_string": b"", "headers": [], "client": self.client}
        request = Request(scope, _receive_nothing, dispatcher.service)
        response = errors.response(error, request.id)
        reply = response.serialize([(b"x-request-id", request.id.encode()), CLOSE])
        self.transport.write(_GOAWAY if self._is_http2 else reply)
        dispatcher.record(request, response)
        self._close_gently()

    def _close_gently(self) -> None:
        """Close the connection after the client, or a little later.

        To close it while the client is still sending would reset it, and the client could lose the response.
        """
        if self._client_ended or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._buffered.send()
        self.transport.write_eof()
        self.loop.call_later(_GRACE_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()


async def _receive_nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}
