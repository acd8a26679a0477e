"""Connections as the server ends them: no request that reached one is lost when the server stops."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# A client that keeps its connection may be sending a request just when the server begins to end.
_GRACE = 0.5  # seconds


class Connection(HttpToolsProtocol):
    """An HTTP connection that takes one more request after the server has begun to end, and says it is the last."""

    def shutdown(self) -> None:
        """Let the app say `Connection: close` from now on; close what is idle a little later."""
        front = self.app_state.get("front")
        if front is not None:
            front.draining = True
        self.loop.call_later(_GRACE, super().shutdown)
