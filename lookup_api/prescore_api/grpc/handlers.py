"""The methods of the protocol's service, each authenticated, measured and logged like a request over HTTP."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import grpc

from prescore.errors import DatabaseRefused, PrescoreError, Transient
from prescore_api.grpc import statuses, tensors
from prescore_api.grpc.call import Call
from prescore_api.grpc.messages import MESSAGES
from prescore_api.grpc.statuses import Status
from prescore_api.grpc.tensors import Message
from prescore_api.oip import inference
from prescore_api.service import metrics
from prescore_api.service.access_log import AccessLog
from prescore_api.service.service import Service

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
"""The service that Kubernetes probes. https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""
_SERVING, _NOT_SERVING = 1, 2

_log = logging.getLogger("prescore_api")


async def _server_live(_: Call, __: Message) -> Message:
    return MESSAGES["ServerLiveResponse"](live=True)


async def _server_ready(call: Call, _: Message) -> Message:
    try:
        call.service.require_ready()
    except PrescoreError:
        return MESSAGES["ServerReadyResponse"](ready=False)
    return MESSAGES["ServerReadyResponse"](ready=True)


async def _check(call: Call, _: Message) -> Message:
    try:
        call.service.require_ready()
    except PrescoreError:
        return MESSAGES["HealthCheckResponse"](status=_NOT_SERVING)
    return MESSAGES["HealthCheckResponse"](status=_SERVING)


async def _server_metadata(_: Call, __: Message) -> Message:
    return MESSAGES["ServerMetadataResponse"](**inference.server_metadata())


async def _model_ready(call: Call, request: Message) -> Message:
    try:
        await inference.require_model_ready(call, request.name, inference.version_number(request.version))
    except (Transient, DatabaseRefused):
        return MESSAGES["ModelReadyResponse"](ready=False)
    return MESSAGES["ModelReadyResponse"](ready=True)


async def _model_metadata(call: Call, request: Message) -> Message:
    metadata = await inference.model_metadata(call, request.name, inference.version_number(request.version))
    return MESSAGES["ModelMetadataResponse"](**metadata)


async def _model_infer(call: Call, request: Message) -> Message:
    number = inference.version_number(request.model_version)
    response = await inference.infer(call, request.model_name, number, tensors.parse(request))
    return tensors.render(response, raw=len(request.raw_input_contents) > 0)


class _Method(NamedTuple):
    """A method. `messages` is what the names of its messages begin with, its own name by default."""

    name: str
    answer: Callable[[Call, Message], Awaitable[Message]]
    open: bool = False
    messages: str = ""


_SERVICES = {
    SERVICE: (
        _Method("ServerLive", _server_live, open=True),
        _Method("ServerReady", _server_ready, open=True),
        _Method("ServerMetadata", _server_metadata),
        _Method("ModelReady", _model_ready),
        _Method("ModelMetadata", _model_metadata),
        _Method("ModelInfer", _model_infer),
    ),
    HEALTH: (_Method("Check", _check, open=True, messages="HealthCheck"),),
}


class Handlers:
    """Answers calls from a service. `access_log` is None without one."""

    def __init__(self, service: Service, access_log: AccessLog | None) -> None:
        self._service = service
        self._access_log = access_log

    def generic(self) -> list[grpc.GenericRpcHandler]:
        """Return them as a server takes them, by service."""
        return [
            grpc.method_handlers_generic_handler(service, {method.name: self._handler(method) for method in methods})
            for service, methods in _SERVICES.items()
        ]

    def _handler(self, method: _Method) -> grpc.RpcMethodHandler:
        messages = method.messages or method.name
        return grpc.unary_unary_rpc_method_handler(
            partial(self._handle, method),
            request_deserializer=MESSAGES[f"{messages}Request"].FromString,
            response_serializer=MESSAGES[f"{messages}Response"].SerializeToString,
        )

    async def _handle(self, method: _Method, request: Message, context: Any) -> Message:
        call = Call(self._service, f"grpc_{method.name}", context.invocation_metadata(), context.peer())
        response, status = await self._answer(method, call, request)
        trailer = [("x-request-id", call.id)]
        if status.retry_after is not None:
            trailer.append(("retry-after", status.retry_after))
        self._record(method, call, status, 0 if response is None else response.ByteSize())
        if response is None:
            await context.abort(status.code, status.message, tuple(trailer))
        context.set_trailing_metadata(tuple(trailer))
        return response

    async def _answer(self, method: _Method, call: Call, request: Message) -> tuple[Message | None, Status]:
        """Return the response to a call, or None and why there is none, whatever is raised meanwhile."""
        try:
            if not method.open:
                call.caller = await self._service.authenticate(call.authorization)
            return await method.answer(call, request), Status(grpc.StatusCode.OK, "")
        except PrescoreError as error:
            return None, statuses.of_error(error, call.id, call.model)
        except Exception:
            _log.exception("internal error in request %s", call.id)
            return None, statuses.internal(call.id)

    def _record(self, method: _Method, call: Call, status: Status, size: int) -> None:
        seconds = time.perf_counter() - call.began
        counter, histogram = metrics.grpc_metrics(method.name, status.code.name)
        counter.inc()
        histogram.observe(seconds)
        metrics.count_lookups(call.model, call.version, call.keys, call.found)
        if self._access_log is not None:
            number, _ = status.code.value
            failed_login = status.code is grpc.StatusCode.UNAUTHENTICATED
            self._access_log.add(call, number, size, seconds, failed_login=failed_login)
