"""A model file as a model of the protocol, under the name `NAME.live`: features are inputs, outputs are outputs.

A row that cannot be scored is rejected with its reason, and the others are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from prescore.errors import RequestInvalid, Transient
from prescore_api.oip import outputs
from prescore_api.oip.call import Call
from prescore_api.oip.datatypes import DATATYPES, Datatype
from prescore_api.oip.outputs import Outputs, Rows
from prescore_api.oip.tensors import (
    InferRequest,
    InferResponse,
    Tensor,
    TensorDescription,
    count_rows,
    describe,
    inputs_by_name,
    listed,
)
from prescore_api.service.live import Features, LiveAnswers, LiveModel

SUFFIX = ".live"
"""How the name ends under which a model is scored. No model's own name has a point."""
_FLAGS = {"rejected": "BOOL", "rejected.reason": "BYTES"}
_NAMES = {
    "bool": "BOOL",
    "string": "BYTES",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
}
_NUMBERS = ("int", "float")


async def metadata(call: Call, model: str, number: int | None) -> dict[str, Any]:
    """Return the metadata of a model that is scored; raises Forbidden, NotFound, NotAllowed or LiveUnavailable."""
    call.caller.require(model)
    live = await call.service.live.describe(model, number)
    version = call.version = live.table_version.version
    return {
        "name": model + SUFFIX,
        "versions": [str(version)],
        "platform": "prescore_live",
        "inputs": describe(_inputs(live)),
        "outputs": describe(Outputs(live.outputs, _FLAGS).descriptions),
    }


async def require_ready(call: Call, model: str, number: int | None) -> None:
    """Raise the reason why rows cannot be scored: LiveUnavailable, for example."""
    call.caller.require(model)
    await call.service.live.describe(model, number)
    if call.service.draining:
        raise Transient("The server is shutting down.")


async def infer(call: Call, model: str, number: int | None, request: InferRequest) -> InferResponse:
    """Score the features in a request's inputs, all with one version; raises as `LiveScoring.score`."""
    call.caller.require(model)
    inputs = inputs_by_name(request)
    count = count_rows(request)

    def parse(live: LiveModel) -> Features:
        return _parse_features(live, inputs, count)

    answers = await call.service.live.score(model, parse, number)
    version = answers.model.table_version
    call.version = version.version
    names = [output.name for output in request.outputs]
    _require_flag(answers, names)
    selected = Outputs(answers.model.outputs, _FLAGS).select(names)
    scored_at = min(answers.scored_at, default=call.service.now())
    return InferResponse(
        model=model + SUFFIX,
        version=str(version.version),
        parameters={
            "source": "live",
            "version": version.version,
            "data_as_of": datetime.fromtimestamp(scored_at, UTC).isoformat(),
            "age_seconds": round(max(call.service.now() - scored_at, 0.0), 3),
        },
        outputs=outputs.compute(selected, _rows(answers, count)),
        id=request.id,
    )


def _inputs(live: LiveModel) -> list[TensorDescription]:
    return [TensorDescription(name, _datatype(dtype), (-1,)) for name, dtype in live.features.items()]


def _datatype(dtype: str) -> Datatype:
    return DATATYPES[_NAMES[dtype]]


def _parse_features(live: LiveModel, inputs: Mapping[str, Tensor], count: int) -> Features:
    """Return the features in a request's inputs; raise RequestInvalid."""
    expected = _inputs(live)
    if inputs.keys() != {description.name for description in expected}:
        sent = ", ".join(inputs)
        wanted = listed(expected)
        raise RequestInvalid(f"The request has the inputs {sent}. Send the features of the model: {wanted}.")
    return Features({each.name: _values(each, inputs[each.name]) for each in expected}, count)


def _values(description: TensorDescription, tensor: Tensor) -> Sequence[Any] | pa.Array:
    """Return the values of a feature: of its own datatype as they are, other numbers for an exact conversion."""
    sent, wanted = tensor.datatype, description.datatype
    if sent.kind != wanted.kind and not (sent.kind in _NUMBERS and wanted.kind in _NUMBERS):
        raise RequestInvalid(
            f"Input {tensor.name!r} has the datatype {sent.name}, and this feature takes {wanted.name}."
        )
    if isinstance(tensor.values, list):
        return tensor.values
    if sent.name == wanted.name:
        return pa.array(tensor.values)
    return tensor.values.tolist()


def _require_flag(answers: LiveAnswers, names: Sequence[str]) -> None:
    """Raise RequestInvalid if a row was rejected and the response would not say so: zeros look like predictions."""
    if answers.rejections and names and "rejected" not in names:
        number, rejection = min(answers.rejections.items())
        raise RequestInvalid(
            f"Row {number} cannot be scored: {rejection.reason} To have the other rows scored, request the output "
            "rejected, too."
        )


def _rows(answers: LiveAnswers, count: int) -> Rows:
    rejections = answers.rejections
    scored = [number not in rejections for number in range(count)]
    reasons = [rejections[number].reason if number in rejections else "" for number in range(count)]
    return Rows(
        scored,
        [answers.predictions[column["name"]] for column in answers.model.outputs],
        {"rejected": [not is_scored for is_scored in scored], "rejected.reason": reasons},
    )
