"""Serve the protocol over gRPC, beside HTTP and in the same event loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
from grpc import aio

from prescore_api.grpc.handlers import Handlers
from prescore_api.service.access_log import AccessLog
from prescore_api.service.service import Service

LARGEST_MESSAGE = 8 << 20
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class GrpcAddress:
    """Where to listen, and with which certificate. Several processes may listen at one address."""

    host: str
    port: int
    tls_cert: str | None = None
    tls_key: str | None = None

    @property
    def target(self) -> str:
        """The address as gRPC writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class GrpcServer:
    """A server of a service, which is running. An async context manager: leaving it answers the calls in progress."""

    def __init__(self, service: Service, address: GrpcAddress, access_log: AccessLog | None) -> None:
        limits = [("grpc.max_receive_message_length", LARGEST_MESSAGE), ("grpc.so_reuseport", 1)]
        self._server = aio.server(options=limits)
        self._server.add_generic_rpc_handlers(Handlers(service, access_log).generic())
        self._address = address

    async def __aenter__(self) -> Self:
        where = self._address.target
        if self._address.tls_cert and self._address.tls_key:
            key, certificate = (Path(name).read_bytes() for name in (self._address.tls_key, self._address.tls_cert))
            self._server.add_secure_port(where, grpc.ssl_server_credentials([(key, certificate)]))
        else:
            self._server.add_insecure_port(where)
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(_GRACE_SECONDS)
