"""The operations of the Open Inference Protocol, which REST and gRPC share."""

from __future__ import annotations

from importlib.metadata import version as package_version
from types import ModuleType
from typing import Any

from prescore.errors import NotFound
from prescore_api.oip import live, table
from prescore_api.oip.call import Call
from prescore_api.oip.tensors import InferRequest, InferResponse

EXTENSIONS = ["binary_tensor_data"]


def server_metadata() -> dict[str, Any]:
    """Return the metadata of the server."""
    return {"name": "prescore", "version": package_version("prescore"), "extensions": EXTENSIONS}


async def model_metadata(call: Call, name: str, number: int | None) -> dict[str, Any]:
    """Return the metadata of a model, or of one of its versions."""
    kind, model = _find(call, name)
    content: dict[str, Any] = await kind.metadata(call, model, number)
    return content


async def require_model_ready(call: Call, name: str, number: int | None) -> None:
    """Raise the reason why a model does not answer."""
    kind, model = _find(call, name)
    await kind.require_ready(call, model, number)


async def infer(call: Call, name: str, number: int | None, request: InferRequest) -> InferResponse:
    """Answer a request: from the table of a model, or with its model file."""
    kind, model = _find(call, name)
    response: InferResponse = await kind.infer(call, model, number, request)
    return response


def version_number(text: str) -> int | None:
    """Return the version in a URL or a message; None for the published one. Raises NotFound."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) == 0:
        raise NotFound(f"{text[:60]!r} is not a version. Versions are numbers such as 3.")
    return int(text)


def _find(call: Call, name: str) -> tuple[ModuleType, str]:
    """Return what answers for a name, and the model that it stands for."""
    model = call.model = name.removesuffix(live.SUFFIX)
    return (live if model != name else table), model
