"""Connections as the server bounds and ends them, below what an app can see."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from prescore_api.http.request import LONGEST_HEADERS, LONGEST_URL

# A client that keeps its connection may be sending a request just when the server begins to end.
_GRACE = 0.5  # seconds
# For a request's head to be there: who sends a byte now and then must not keep connections for ever.
_PATIENCE = 10.0  # seconds
# Beyond this nothing is kept of a head that is not complete. What is complete and too long is told so by the app.
_LONGEST = 2 * (LONGEST_URL + LONGEST_HEADERS)


class _Outbox:
    """Sends what all connections write in one turn of the loop at its end: waking the other side costs more than that.

    A fifth to a third more lookups a second were answered so, to clients on the same machine.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[_Gathering] = []

    def add(self, transport: _Gathering) -> None:
        """Send what this has gathered soon."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(transport)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            transport.send()


class _Gathering:
    """A connection's transport; a reply's head and its body, written one after the other, leave it as one."""

    def __init__(self, transport: Any, outbox: _Outbox) -> None:
        self._transport, self._outbox = transport, outbox
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send it in its turn."""
        if not self._parts:
            self._outbox.add(self)
        self._parts.append(data)

    def send(self) -> None:
        """Send what there is now."""
        parts, self._parts = self._parts, []
        if parts and not self.is_closing():
            self._transport.writelines(parts)

    def close(self) -> None:
        """End the connection when all is sent."""
        self.send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """An HTTP connection that wants a request's head whole and soon, and loses no request when the server ends."""

    _head = 0
    _in_head = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, and not for ever."""
        outbox = self.app_state.setdefault("outbox", _Outbox(self.loop))
        super().connection_made(_Gathering(transport, outbox))  # type: ignore[arg-type] # as much of one as it uses
        self._timer = self.loop.call_later(_PATIENCE, self._give_up)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head, self._head = False, 0
        self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Some of a request, or of several."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(_PATIENCE, self._give_up)
            if self._head > _LONGEST:
                self._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._stop_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Let the app say `Connection: close` from now on; close what is idle a little later."""
        front = self.app_state.get("front")
        if front is not None:
            front.draining = True
        self.loop.call_later(_GRACE, super().shutdown)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()
