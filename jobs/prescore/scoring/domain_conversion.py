"""Convert the domain to the columns of a snapshot, each of its exact type, and reject the rows that do not fit."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.errors import DomainInvalid
from prescore.project.spec import Spec
from prescore.scoring import conversion, rejects
from prescore.scoring.rejects import Reject
from prescore.scoring.scorer import null_message
from prescore.sources import data_as_of
from prescore.sources.source import Batch, Needed, SourceType, Stream, Unreadable
from prescore.wording import similar_name

Types = dict[str, pa.DataType]
"""Column name → Arrow type."""


@dataclass(frozen=True)
class ColumnConverter:
    """Converts the values of one column of the domain.

    A column that Postgres will store (`is_stored`) must have no NUL in its texts.
    """

    name: str
    target: pa.DataType
    allow_precision_loss: bool = False
    is_stored: bool = False

    def check_type(self, source: pa.DataType, hidden: SourceType | None = None) -> None:
        """Raise DomainInvalid unless a column of type `source` can be converted, judged by the types alone.

        `hidden` is its type in the source, where Arrow does not show it.
        """
        if hidden is not None:
            self._check_hidden(hidden)
        conversion.check_type(
            self.name,
            source,
            self.target,
            allow_precision_loss=self.allow_precision_loss,
            is_stored=self.is_stored,
        )

    def _check_hidden(self, hidden: SourceType) -> None:
        target = self.target.value_type if pat.is_list(self.target) else self.target
        if target not in hidden.becomes:
            wanted = conversion.type_name(self.target)
            raise DomainInvalid(
                f"Column {self.name} is {hidden.name} in the domain, but must be {wanted}. {hidden.advice}"
            )

    def convert(self, values: pa.Array) -> pa.Array:
        """Return values as the target type; raise DomainInvalid for one that cannot be converted exactly."""
        converted = conversion.convert(
            self.name,
            values,
            self.target,
            allow_precision_loss=self.allow_precision_loss,
            is_stored=self.is_stored,
        )
        if self.is_stored:
            conversion.refuse_nul(self.name, converted)
        return converted


class DomainConverter:
    """Converts batches of the domain to those of the snapshot: the needed columns only, each of its exact type.

    A feature that is also a key or a passthrough column is kept as the type of the table, and checked to fit the
    type that the model takes. Raises DomainInvalid for a column that is missing or of the wrong type.
    """

    def __init__(self, spec: Spec, features: Types, domain: Stream) -> None:
        self._kept = _stored_columns(spec)
        self._checked: list[ColumnConverter] = []
        table_columns = {column.name for column in self._kept}
        for column in _feature_columns(spec, features):
            if column.name in table_columns:
                self._checked.append(column)
            else:
                self._kept.append(column)
        self.schema = snapshot_schema(spec, features)
        self._key = list(spec.key)
        # A prediction made elsewhere that is NaN is rejected with the others that are not finite.
        self._features = set(features) if spec.onnx else set()
        self._never_null = _never_null(spec, features)
        self._outputs = _outputs(spec)
        self._clock = _clock_column(spec)
        self._newest: Any = None
        faults = [
            *_column_faults(spec, features, domain),
            *self._type_faults(domain),
        ]
        if faults:
            needed = "the spec and the model need" if spec.onnx else "the spec needs"
            lines = "\n  ".join(faults)
            raise DomainInvalid(
                f"The domain query of {spec.model} does not return the columns that {needed}:\n  {lines}"
            )

    def convert(self, batch: Batch) -> tuple[pa.RecordBatch, list[Reject]]:
        """Return a batch as the snapshot keeps it, and the rows that it cannot keep.

        Rejected are rows that the source could not read, rows with a null where none may be, and rows with a value that
        cannot be converted exactly.
        """
        rejected = [self._reject_unreadable(row) for row in batch.unreadable]
        rows, missing = self._reject_nulls(batch.rows)
        try:
            converted = self._convert(rows)
        except DomainInvalid:
            rows, misfits = self._reject_misfits(rows)
            converted = self._convert(rows)
            missing += misfits
        self._read_clock(rows)
        return converted, rejected + missing

    def data_as_of(self) -> datetime | None:
        """Return the newest time in the clock column, or None when the spec names none.

        Raises DomainInvalid when the column is null in every row.
        """
        if self._clock is None:
            return None
        if self._newest is None:
            raise DomainInvalid(
                f"domain.data_as_of: column {self._clock} is NULL in every row, so the age of the data is unknown. "
                "Fill the column, or use a query: domain.data_as_of.query."
            )
        return data_as_of.to_datetime(self._newest)

    def _convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        # Without a row, the types do not matter: they may be those of the rows that were rejected.
        if not batch.num_rows:
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        for column in self._checked:
            column.convert(batch.column(column.name))
        arrays = []
        for column in self._kept:
            values = batch.column(column.name)
            arrays.append(column.convert(values))
        return pa.record_batch(arrays, schema=self.schema)

    def _reject_unreadable(self, row: Unreadable) -> Reject:
        key = {name: rejects.json_value(row.values[name]) for name in self._key}
        return Reject(key, self._outputs.get(row.column, row.column), row.reason)

    def _reject_nulls(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        rejected: list[Reject] = []
        for name, reason in self._never_null.items():
            missing = self._missing(name, batch.column(name))
            if not pc.any(missing).as_py():
                continue
            rejected += rejects.reject_rows(batch.filter(missing), self._key, self._outputs.get(name, name), reason)
            batch = batch.filter(pc.invert(missing))
        return batch, rejected

    def _missing(self, name: str, column: pa.Array) -> pa.Array:
        """Return which values are null; of a feature also which are NaN, which many sources write for NULL."""
        return pc.is_null(column, nan_is_null=name in self._features)

    def _reject_misfits(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        """Return the rows that can be converted, and the others with the reason why their first column cannot."""
        faults: dict[int, tuple[str, str]] = {}
        for column in (*self._kept, *self._checked):
            name = column.name
            values = batch.column(name)
            for number, reason in _misfits(column, values):
                faults.setdefault(number, (name, reason))
        rejected: list[Reject] = []
        fits = [True] * batch.num_rows
        for number, (name, reason) in faults.items():
            row = batch.slice(number, 1)
            rejected += rejects.reject_rows(row, self._key, self._outputs.get(name, name), reason)
            fits[number] = False
        mask = pa.array(fits, pa.bool_())
        return batch.filter(mask), rejected

    def _read_clock(self, batch: pa.RecordBatch) -> None:
        if self._clock is None:
            return
        try:
            times = batch.column(self._clock)
            newest = pc.max(times).as_py()
        except (OverflowError, ValueError) as error:
            raise DomainInvalid(
                f"domain.data_as_of: column {self._clock} holds infinity or a time after the year 9999. "
                "Replace it with NULL in the domain query."
            ) from error
        if newest is None:
            return
        if self._newest is None or newest > self._newest:
            self._newest = newest

    def _type_faults(self, domain: Stream) -> Iterator[str]:
        schema = domain.schema
        for column in [*self._kept, *self._checked]:
            # A column that is missing is a fault of its own.
            if schema.get_field_index(column.name) < 0:
                continue
            try:
                column.check_type(schema.field(column.name).type, domain.types.get(column.name))
            except DomainInvalid as error:
                yield str(error)
        if self._clock is not None and schema.get_field_index(self._clock) >= 0:
            clock_type = schema.field(self._clock).type
            if not _has_times(clock_type):
                name = conversion.type_name(clock_type)
                yield (
                    f"Column {self._clock} (data_as_of) is {name}, not a date or a timestamp. "
                    "Cast it in the domain query."
                )


def needed_columns(spec: Spec, features: Types) -> dict[str, Needed]:
    """Return the columns that the domain query must return; a source reads no others."""
    needed = {}
    clock = _clock_column(spec)
    if clock is not None:
        needed[clock] = Needed(None)
    for column in (*_feature_columns(spec, features), *_stored_columns(spec)):
        needed[column.name] = Needed(column.target, may_round=column.allow_precision_loss)
    return needed


def snapshot_schema(spec: Spec, features: Types) -> pa.Schema:
    """Return the columns of a snapshot: those of the table that the domain has, then the features that are not."""
    types = {column.name: column.target for column in _stored_columns(spec)}
    for column in _feature_columns(spec, features):
        types.setdefault(column.name, column.target)
    return pa.schema(list(types.items()))


def _stored_columns(spec: Spec) -> list[ColumnConverter]:
    columns = []
    table_columns = {**spec.key, **spec.passthrough}
    for name, type_name in table_columns.items():
        target = conversion.ARROW[type_name]
        column = ColumnConverter(name, target, is_stored=True)
        columns.append(column)
    return columns


def _feature_columns(spec: Spec, features: Types) -> list[ColumnConverter]:
    columns = []
    for name, target in features.items():
        if spec.onnx is None:
            column = ColumnConverter(name, target, is_stored=True)
        else:
            column = ColumnConverter(name, target, name in spec.onnx.allow_precision_loss)
        columns.append(column)
    return columns


def _clock_column(spec: Spec) -> str | None:
    clock = spec.domain.data_as_of
    if clock is None:
        return None
    return clock.column


def _never_null(spec: Spec, features: Types) -> dict[str, str]:
    """Return the columns that must not be null, each with the reason for rejecting a row where it is."""
    reasons = {}
    for name in spec.key:
        reasons[name] = f"Key column {name} is null: a row without a key cannot be looked up"
    outputs = _outputs(spec)
    for name, arrow_type in features.items():
        if spec.onnx is None:
            output = outputs[name]
            column = "" if output == name else f" (column {name} of the domain query)"
            reasons.setdefault(name, f"Prediction {output}{column} is null")
        elif name not in spec.onnx.nullable:
            reasons.setdefault(name, null_message(name, arrow_type))
    return reasons


def _outputs(spec: Spec) -> dict[str, str]:
    """Return the outputs that are columns of the domain query, by the name that they have there."""
    outputs: dict[str, str] = {}
    if spec.onnx is None:
        for name, output in spec.outputs.items():
            outputs.setdefault(output.source or name, name)
    return outputs


def _column_faults(spec: Spec, features: Types, domain: Stream) -> Iterator[str]:
    """Yield needed columns that the domain query does not return, or returns twice."""
    roles = dict.fromkeys(spec.key, "key")
    roles |= dict.fromkeys(spec.passthrough, "passthrough")
    # A user who forgot the section sees why the query must return predictions.
    roles |= dict.fromkeys(features, "feature" if spec.onnx else "prediction, as the spec has no [onnx] section")
    clock = _clock_column(spec)
    if clock is not None:
        roles[clock] = "data_as_of"
    names = list(domain.names)
    for name, role in roles.items():
        if name not in names:
            unused = [other for other in names if other not in roles]
            yield f"Column {name} ({role}) is missing; {_returned(name, names, unused)}."
    for name in sorted(roles):
        if names.count(name) > 1:
            yield f"Column {name} appears more than once in the query's result. Rename one of them with AS."


def _returned(missing: str, names: list[str], unused: list[str]) -> str:
    """Return what the query returns instead of a missing column, and which of its unused columns may be meant."""
    for name in names:
        if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", missing):
            return (
                f"the query returns {name}, which looks the same, but has other Unicode characters: an accented letter "
                "is one character or two. Write the name in the query as it is in the spec"
            )
    listed = f"the query returns {', '.join(names) or 'none at all'}"
    similar = similar_name(missing, unused)
    if similar is None:
        return listed
    return f"{listed}. Did you mean {similar}? Then write {similar} as {missing} in the query"


def _has_times(arrow_type: pa.DataType) -> bool:
    kinds = (pat.is_null, pat.is_date, pat.is_timestamp)
    return any(is_kind(arrow_type) for is_kind in kinds)


def _misfits(
    column: ColumnConverter,
    values: pa.Array,
    first_row: int = 0,
) -> Iterator[tuple[int, str]]:
    """Yield the numbers of the rows whose value cannot be converted, each with the reason, by bisection."""
    try:
        column.convert(values)
    except DomainInvalid as error:
        if len(values) == 1:
            yield first_row, str(error)
            return
        middle = len(values) // 2
        yield from _misfits(column, values[:middle], first_row)
        yield from _misfits(column, values[middle:], first_row + middle)
