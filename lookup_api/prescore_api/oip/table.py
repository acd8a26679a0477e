"""A version's table as a model of the protocol: keys are inputs, columns are outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from prescore.catalog import keys
from prescore.errors import KeyInvalid, RequestInvalid
from prescore_api.oip import outputs
from prescore_api.oip.call import Call
from prescore_api.oip.outputs import Outputs, Rows
from prescore_api.oip.tensors import (
    InferRequest,
    InferResponse,
    Parameters,
    Tensor,
    TensorDescription,
    count_rows,
    describe,
    inputs_by_name,
    listed,
)
from prescore_api.service.answers import Age, Answer, Answers
from prescore_api.service.lookup import KeyColumns
from prescore_api.service.options import DEFAULTS, LookupOptions
from prescore_api.tables.version import TableVersion

_FLAGS = {"found": "BOOL", "stale": "BOOL"}
_TOMBSTONES = {"last_version": "INT32"}


class Signature:
    """The tensors of a version: `inputs` in the order of the key, and `outputs`.

    `clocks` are the parameters that never change. A version that was never published has no `published_at`.
    """

    def __init__(self, version: TableVersion) -> None:
        self.inputs = [
            TensorDescription(column["name"], outputs.datatype(column["type"]), (-1,)) for column in version.key
        ]
        self.input_names = frozenset(description.name for description in self.inputs)
        self.outputs = Outputs(version.outputs, _FLAGS | _TOMBSTONES if version.row["tombstones"] else _FLAGS)
        data_as_of, published_at = version.row["data_as_of"], version.row["published_at"]
        self.clocks: dict[str, Any] = {"source": "table", "version": version.version}
        self.clocks["data_as_of"] = data_as_of.isoformat()
        if published_at is not None:
            self.clocks["published_at"] = published_at.isoformat()


_signatures: WeakKeyDictionary[TableVersion, Signature] = WeakKeyDictionary()


def signature(version: TableVersion) -> Signature:
    """Return the tensors of a version."""
    found = _signatures.get(version)
    if found is None:
        found = _signatures[version] = Signature(version)
    return found


async def metadata(call: Call, model: str, number: int | None) -> dict[str, Any]:
    """Return the metadata of a model's version; raises Forbidden, NotFound or DatabaseUnavailable."""
    version = await call.service.version(call.caller, model, LookupOptions(number))
    call.version = version.version
    description = await call.service.describe_model(call.caller, model)
    tensors = signature(version)
    return {
        "name": model,
        "versions": [str(row["version"]) for row in description["versions"]],
        "platform": "prescore_table",
        "inputs": describe(tensors.inputs),
        "outputs": describe(tensors.outputs.descriptions),
    }


async def require_ready(call: Call, model: str, number: int | None) -> None:
    """Raise the reason why lookups in a model cannot be answered: TooOld, for example."""
    await call.service.require_model_ready(call.caller, model, LookupOptions(number))


async def infer(call: Call, model: str, number: int | None, request: InferRequest) -> InferResponse:
    """Look up the keys in a request's inputs, all in one version; raises as `Lookup.many`."""
    call.caller.require(model)
    inputs = inputs_by_name(request)
    count = call.keys = count_rows(request)
    options = _options(number, request.parameters)

    def parse(version: TableVersion) -> KeyColumns:
        return _parse_keys(version, inputs)

    # Single keys are batched with those of concurrent requests.
    if count == 1:
        answers = _of_one(await call.service.lookup.one(model, parse, options))
    else:
        answers = _of_many(await call.service.lookup.many(model, parse, options))
    version = answers.version
    found = answers.found
    call.version = version.version
    call.found = found.count(True)
    flags: dict[str, list[Any]] = {"found": found, "stale": answers.stale}
    if version.row["tombstones"] and _wants(request, "last_version"):
        flags["last_version"] = await _last_versions(call, version, answers.key, found)
    rows = Rows(found, answers.columns, flags)
    return _response(model, version, answers.age, rows, request)


