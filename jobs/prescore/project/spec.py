"""The spec of a model, `specs/<model>.toml`: its sections, keys and types."""

from __future__ import annotations

import hashlib
import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_serializer,
    model_validator,
)

from prescore.catalog.catalog import Column
from prescore.catalog.naming import KEPT_CLOCK
from prescore.catalog.types import KEY_TYPES, OUTPUT_TYPES, PASSTHROUGH_TYPES
from prescore.project import consistency
from prescore.project.fields import (
    BY_NAME,
    ClassLabel,
    Clock,
    ColumnName,
    Columns,
    Duration,
    Expectation,
    Indexes,
    Inputs,
    KeyColumnName,
    Limit,
    Name,
    ParameterName,
    Tolerance,
    Zone,
)
from prescore.project.limits import ComparisonLimits
from prescore.project.section import Section

if TYPE_CHECKING:
    KeyType = str
    OutputType = str
    PassthroughType = str
else:
    KeyType = Literal[KEY_TYPES]
    OutputType = Literal[OUTPUT_TYPES]
    PassthroughType = Literal[PASSTHROUGH_TYPES]


_CONTENT = {"domain", "key", "passthrough", "onnx", "outputs", "indexes", "vanished"}
"""The sections that decide the content of a version's table."""


class DataAsOf(Section):
    """The time that the inputs describe: the maximum of a column, or the result of a query with one value."""

    column: str | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.column is None) == (self.query is None):
            raise ValueError("must have either column or query, and not both")
        return self


Parameter = StrictStr | StrictBool | StrictInt | StrictFloat | datetime | date
"""The value of a parameter of the domain query."""


class Domain(Section):
    """The bounded set of inputs that predictions are made for."""

    query: str = Field(description="path of the SQL file, relative to the project")
    source: str = Field(
        "duckdb", description='"duckdb" for files, or the name of a database under [sources] in prescore.toml'
    )
    parameters: dict[ParameterName, Parameter] = Field(
        {}, description='values for the parameters of the query: country = "DE" for $country'
    )
    unchanged_if: str | None = Field(
        None,
        description="a query with one value: while it is the same, the domain has not changed, and an incremental run "
        "publishes the served predictions with new times",
    )
    data_as_of: DataAsOf | None = Field(
        None, description="the time that the inputs describe; by default, the start of the snapshot"
    )


class Examples(Section):
    """Example rows with the outputs that the training code computed, which the model must reproduce."""

    file: str = Field(description="path of the Parquet file, relative to the project")
    columns: dict[str, str] = Field(
        {},
        description="for an output, the column of the file that has its values; by default the one with its name",
    )
    tolerance: dict[str, Tolerance] = Field(
        {},
        description="for an output that is a float, how far it may be from its example, as a fraction of its size",
    )


class Onnx(Section):
    """The ONNX file, and the columns that fill its inputs."""

    file: str = Field(description="path of the ONNX file, relative to the project")
    inputs: Inputs = Field(
        description="for each input, the column that fills it, or the columns of a matrix in order; a list alone is "
        'for the only input, and "by name" fills each input from the column of its name',
    )
    examples: Examples | None = Field(None, description="example rows that the model must reproduce")
    allow_precision_loss: frozenset[str] = Field(
        frozenset(),
        description="features that may lose digits when they are converted to the type of the model's input",
    )
    nullable: frozenset[str] = Field(
        frozenset(),
        description="features whose NULLs reach the model as NaN; a NULL in another feature rejects the row",
    )
    batch_rows: StrictInt | None = Field(
        None, ge=1, description="how many rows the model scores in one call; by default as many as its weights allow"
    )
    allow_batch_dependence: StrictBool = Field(
        False, description="accept a model whose score of a row depends on the rows that are scored with it"
    )

    @field_serializer("allow_precision_loss", "nullable")
    def _sort(self, names: frozenset[str]) -> list[str]:
        # The order of a set differs between processes, and the fingerprint must not.
        return sorted(names)


