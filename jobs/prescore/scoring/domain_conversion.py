"""Convert the domain to the columns of a snapshot, each of its exact type, and reject the rows that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.errors import DomainInvalid
from prescore.project.spec import Spec
from prescore.scoring import column_types, rejects, snapshot_columns
from prescore.scoring.column_conversion import ColumnConverter, Types, misfits
from prescore.scoring.rejects import Reject
from prescore.sources import data_as_of
from prescore.sources.source import Batch, Stream, Unreadable


class DomainConverter:
    """Converts batches of the domain to those of the snapshot: the needed columns only, each of its exact type.

    A feature that is also a key or a passthrough column is kept as the type of the table, and checked to fit the
    type that the model takes. Raises DomainInvalid for a column that is missing or of the wrong type.
    """

    def __init__(self, spec: Spec, features: Types, domain: Stream) -> None:
        self._kept = snapshot_columns.stored_columns(spec)
        self._checked: list[ColumnConverter] = []
        table_columns = {column.name for column in self._kept}
        for column in snapshot_columns.feature_columns(spec, features):
            if column.name in table_columns:
                self._checked.append(column)
            else:
                self._kept.append(column)
        self.schema = snapshot_columns.snapshot_schema(spec, features)
        self._key = list(spec.key)
        # A prediction made elsewhere that is NaN is rejected with the others that are not finite.
        self._features = set(features) if spec.onnx else set()
        self._never_null = snapshot_columns.never_null(spec, features)
        self._outputs = snapshot_columns.output_names(spec)
        self._clock = snapshot_columns.clock_column(spec)
        self._newest: Any = None
        faults = [
            *snapshot_columns.faults(spec, features, domain),
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
            for number, reason in misfits(column, values):
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
                name = column_types.type_name(clock_type)
                yield (
                    f"Column {self._clock} (data_as_of) is {name}, not a date or a timestamp. "
                    "Cast it in the domain query."
                )


def _has_times(arrow_type: pa.DataType) -> bool:
    kinds = (pat.is_null, pat.is_date, pat.is_timestamp)
    return any(is_kind(arrow_type) for is_kind in kinds)
