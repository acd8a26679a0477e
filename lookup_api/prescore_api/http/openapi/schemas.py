"""The JSON schemas of request and response bodies."""

from __future__ import annotations

from typing import Any

from prescore_api.service.live import MAX_ROWS
from prescore_api.service.lookup import MAX_KEYS

Node = dict[str, Any]
"""A part of the document."""
Schema = Node


def reference(name: str) -> Schema:
    """Return a reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(description: str, /, **properties: Schema) -> Schema:
    """Return the schema of an object with these properties, all of them required."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
    }


def _array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _nullable(schema: Schema, description: str) -> Schema:
    return {"anyOf": [schema, {"type": "null"}], "description": description}


def _typed(name: str, description: str = "") -> Schema:
    return {"type": name, "description": description} if description else {"type": name}


_STRING = _typed("string")
_INTEGER = _typed("integer")
_TIME = {"type": "string", "format": "date-time"}
_DATA_AS_OF = {**_TIME, "description": "the time that the inputs describe"}
_PUBLISHED_AT = _nullable(_TIME, "null for a version that was never published")
_TIMES: Schema = {
    "data_as_of": _DATA_AS_OF,
    "published_at": _PUBLISHED_AT,
    "age_seconds": _typed("number", "now - data_as_of, in seconds"),
    "stale": _typed("boolean", "whether the data is older than the model's max age"),
}
_VALUE = {"anyOf": [_typed(name) for name in ("string", "integer", "number", "boolean", "null")]}
_VALUES = {"type": "object", "additionalProperties": _VALUE}
_ELEMENT = {"anyOf": [_typed(name) for name in ("string", "integer", "number")]}
_PREDICTION = {"type": "object", "additionalProperties": {"anyOf": [*_VALUE["anyOf"], _array(_ELEMENT)]}}

_ANSWER = _object(
    "The prediction for one key, with its version and age.",
    model=_STRING,
    version=_INTEGER,
    key=_VALUES,
    found=_typed("boolean", "whether the version has the key"),
    prediction=_nullable(_PREDICTION, "the outputs by name; null if the key was not found"),
    **_TIMES,
)

_ANSWER["properties"] |= {
    "last_version": _typed(
        "integer", "only for a key that has vanished from a model with tombstones: the last version that had it"
    ),
    "last_data_as_of": {**_TIME, "description": "the time that the inputs of that version describe"},
}

_ANSWERS = _object(
    "One answer for each key, in the order of the request, all from one version, or from it and its canary.",
    answers=_array(reference("Answer")),
)

_KEYS = _object(
    "Keys by column name.",
    keys=_array(_VALUES, maxItems=MAX_KEYS),
)

_SCORE_ROWS = _object(
    "Rows with features, a key, or both.",
    rows=_array(
        {
            "type": "object",
            "properties": {"features": _VALUES, "key": _VALUES},
            "minProperties": 1,
            "additionalProperties": False,
        },
        maxItems=MAX_ROWS,
    ),
)

_REJECTION = _object(
    "Why a row has no prediction.",
    column=_nullable(_STRING, "the feature or output at fault"),
    reason=_STRING,
)

_SCORE_ANSWER = _object(
    "The prediction for one row, with its source, version and age.",
    model=_STRING,
    version=_INTEGER,
    source=_typed("string", "table or live"),
    key=_nullable(_VALUES, "null for a row without a key"),
    prediction=_nullable(_PREDICTION, "the outputs by name; null if the row was rejected"),
    rejected=_nullable(reference("Rejection"), "null if the row has a prediction"),
    **{**_TIMES, "data_as_of": {**_TIME, "description": "as in an answer; for live, when the row was scored"}},
)

_SCORE_ANSWERS = _object(
    "One answer for each row, in the order of the request, all from one version.",
    answers=_array(reference("ScoreAnswer")),
)

_COLUMN = _object(
    "A key column.",
    name=_STRING,
    type=_typed("string", "a Postgres type"),
    comment=_typed("string", "the description from the spec"),
)

_OUTPUT = _object(
    "An output column.",
    **_COLUMN["properties"],
    role=_typed("string", "output for a prediction, passthrough for a column copied from the inputs"),
)

_IN_MEMORY = _object(
    "What the server process that answered has in memory of a model with lookup.in_memory.",
    version=_nullable(_INTEGER, "null while lookups are answered from the database"),
    bytes=_INTEGER,
    refused=_nullable(_STRING, "why no version is in memory; null if one is"),
)

_CANARY = _object(
    "A version that is tried beside the published one.",
    version=_INTEGER,
    share=_typed("number", "the share of the keys that are answered from it, from 0 to 1"),
)

_VERSION = _object(
    "A retained version.",
    version=_INTEGER,
    state=_typed("string", "published, superseded, or checked if it was never published"),
    data_as_of=_DATA_AS_OF,
    published_at=_PUBLISHED_AT,
    rows=_INTEGER,
)

_MODEL_SUMMARY = _object(
    "A published model and its age.",
    model=_STRING,
    description=_STRING,
    version=_INTEGER,
    rows=_INTEGER,
    **{**_TIMES, "published_at": _TIME},
    max_age_seconds=_nullable(_typed("number"), "the model's max age; null if it has none"),
    held=_typed("boolean", "whether the model is on hold, so that runs do not publish"),
    canary=_nullable(reference("Canary"), "null for a model without a canary"),
    in_memory=_nullable(reference("InMemory"), "null for a model that is not configured to be in memory"),
)

_FEATURE = _object(
    "A feature of live answers.",
    name=_STRING,
    dtype=_typed("string", "such as float32, int64, bool or string"),
    nullable=_typed("boolean", "whether null is scored; otherwise it rejects the row"),
)

_LIVE = _object(
    "What live answers take.",
    features=_array(reference("Feature")),
    cache_seconds=_typed("number", "how long a server may repeat an answer for the same features"),
    runtime=_typed("string", "the release of ONNX Runtime that scored the table"),
    server_runtime=_nullable(_STRING, "the one with which this server scores; null if it has not loaded a model"),
)

_MODEL = _object(
    "A published model with its columns and versions.",
    **_MODEL_SUMMARY["properties"],
    live=_nullable(reference("Live"), "null for a model that does not allow live answers"),
    key=_array(reference("Column")),
    outputs=_array(reference("Output")),
    versions=_array(reference("Version"), description="versions that ?version= can select, newest first"),
)

_MODELS = _object(
    "The published models, ordered by name.",
    models=_array(reference("ModelSummary")),
)

_HEALTH = _object(
    "The state of the server.",
    status=_typed("string", "live or ready"),
)

_ERROR = _object(
    "The shape of every error.",
    error=_object(
        "What went wrong.",
        code=_typed("string", "for programs"),
        message=_typed("string", "for people"),
    ),
)

SCHEMAS: dict[str, Schema] = {
    "Answer": _ANSWER,
    "Answers": _ANSWERS,
    "Canary": _CANARY,
    "Column": _COLUMN,
    "Error": _ERROR,
    "Feature": _FEATURE,
    "Health": _HEALTH,
    "InMemory": _IN_MEMORY,
    "Keys": _KEYS,
    "Live": _LIVE,
    "Model": _MODEL,
    "ModelSummary": _MODEL_SUMMARY,
    "Models": _MODELS,
    "Output": _OUTPUT,
    "Rejection": _REJECTION,
    "ScoreAnswer": _SCORE_ANSWER,
    "ScoreAnswers": _SCORE_ANSWERS,
    "ScoreRows": _SCORE_ROWS,
    "Version": _VERSION,
}
