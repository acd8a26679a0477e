"""Rows in Arrow, copied into a table by binary COPY."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from prescore.catalog.catalog import Column
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.scoring import arrays


def copy(
    connection: Connection,
    relation: sql.Identifier,
    rows: pa.RecordBatch,
    columns: Sequence[Column],
) -> None:
    """Copy rows into a table; `columns` describes its arrays, which are encoded as Postgres receives them."""
    encoded = arrays.encode(rows, columns)
    encoder = ArrowToPostgresBinaryEncoder(encoded.schema)
    statement = query(
        "tables_copy",
        table=relation,
        columns=identifiers(encoded.schema.names),
    )
    with connection.cursor().copy(statement) as target:
        target.write(encoder.write_header())
        target.write(encoder.write_batch(encoded))
        target.write(encoder.finish())
