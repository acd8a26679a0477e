"""A call as handlers, metrics and the access log see it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote

from prescore_api.service.auth import UNAUTHENTICATED, Caller
from prescore_api.service.request_ids import request_id, trace
from prescore_api.service.service import Service


class Call:
    """One call. `route` is the method's name, as `grpc_server_infer` for ModelInfer."""

    method = "GRPC"

    def __init__(self, service: Service, route: str, metadata: Any, peer: str) -> None:
        self.began = time.perf_counter()
        self.service = service
        self.route = route
        headers = {name: value for name, value in metadata or () if isinstance(value, str)}
        authorization = headers.get("authorization")
        self.authorization = authorization.encode() if authorization else None
        self.id = request_id(headers.get("x-request-id", "").encode())
        self.trace, self.parent = trace(headers.get("traceparent", "").encode())
        self.client = _address(peer)
        self.caller: Caller = UNAUTHENTICATED
        self.model: str | None = None
        self.version: int | None = None
        self.keys = self.found = 0


def _address(peer: str) -> tuple[str, int] | None:
    """Return host and port of `ipv4:127.0.0.1:50000` or `ipv6:%5B::1%5D:50000`; None for a Unix socket."""
    family, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    return (host.strip("[]"), int(port)) if family in ("ipv4", "ipv6") else None
