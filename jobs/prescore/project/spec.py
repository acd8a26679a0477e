"""The spec of a model: what `specs/<model>.toml` may say, and what it means."""

from __future__ import annotations

import hashlib
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, model_validator

from prescore.catalog.catalog import Column
from prescore.catalog.types import KEY_TYPES, OUTPUT_TYPES, PASSTHROUGH_TYPES
from prescore.errors import NotFound, SpecInvalid
from prescore.project import consistency, validation_messages
from prescore.project.fields import (
    Clock,
    ColumnName,
    Duration,
    Expectation,
    Feed,
    Indexes,
    KeyColumnName,
    Limit,
    Name,
    Zone,
)

if TYPE_CHECKING:
    KeyType = str
    OutputType = str
    PassthroughType = str
else:
    KeyType = Literal[KEY_TYPES]
    OutputType = Literal[OUTPUT_TYPES]
    PassthroughType = Literal[PASSTHROUGH_TYPES]


class Section(BaseModel):
    """A table of the spec; a key that it does not know is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataAsOf(Section):
    """Where the time that the inputs describe comes from: a column's maximum, or a query that gives one value."""

    column: str | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.column is None) == (self.query is None):
            raise ValueError("give either column or query")
        return self


class Domain(Section):
    """The bounded set of inputs."""

    query: str = Field(description="SQL file, relative to the project")
    source: str = Field("duckdb", description='"duckdb", or a name under [sources] in prescore.toml')
    data_as_of: DataAsOf | None = Field(None, description="default: the snapshot's start")


class Onnx(Section):
    """The ONNX file and what its inputs are fed with."""

    file: str = Field(description="ONNX file, relative to the project")
    inputs: dict[str, Feed] = Field(
        min_length=1, description="input name = the column that fills it, or the columns of a matrix in order"
    )
    allow_precision_loss: frozenset[str] = Field(
        frozenset(), description="features that may lose digits on their way into the model"
    )
    nullable: frozenset[str] = Field(frozenset(), description="features whose NULLs reach the model as NaN")

    @field_serializer("allow_precision_loss", "nullable")
    def _in_order(self, names: frozenset[str]) -> list[str]:
        # A set's own order differs from process to process, and so would the fingerprint.
        return sorted(names)

    @property
    def features(self) -> list[str]:
        """Feature columns, each once, in the order of the inputs."""
        return list(dict.fromkeys(column for columns in self.inputs.values() for column in columns))


class Output(Section):
    """One column of predictions."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str = Field(alias="from", description="the ONNX output that it comes from")
    index: int | None = Field(None, ge=0, description="which column of that output, where it has several")
    type: OutputType
    comment: str = ""


class Check(BaseModel):
    """A Great Expectations expectation on the staged table; further keys are its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    expect: Expectation = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="its name in snake case, without the leading expect_"
    )
    name: str | None = Field(None, description="what messages call it")

    @property
    def title(self) -> str:
        """What messages call it."""
        column = (self.model_extra or {}).get("column")
        return self.name or (f"{self.expect}({column})" if column else self.expect)


class Schedule(Section):
    """When Airflow runs it."""

    cron: str | None = Field(None, description='five fields, such as "0 5 * * *"')
    timezone: Zone = "UTC"
    assets: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="names or URIs of Airflow assets: it runs when all were updated"
    )
    published_by: Clock | None = Field(None, description="by when a version is to be published, such as 06:00:00")

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.cron is None and not self.assets:
            raise ValueError("give cron, assets, or both")
        if self.cron is not None and not re.fullmatch(r"@\w+|(\S+\s+){4}\S+", self.cron):
            raise ValueError('cron has five fields, such as "0 5 * * *"')
        return self


class Freshness(Section):
    """What the owner promises of the age of the inputs."""

    max_age: Duration | None = None
    when_stale: Literal["serve", "refuse"] = Field(
        "serve", description="what the lookup API does with what is older: serve it as stale, or refuse with 503"
    )