class Output(Section):
    """A column of predictions."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str | None = Field(
        None,
        alias="from",
        description="the output of the model that the column comes from, by default the only one; "
        "without [onnx] the column of the domain, by default the one of the same name",
    )
    index: StrictInt | None = Field(
        None, ge=0, description="the column of that output, counted from 0, if it has several"
    )
    label: ClassLabel | None = Field(
        None, alias="class", description="the class whose column of that output is meant, instead of its index"
    )
    columns: Columns | None = Field(
        None,
        description="for an array: its columns of that output, counted from 0, or their classes, in this order; by "
        "default, all",
    )
    type: OutputType
    comment: str = ""

    @model_validator(mode="after")
    def _require_matching_selection(self) -> Self:
        if fault := consistency.selection_fault(self.type, self.index, self.label, self.columns):
            raise ValueError(fault)
        return self


class Vanished(Section):
    """What becomes of the prediction of a key that the domain does not have any more."""

    policy: Literal["drop", "keep", "tombstone"] = Field(
        "drop",
        description="drop: the key is not found; keep: its last prediction stays, with the age of its own inputs; "
        "tombstone: the key is not found, and the answer has the last version with it",
    )
    keep_for: Duration | None = Field(
        None,
        description="for keep: rows whose inputs are older than those of the version by more than this are dropped",
    )

    @model_validator(mode="after")
    def _require_keep(self) -> Self:
        if self.keep_for is not None and self.policy != "keep":
            raise ValueError('keep_for needs policy = "keep"')
        return self


class Incremental(Section):
    """Incremental runs: only rows whose inputs changed are scored and written."""

    rebase: Annotated[StrictFloat | StrictInt, Field(ge=0, le=1)] = Field(
        0.1,
        description="a version that differs in a larger share of rows from its base is copied into a full one after "
        "its publication; 0: every version is full, and only the scoring of unchanged rows is saved",
    )


class Check(BaseModel):
    """An expectation of Great Expectations on the staged table. All other keys are arguments of the expectation."""

    model_config = ConfigDict(extra="allow", frozen=True)

    expect: Expectation = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        description="the name of the expectation in snake case, without the leading expect_",
    )
    name: str | None = Field(None, description="the name of the check in messages")

    @property
    def title(self) -> str:
        """Return the name of the check in messages: `name`, or else the expectation with its column."""
        if self.name:
            return self.name
        column = (self.model_extra or {}).get("column")
        return f"{self.expect}({column})" if column else self.expect


class Schedule(Section):
    """When Airflow runs the model."""

    cron: str | None = Field(None, description='a cron expression of five fields, such as "0 5 * * *"')
    timezone: Zone = "UTC"
    assets: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="names or URIs of Airflow assets; a run starts when all of them were updated",
    )
    published_by: Clock | None = Field(
        None, description="the time of day by which a version is to be published, such as 06:00:00"
    )

    @model_validator(mode="after")
    def _require_trigger(self) -> Self:
        if self.cron is None and not self.assets:
            raise ValueError("must have cron, assets, or both")
        if self.cron is not None and not re.fullmatch(r"@\w+|(\S+\s+){4}\S+", self.cron):
            raise ValueError('cron must have five fields, such as "0 5 * * *"')
        return self


class Freshness(Section):
    """The age that the inputs may reach."""

    max_age: Duration | None = Field(None, description="predictions from older inputs are stale; by default, none are")
    when_stale: Literal["serve", "refuse"] = Field(
        "serve",
        description="what the lookup API does with stale predictions: serve them, marked as stale, or refuse with 503",
    )


class Lookup(Section):
    """How the lookup API serves the model."""

    in_memory: StrictBool = Field(False, description="keep the published version in the memory of the API")
    cache: Duration = Field(
        default_factory=timedelta,
        description="how long clients may reuse a response without revalidating it",
        json_schema_extra={"default": "0s"},
    )


class Live(Section):
    """Whether the lookup API also scores rows of features on request, with the model file of the published version."""

    allowed: StrictBool = Field(False, description="allow live answers: POST /v1/predictions/{model}/score")
    cache: Duration = Field(
        default_factory=timedelta,
        description="how long the server may repeat a live answer for the same features",
        json_schema_extra={"default": "0s"},
    )

    @model_validator(mode="after")
    def _require_choice(self) -> Self:
        if "allowed" not in self.model_fields_set:
            raise ValueError("the section alone allows nothing; set allowed = true for live answers, or remove it")
        return self


class Retention(Section):
    """How long versions are kept."""

    versions: StrictInt = Field(5, ge=1, description="how many published and superseded versions are kept")
    # A transaction that began before a publication still reads the version before it.
    grace: Duration = Field(
        default_factory=lambda: timedelta(minutes=10),
        description="how long a superseded version is kept at least",
        json_schema_extra={"default": "10m"},
    )
    candidates: Duration = Field(
        default_factory=lambda: timedelta(days=3),
        description="how long a version that was refused, withdrawn or never published is kept for inspection",
        json_schema_extra={"default": "3d"},
    )
    backfills: Duration = Field(
        default_factory=lambda: timedelta(days=30),
        description="how long a backfill is kept: a version whose data are older than those of the published one",
        json_schema_extra={"default": "30d"},
    )


class Grants(Section):
    """The roles that may read the view."""

    select: tuple[str, ...] = Field((), description="roles that are granted SELECT")


class Spec(Section):
    """A spec. `model` is the name of its file without .toml."""

    model: Name
    description: str = ""
    domain: Domain
    key: dict[KeyColumnName, KeyType] = Field(min_length=1)
    passthrough: dict[ColumnName, PassthroughType] = Field(
        {}, description="columns of the domain that are stored beside the predictions"
    )
    onnx: Onnx | None = Field(
        None, description="the model; without it, predictions are columns of the domain, made elsewhere"
    )
    outputs: dict[ColumnName, Output] = Field(min_length=1)
    comments: dict[str, str] = Field({}, description="comments on key and passthrough columns")
    indexes: Indexes = Field((), description="secondary indexes, each a list of columns")
    checks: tuple[Check, ...] = ()
    max_rejects: Limit = Field(
        0, description="how many rows may be rejected: a number of rows, or a fraction of the domain"
    )
    comparison: ComparisonLimits = ComparisonLimits()
    vanished: Vanished = Vanished()
    incremental: Incremental | None = Field(
        None, description="score and write only the rows whose inputs changed; without it, every run is full"
    )
    schedule: Schedule | None = None
    freshness: Freshness = Freshness()
    lookup: Lookup = Lookup()
    live: Live = Live(allowed=False)
    retention: Retention = Retention()
    grants: Grants = Grants()

    @model_validator(mode="after")
    def _require_consistency(self) -> Self:
        if errors := consistency.errors(self.model_dump(by_alias=True)):
            raise ValueError("; ".join(errors))
        return self

    @property
    def key_columns(self) -> list[Column]:
        """Return the key columns in order, as the catalog records them."""
        return [self._column(name, kind, "key") for name, kind in self.key.items()]

    @property
    def output_columns(self) -> list[Column]:
        """Return the outputs and then the passthrough columns, as the catalog records them."""
        columns = [
            Column(name=name, type=output.type, comment=output.comment, role="output")
            for name, output in self.outputs.items()
        ]
        columns += [self._column(name, kind, "passthrough") for name, kind in self.passthrough.items()]
        if self.vanished.policy == "keep":
            comment = "the time of the inputs of a row whose key has vanished since; NULL in other rows"
            columns.append(Column(name=KEPT_CLOCK, type="timestamptz", comment=comment, role="passthrough"))
        return columns

    def _column(self, name: str, kind: str, role: str) -> Column:
        return Column(name=name, type=kind, comment=self.comments.get(name, ""), role=role)

    @property
    def recorded_parameters(self) -> dict[str, Any]:
        """Return the parameters of the domain query as the catalog records them: times as text in ISO 8601."""
        parameters: dict[str, Any] = self.domain.model_dump(mode="json")["parameters"]
        return parameters

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the keys that decide the table's content; schedules, checks and comments do not."""
        # The examples are recorded apart. They decide whether a model may be used, not what it predicts.
        excluded: Any = {
            "outputs": {"__all__": {"comment"}},
            "onnx": {"examples"},
            "domain": {"unchanged_if"},
        }
        return _hash(self.model_dump_json(include=_CONTENT, exclude=excluded))

    @property
    def content(self) -> dict[str, Any]:
        """Return the keys that decide the table's content as plain values, as the catalog records them."""
        # The parameters of the query are recorded apart.
        excluded: Any = {"onnx": {"examples"}, "domain": {"parameters", "unchanged_if"}, "vanished": {"keep_for"}}
        content: dict[str, Any] = self.model_dump(
            mode="json", by_alias=True, include=_CONTENT, exclude=excluded, exclude_none=True
        )
        if "onnx" in content and not content["onnx"]["inputs"]:
            content["onnx"]["inputs"] = BY_NAME
        return content

    @classmethod
    def from_content(cls, model: str, content: dict[str, Any]) -> Self:
        """Return the spec of a version as the catalog records it; the keys that it lacks have their defaults."""
        return cls.model_validate({**content, "model": model})

    @property
    def checks_fingerprint(self) -> str:
        """Return the SHA-256 of the conditions that a version must meet before it is published."""
        return _hash(self.model_dump_json(include={"checks", "comparison", "max_rejects"}))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
