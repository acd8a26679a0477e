"""The operations of the Open Inference Protocol, which REST and gRPC share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version as package_version
from typing import Any, Protocol

from prescore.errors import NotFound, RequestInvalid, TooLarge
from prescore_api.oip import table
from prescore_api.oip.table import Rows, TensorDescription
from prescore_api.oip.tensors import InferRequest, InferResponse, Parameters, Tensor
from prescore_api.service.answers import Age
from prescore_api.service.auth import Caller
from prescore_api.service.lookup import MAX_KEYS, KeyColumns
from prescore_api.service.options import LookupOptions
from prescore_api.service.service import Service
from prescore_api.tables.version import TableVersion

EXTENSIONS = ["binary_tensor_data"]


class Call(Protocol):
    """A request as metrics and the access log see it."""

    service: Service
    caller: Caller
    model: str | None
    version: int | None
    keys: int
    found: int


def server_metadata() -> dict[str, Any]:
    """Return the metadata of the server."""
    return {"name": "prescore", "version": package_version("prescore"), "extensions": EXTENSIONS}


async def model_metadata(call: Call, model: str, number: int | None) -> dict[str, Any]:
    """Return the metadata of a model's version; raises Forbidden, NotFound or DatabaseUnavailable."""
    call.model = model
    version = await call.service.version(call.caller, model, LookupOptions(number))
    call.version = version.version
    description = await call.service.describe_model(call.caller, model)
    signature = table.signature(version)
    outputs = [output.description for output in signature.outputs.values()]
    return {
        "name": model,
        "versions": [str(row["version"]) for row in description["versions"]],
        "platform": table.PLATFORM,
        "inputs": _describe(signature.inputs),
        "outputs": _describe(outputs),
    }


async def require_model_ready(call: Call, model: str, number: int | None) -> None:
    """Raise the reason why lookups in a model cannot be answered: TooOld, for example."""
    call.model = model
    await call.service.require_model_ready(call.caller, model, LookupOptions(number))


async def infer(call: Call, model: str, number: int | None, request: InferRequest) -> InferResponse:
    """Look up the keys in a request's inputs, all in one version; raises as `Lookup.many`."""
    call.model = model
    call.caller.require(model)
    inputs = _by_name(request.inputs)
    count = call.keys = _count_keys(request.inputs)
    options = LookupOptions(number, _max_age(request.parameters))

    def parse(version: TableVersion) -> KeyColumns:
        return table.parse_keys(version, inputs)

    # Single keys are batched with those of concurrent requests.
    if count == 1:
        answer = await call.service.lookup.one(model, parse, options)
        version = answer.table_version
        values = answer.row[2:] or [None] * len(version.outputs)
        rows = Rows([answer.is_found], [[value] for value in values], answer.age)
    else:
        answers = await call.service.lookup.many(model, parse, options)
        version = answers.table_version
        columns = answers.outputs.to_lists(range(len(version.outputs)))
        rows = Rows([found is True for found in answers.found], columns, answers.age)
    call.version = version.version
    call.found = rows.found.count(True)
    selected = table.signature(version).select([output.name for output in request.outputs])
    return InferResponse(
        model=model,
        version=str(version.version),
        parameters=_clocks(version, rows.age),
        outputs=table.compute(selected, rows),
        id=request.id,
    )


def version_number(text: str) -> int | None:
    """Return the version in a URL or a message; None for the published one. Raises NotFound."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) == 0:
        raise NotFound(f"{text[:60]!r} is not a version. Versions are numbers such as 3.")
    return int(text)


def _describe(descriptions: Sequence[TensorDescription]) -> list[dict[str, Any]]:
    return [{"name": name, "datatype": kind.name, "shape": shape} for name, kind, shape in descriptions]


def _by_name(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    by_name = {tensor.name: tensor for tensor in inputs}
    if len(by_name) < len(inputs):
        raise RequestInvalid("An input is given more than once.")
    return by_name


def _count_keys(inputs: Sequence[Tensor]) -> int:
    """Return the number of rows, which all inputs share; raise RequestInvalid or TooLarge."""
    for tensor in inputs:
        if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
            raise RequestInvalid(
                f"Input {tensor.name!r} has the shape {list(tensor.shape)}. Send one key per row: [n] or [n, 1]."
            )
    counts = {tensor.name: tensor.shape[0] for tensor in inputs}
    if len(set(counts.values())) > 1:
        sizes = ", ".join(f"{name} has {count:,}" for name, count in counts.items())
        raise RequestInvalid(f"The inputs differ in their number of rows: {sizes}.")
    count = inputs[0].shape[0]
    if count > MAX_KEYS:
        raise TooLarge(f"The request has {count:,} keys; the limit is {MAX_KEYS:,} per request. Send several requests.")
    return count


def _max_age(parameters: Parameters) -> float | None:
    max_age = parameters.get("max_age")
    if max_age is None:
        return None
    if type(max_age) not in (int, float) or not 0 <= max_age < math.inf:
        raise RequestInvalid("The parameter max_age takes a number of seconds.")
    return float(max_age)


def _clocks(version: TableVersion, age: Age) -> dict[str, Any]:
    """Return what all rows share."""
    return {**table.signature(version).clocks, "age_seconds": round(age.seconds, 3)}
