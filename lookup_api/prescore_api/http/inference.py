"""The endpoints under /v2: the Open Inference Protocol over REST."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import unquote

import orjson

from prescore.errors import NotFound
from prescore_api.http.request import Request
from prescore_api.http.response import JSON, NO_STORE, VARY, Header, Response, json
from prescore_api.oip import inference, json_form
from prescore_api.service.options import refuse_all

_LENGTH_HEADER = json_form.LENGTH_HEADER.lower().encode()
_BINARY: Header = (b"content-type", b"application/octet-stream")
_V1_VERBS = (":predict", ":explain")


async def server_metadata(_: Request) -> Response:
    """Return the metadata of the server."""
    return json(inference.server_metadata())


async def live(_: Request) -> Response:
    """Answer as long as the process serves requests."""
    return json({"live": True})


async def ready(request: Request) -> Response:
    """Answer 200 if lookups can be answered; raises DatabaseUnavailable, DatabaseRefused or Transient if not."""
    request.service.require_ready()
    return json({"ready": True})


async def model_metadata(request: Request) -> Response:
    """Return the metadata of a model, or of one of its versions."""
    model, number = _target(request)
    return json(await inference.model_metadata(request, model, number))


async def model_ready(request: Request) -> Response:
    """Answer 200 if lookups in a model are answered; raises the reason why not."""
    model, number = _target(request)
    await inference.require_model_ready(request, model, number)
    return json({"name": model, "ready": True})


async def infer(request: Request) -> Response:
    """Look up the keys in the input tensors."""
    model, number = _target(request)
    header = request.headers.get(_LENGTH_HEADER)
    sent = json_form.parse(await request.body(), header.decode("latin-1") if header else None)
    response = await inference.infer(request, model, number, sent)
    body = json_form.render(response, sent)
    if body.json_length is None:
        return Response(200, body.content, [JSON, VARY, NO_STORE])
    length: Header = (_LENGTH_HEADER, b"%d" % body.json_length)
    return Response(200, body.content, [_BINARY, length, VARY, NO_STORE])


async def statistics(_: Request) -> Response:
    """Refuse an extension of Triton whose path looks like that of a model."""
    raise NotFound("prescore has no statistics of the kind that Triton has. GET /metrics has Prometheus metrics.")


def is_path(path: str) -> bool:
    """Return whether a path is the protocol's, so that errors have its shape, too."""
    return path == "/v2" or path.startswith("/v2/") or path.endswith(_V1_VERBS)


def error(response: Response) -> Response:
    """Return an error in the protocol's shape, {"error": text}. A mistake in a request is 400 there, not 422."""
    message = orjson.loads(response.body)["error"]["message"]
    is_mistake = response.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return Response(400 if is_mistake else response.status, orjson.dumps({"error": message}), response.headers)


def require_version_2(path: str) -> None:
    """Raise NotFound for a path of version 1 of the protocol, which the KServe client speaks by default."""
    if path.startswith("/v1/models/") and path.endswith(_V1_VERBS):
        model = path.removeprefix("/v1/models/").rpartition(":")[0]
        raise NotFound(
            f"This server speaks version 2 of the protocol, at /v2/models/{model}/infer. For a KServe client: "
            "RESTConfig(protocol='v2')."
        )


def nothing_at(path: str) -> str:
    """Return the message for a path that does not exist."""
    if not is_path(path):
        return f"There is nothing at {path}. See /docs for the endpoints."
    return (
        f"There is nothing at {path}. This server has the Open Inference Protocol with binary tensors, and none of "
        "Triton's other extensions: GET /v2/models/{model}, GET /v2/models/{model}/ready and "
        "POST /v2/models/{model}/infer."
    )


def _target(request: Request) -> tuple[str, int | None]:
    """Return the model and the version in the path. Names of models need no escapes, and others do not exist."""
    if request.query:
        refuse_all(request.parameters())
    model, *version = request.path_values
    if "%" in model:
        model = unquote(model)
    return model, inference.version_number(version[0]) if version else None