class _Answers(NamedTuple):
    """The answers to the keys of a request: columns of values, and `age` is that of the oldest one."""

    version: TableVersion
    age: Age
    key: Sequence[Sequence[Any]]
    found: list[bool]
    stale: list[bool]
    columns: Sequence[Sequence[Any]]


def _of_one(answer: Answer) -> _Answers:
    version = answer.table_version
    values = answer.row[2:] or [None] * len(version.outputs)
    columns = [[value] for value in values]
    return _Answers(version, answer.age, answer.key, [answer.is_found], [answer.age.stale], columns)


def _of_many(answers: Answers) -> _Answers:
    version = answers.table_version
    age = answers.age
    found = [is_found is True for is_found in answers.found]
    stale = [age.stale] * len(found)
    for position, own in answers.kept_ages.items():
        stale[position] = own.stale
        age = max(age, own, key=attrgetter("seconds"))
    columns = answers.outputs.to_lists(range(len(version.outputs)))
    return _Answers(version, age, answers.keys, found, stale, columns)


def _wants(request: InferRequest, output: str) -> bool:
    return not request.outputs or any(requested.name == output for requested in request.outputs)


async def _last_versions(
    call: Call, version: TableVersion, key: Sequence[Sequence[Any]], found: Sequence[bool]
) -> list[int]:
    """Return the last version that had each key which was not found, 0 for all other keys."""
    last = [0] * len(found)
    missing = [position for position, is_found in enumerate(found) if not is_found]
    if missing:
        for position, tombstone in (await call.service.tombstones.find(version, key, missing)).items():
            last[position] = tombstone.version
    return last


def _response(model: str, version: TableVersion, age: Age, rows: Rows, request: InferRequest) -> InferResponse:
    """Return the rows as tensors; `age` is that of the oldest one."""
    tensors = signature(version)
    selected = tensors.outputs.select([output.name for output in request.outputs])
    return InferResponse(
        model=model,
        version=str(version.version),
        parameters={**tensors.clocks, **_own_time(age), "age_seconds": round(age.seconds, 3)},
        outputs=outputs.compute(selected, rows),
        id=request.id,
    )


def _own_time(age: Age) -> dict[str, Any]:
    kept = age.kept_data_as_of
    return {} if kept is None else {"data_as_of": kept.isoformat()}


def _parse_keys(version: TableVersion, inputs: Mapping[str, Tensor]) -> list[list[Any]]:
    """Return the keys in a request's inputs as columns of Python values, in the order of the key; raise KeyInvalid."""
    tensors = signature(version)
    expected = tensors.inputs
    if inputs.keys() != tensors.input_names:
        sent = ", ".join(inputs)
        wanted = listed(expected)
        raise KeyInvalid(f"The request has the inputs {sent}. Send the key of {version.model}: {wanted}.")
    columns = [_key_values(description, inputs[description.name]) for description in expected]
    # Ranges of integers and the formats of text, times and UUIDs are checked as for JSON under /v1.
    return keys.parse_columns(version.key, columns)


def _key_values(description: TensorDescription, tensor: Tensor) -> list[Any]:
    """Return the values of a key's input; any integer datatype will do, because values are compared, not bytes."""
    if tensor.datatype.kind != description.datatype.kind:
        raise KeyInvalid(
            f"Input {tensor.name!r} has the datatype {tensor.datatype.name}, and this key takes "
            f"{description.datatype.name}."
        )
    values = tensor.values
    return values if isinstance(values, list) else values.tolist()


def _options(number: int | None, parameters: Parameters) -> LookupOptions:
    if number is None and not parameters:
        return DEFAULTS
    return LookupOptions(number, _max_age(parameters))


def _max_age(parameters: Parameters) -> float | None:
    max_age = parameters.get("max_age")
    if max_age is None:
        return None
    if type(max_age) not in (int, float) or not 0 <= max_age < math.inf:
        raise RequestInvalid("The parameter max_age takes a number of seconds.")
    return float(max_age)
