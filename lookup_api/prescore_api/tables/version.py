"""A version as the catalog describes it, and the parts of its answers that never change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import orjson

from prescore import wording
from prescore.catalog import lookup_statements, version_row
from prescore.catalog.catalog import Column
from prescore.errors import RequestInvalid


@dataclass(frozen=True, slots=True)
class OutputSelection:
    """Outputs of a version, in order: the position of each among all of its outputs, and its name."""

    positions: Sequence[int]
    names: Sequence[str]


@dataclass(frozen=True, eq=False)
class TableVersion:
    """One version of a model: its columns, its table and its publication, as its catalog row describes them.

    Instances compare by identity: a catalog row with other values makes a new instance. `data_as_of` is in seconds
    since 1970.

    The rest is rendered once for all lookups: `statement` selects rows by key; an answer in JSON begins with
    `json_head`, and `json_times` follows its prediction; `stamp` is unique among the model's publications.
    `kept_position` is that of the output with the times of kept rows; None if the version keeps no row.
    """

    model: str
    version: int
    row: version_row.VersionRow
    key: list[Column]
    key_names: list[str]
    outputs: list[Column]
    all_outputs: OutputSelection
    statement: bytes
    data_as_of: float
    json_head: bytes
    json_times: bytes
    stamp: bytes
    kept_position: int | None

    @classmethod
    def from_row(cls, row: version_row.VersionRow, *, by_number: bool = False) -> Self:
        """Build it from its catalog row. `by_number`: look keys up in it whether it is published or not."""
        model, version = row["model"], row["version"]
        key, outputs = row["key_columns"], row["output_columns"]
        statement = (
            lookup_statements.version_statement(row) if by_number else lookup_statements.published_statement(row)
        )
        data_as_of = row["data_as_of"]
        published_at = row["published_at"]
        published_seconds = published_at.timestamp() if published_at else 0
        head = orjson.dumps({"model": model, "version": version})
        return cls(
            model=model,
            version=version,
            row=row,
            key=key,
            key_names=[column["name"] for column in key],
            outputs=outputs,
            all_outputs=OutputSelection(range(len(outputs)), [column["name"] for column in outputs]),
            # Composing a statement takes longer than running it.
            statement=statement.as_bytes(),
            data_as_of=data_as_of.timestamp(),
            json_head=head[:-1] + b',"key":',
            json_times=_json_times(row, data_as_of),
            stamp=f"{version}-{published_seconds:.6f}".encode(),
            kept_position=version_row.kept_position(row),
        )

    @property
    def max_age(self) -> float | None:
        """The model's max age in seconds; None if it has none."""
        return self.row["max_age_seconds"]

    def json_times_of(self, data_as_of: datetime) -> bytes:
        """Return `json_times` for a row whose inputs are of another time."""
        return _json_times(self.row, data_as_of)

    def matches(self, row: version_row.VersionRow) -> bool:
        """Return whether a catalog row, read later, has the same values."""
        as_of_then = {**row, "now": self.row["now"]}
        return as_of_then == self.row

    @property
    def id(self) -> str:
        """What identifies the version's rows: after a restore, another version may get the same number."""
        return self.row["id"]

    def has_same_rows(self, other: TableVersion) -> bool:
        """Return whether another instance describes the same rows, as a version for which nothing had changed does."""
        return _stored_ids(self.row) == _stored_ids(other.row)

    @property
    def is_delta(self) -> bool:
        """Whether its rows are in a table of its own and in that of a base."""
        return version_row.is_delta(self.row)

    def has_base(self, full: TableVersion) -> bool:
        """Return whether another version has the rows of a delta's base, and the same columns."""
        *_, base = self.row["stored"]
        is_base = [base["id"]] == _stored_ids(full.row)
        return is_base and (self.key, self.outputs) == (full.key, full.outputs)

    def select_outputs(self, names: Sequence[str]) -> OutputSelection:
        """Return the outputs with these names, or all of them if there are no names; raise RequestInvalid."""
        if not names:
            return self.all_outputs
        positions = dict(zip(self.all_outputs.names, self.all_outputs.positions, strict=True))
        unknown = [name for name in names if name not in positions]
        if unknown:
            missing = wording.names(unknown)
            existing = ", ".join(positions)
            raise RequestInvalid(f"{self.model} version {self.version} has no output {missing}; it has {existing}.")
        return OutputSelection([positions[name] for name in names], names)

    def describe_columns(self) -> dict[str, Any]:
        """Return the columns as /v1/models/{model} lists them."""
        return {
            "key": list(map(_describe_key, self.key)),
            "outputs": list(map(_describe_output, self.outputs)),
        }


def _json_times(row: version_row.VersionRow, data_as_of: datetime) -> bytes:
    times = orjson.dumps({"data_as_of": data_as_of, "published_at": row["published_at"]})
    return b"," + times[1:-1] + b',"age_seconds":'


def _stored_ids(row: version_row.VersionRow) -> list[str]:
    return [table["id"] for table in row["stored"]]


def _describe_key(column: Column) -> dict[str, str]:
    return {
        "name": column["name"],
        "type": column["type"],
        "comment": column["comment"],
    }


def _describe_output(column: Column) -> dict[str, str]:
    return _describe_key(column) | {"role": column["role"]}
