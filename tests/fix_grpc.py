"""A client of the Open Inference Protocol over gRPC that is made of the server's own messages."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc

from prescore_api.grpc.handlers import SERVICE
from prescore_api.grpc.messages import MESSAGES


def free_port() -> int:
    """Return a port that no program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class GrpcClient:
    """Calls methods by name; fields of the request are arguments."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.metadata: dict[str, str] = {}

    def call(self, method: str, **fields: Any) -> Any:
        """Return a method's response; raise grpc.RpcError."""
        return self.call_with_trailer(method, **fields)[0]

    def is_serving(self) -> bool:
        """Return what the health service says, which is of another name than the others."""
        send = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=MESSAGES["HealthCheckRequest"].SerializeToString,
            response_deserializer=MESSAGES["HealthCheckResponse"].FromString,
        )
        return bool(send(MESSAGES["HealthCheckRequest"](), timeout=30).status == 1)

    def call_with_trailer(self, method: str, **fields: Any) -> tuple[Any, Mapping[str, str]]:
        """Return a method's response and its trailing metadata; raise grpc.RpcError."""
        send = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=MESSAGES[f"{method}Request"].SerializeToString,
            response_deserializer=MESSAGES[f"{method}Response"].FromString,
        )
        message = MESSAGES[f"{method}Request"](**fields)
        response, call = send.with_call(message, metadata=tuple(self.metadata.items()), timeout=30)
        return response, dict(call.trailing_metadata())


@contextmanager
def grpc_client(target: str, credentials: grpc.ChannelCredentials | None = None) -> Iterator[GrpcClient]:
    """Open a client of a server."""
    options = [("grpc.enable_retries", 0)]
    channel = (
        grpc.insecure_channel(target, options)
        if credentials is None
        else grpc.secure_channel(target, credentials, options)
    )
    with channel:
        yield GrpcClient(channel)