class Lookup(Section):
    """How the lookup API answers."""

    in_memory: bool = Field(False, description="hold the published version in the API's memory")
    cache: Duration = Field(
        default_factory=timedelta,
        description="how long an answer may be used again without asking whether it still holds",
        json_schema_extra={"default": "0s"},
    )


class Retention(Section):
    """What is kept when newer versions come."""

    versions: int = Field(5, ge=1, description="published and superseded versions that are kept")
    # A transaction that began before a publication goes on with the version from before.
    grace: Duration = Field(
        default_factory=lambda: timedelta(minutes=10),
        description="how long a superseded version is kept in any case",
        json_schema_extra={"default": "10m"},
    )
    candidates: Duration = Field(
        default_factory=lambda: timedelta(days=3),
        description="how long a refused, withdrawn or never published version is kept for inspection",
        json_schema_extra={"default": "3d"},
    )
    backfills: Duration = Field(
        default_factory=lambda: timedelta(days=30),
        description="how long a version is kept that was made for a time before that of the published one",
        json_schema_extra={"default": "30d"},
    )


class Grants(Section):
    """Who may read the view."""

    select: tuple[str, ...] = ()


class Spec(Section):
    """A whole spec. `model` is the file's name without .toml."""

    model: Name
    description: str = ""
    domain: Domain
    key: dict[KeyColumnName, KeyType] = Field(min_length=1)
    passthrough: dict[ColumnName, PassthroughType] = {}
    onnx: Onnx
    outputs: dict[ColumnName, Output] = Field(min_length=1)
    comments: dict[str, str] = Field({}, description="comments on key and passed-through columns")
    indexes: Indexes = Field((), description="secondary indexes, each a list of columns")
    checks: tuple[Check, ...] = ()
    max_rejects: Limit = Field(0, description="how many rows may be set aside: so many, or a fraction of the domain")
    schedule: Schedule | None = None
    freshness: Freshness = Freshness()
    lookup: Lookup = Lookup()
    retention: Retention = Retention()
    grants: Grants = Grants()

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        if wrong := consistency.errors(self.model_dump(by_alias=True)):
            raise ValueError("; ".join(wrong))
        return self

    @property
    def key_columns(self) -> list[Column]:
        """Key columns in order, as the catalog describes them."""
        return [self._column(n, t, "key") for n, t in self.key.items()]

    @property
    def output_columns(self) -> list[Column]:
        """Outputs, then passed-through columns, as the catalog describes them."""
        outputs = [Column(name=n, type=o.type, comment=o.comment, role="output") for n, o in self.outputs.items()]
        return outputs + [self._column(n, t, "passthrough") for n, t in self.passthrough.items()]

    def _column(self, name: str, kind: str, role: str) -> Column:
        return Column(name=name, type=kind, comment=self.comments.get(name, ""), role=role)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the table's content: not of schedules, checks, promises and comments."""
        parts = {"domain", "key", "passthrough", "onnx", "outputs", "indexes"}
        return _hash(self.model_dump_json(include=parts, exclude={"outputs": {"__all__": {"comment"}}}))

    @property
    def checks_fingerprint(self) -> str:
        """SHA-256 of what the spec asks of a version before it may be published."""
        return _hash(self.model_dump_json(include={"checks", "max_rejects"}))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path) -> Spec:
    """Read a spec; raises NotFound when there is none, SpecInvalid with everything that is wrong at once."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no spec {path}. `prescore init {path.stem}` writes one to start from.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"{path} is not readable as TOML: {error}.") from error
    if "model" in content:
        raise SpecInvalid(f"{path}: a model has the name of its file, {path.stem}. Leave the key model out.")
    try:
        return Spec.model_validate({**content, "model": path.stem})
    except ValidationError as error:
        told = validation_messages.lines(error, Spec, "docs/reference/spec.md") + [
            f"  {f}" for f in consistency.errors(content)
        ]
        raise SpecInvalid(f"{path} does not hold together:\n" + "\n".join(told)) from error


def json_schema() -> dict[str, Any]:
    """The JSON schema of a spec file, for editors."""
    schema = Spec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "prescore spec"
    schema["required"].remove("model")
    del schema["properties"]["model"]
    return schema
