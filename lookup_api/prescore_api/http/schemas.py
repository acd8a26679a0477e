"""The shapes of answers for the OpenAPI page; answers themselves are written without them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from prescore_api.service.lookup import MAX_KEYS

Value = str | int | float | bool | None


class Answer(BaseModel):
    """The prediction of one key, with the version it is from and how old that is."""

    model: str
    version: int
    key: dict[str, Value]
    found: bool = Field(description="false: the version has no such key")
    prediction: dict[str, Value] | None
    data_as_of: datetime = Field(description="the time that the inputs describe")
    published_at: datetime | None = Field(description="null for a version that was never published")
    age_seconds: float = Field(description="now - data_as_of")
    stale: bool = Field(description="older than the model's owner promised")


class Keys(BaseModel):
    """Keys by column name."""

    keys: list[dict[str, Value]] = Field(max_length=MAX_KEYS)


class Answers(BaseModel):
    """One answer a key, in the keys' order, all of one version."""

    answers: list[Answer]


class Column(BaseModel):
    """A column as its model's owner describes it."""

    name: str
    type: str = Field(description="a Postgres type")
    comment: str


class Output(Column):
    """A column of predictions."""

    role: str = Field(description="output, or passthrough for one that comes from the inputs")


class InMemoryVersion(BaseModel):
    """What this server process holds in memory of a model whose spec asks for it."""

    version: int | None = Field(description="null while it is read from the database")
    bytes: int
    refused: str | None = Field(description="why it is not held, when it is too large")


class Clocks(BaseModel):
    """A published model and how old it is."""

    model: str
    description: str
    version: int
    rows: int
    data_as_of: datetime
    published_at: datetime
    age_seconds: float
    max_age_seconds: float | None = Field(description="the promise: how old data_as_of may be")
    stale: bool
    held: bool = Field(description="nothing new is published until the owner releases it")
    in_memory: InMemoryVersion | None


class Version(BaseModel):
    """A version that is kept."""

    version: int
    state: str = Field(description="published, superseded, or checked: never published")
    data_as_of: datetime
    published_at: datetime | None
    rows: int


class Model(Clocks):
    """A published model with its columns."""

    key: list[Column]
    outputs: list[Output]
    versions: list[Version] = Field(description="those that may be asked for with ?version=, newest first")


class Models(BaseModel):
    """Every published model."""

    models: list[Clocks]


class Health(BaseModel):
    """It works."""

    status: str


class Fault(BaseModel):
    """What went wrong, for programs and for people."""

    code: str
    message: str


class Error(BaseModel):
    """Every error has this shape."""

    error: Fault
