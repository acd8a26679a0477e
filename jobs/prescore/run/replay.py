"""Score the kept snapshot of a version again, into a temporary table that only this session sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from psycopg import sql

from prescore.catalog.catalog import Version
from prescore.catalog.columns import column_definitions
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import NotAllowed, NotFound
from prescore.project.spec import Spec
from prescore.run.job import OnProgress
from prescore.scoring import snapshot_columns
from prescore.scoring.predictor import Predictor
from prescore.steps import score
from prescore.store.snapshot_file import SnapshotReader
from prescore.store.store import Store
from prescore.versions import rows, table
from prescore.versions.publishable import version_label

SCHEMA = "pg_temp"
"""The schema of the temporary table."""


@contextmanager
def replayed(
    connection: Connection,
    store: Store,
    version: Version,
    predictor: Predictor,
    on_progress: OnProgress,
) -> Iterator[Version]:
    """Score a version's snapshot with a predictor; yield the result, whose table is in the schema `SCHEMA`.

    Nothing is recorded: the table is dropped on exit, or with the session. Raises NotFound when the snapshot is gone
    or was changed, NotAllowed when the predictor needs a column that the snapshot does not have.
    """
    if not store.is_snapshot_intact(version):
        raise NotFound(
            f"The snapshot of {version_label(version)} is gone from the store, or was changed since. "
            "Nothing can be scored again without it."
        )
    reader = SnapshotReader(store.snapshot(version))
    try:
        _require_columns(reader.schema, version, predictor)
        result = _described(version, predictor.spec)
        _create(connection, result)
        result["rows"] = _fill(connection, reader, result, predictor, on_progress)
        identifier = sql.Identifier(SCHEMA, result["table_name"])
        connection.execute(query("tables_analyze", table=identifier))
        yield result
        connection.execute(query("tables_discard", table=identifier))
    finally:
        reader.close()


def _require_columns(schema: pa.Schema, version: Version, predictor: Predictor) -> None:
    """Raise NotAllowed for a column that the snapshot does not have, or has as another type."""
    for needed in snapshot_columns.snapshot_schema(predictor.spec, predictor.features):
        place = schema.get_field_index(needed.name)
        if place < 0:
            reason = f"does not have the column {needed.name}"
        elif schema.field(place).type != needed.type:
            reason = f"has the column {needed.name} as {schema.field(place).type}, not as {needed.type}"
        else:
            continue
        raise NotAllowed(
            f"The snapshot of {version_label(version)} {reason}, which the spec needs now. Make a version with "
            f"`prescore run {version['model']} --no-publish`, and compare it with `prescore compare`."
        )


def _described(version: Version, spec: Spec) -> Version:
    """Return the version as the spec would have made it."""
    return {
        **version,
        "state": "checked",
        "key_columns": spec.key_columns,
        "output_columns": spec.output_columns,
    }


def _create(connection: Connection, result: Version) -> None:
    definitions = column_definitions(table.columns(result), not_null=table.key_names(result))
    statement = query(
        "tables_temporary",
        table=sql.Identifier(SCHEMA, result["table_name"]),
        columns=definitions,
        version=sql.Literal(result["version"]),
    )
    connection.execute(statement)


def _fill(
    connection: Connection,
    reader: SnapshotReader,
    result: Version,
    predictor: Predictor,
    on_progress: OnProgress,
) -> int:
    """Score every chunk into the table, and return the number of rows; rows that cannot be scored are left out."""
    identifier = sql.Identifier(SCHEMA, result["table_name"])
    total = 0
    for number in range(result["snapshot_chunks"] or 0):
        chunk = reader.chunk(number)
        scored = score.score_chunk(predictor, chunk, chunk.num_rows)
        rows.copy(connection, identifier, scored.rows, result["output_columns"])
        total += scored.rows.num_rows
        on_progress("score", chunk.num_rows, result["snapshot_rows"])
    return total
