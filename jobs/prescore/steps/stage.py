"""Fill a version's own table: created empty, copied into chunk by chunk, then finished, and never changed again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection, first_line
from prescore.catalog.queries import query
from prescore.errors import Busy, DomainInvalid
from prescore.scoring import rejects
from prescore.scoring.rejects import Scored
from prescore.versions import table
from prescore.versions.lease import Lease


def copy_chunk(
    connection: Connection, lease: Lease, version: Version, chunk: int, scored: Scored, seconds: float
) -> None:
    """Copy a chunk in and note it in the ledger, in one transaction that only the holder of the lease can commit.

    Raises LeaseLost, or DomainInvalid for a value that Postgres cannot hold.
    """
    rows = scored.rows
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    statement = query(
        "tables_copy", table=sql.Identifier(version["table_name"]), columns=identifiers(rows.schema.names)
    )
    try:
        with connection.transaction():
            connection.execute(query("chunks_commit_soon"))
            with connection.cursor().copy(statement) as copy:
                copy.write(encoder.write_header())
                copy.write(encoder.write_batch(rows))
                copy.write(encoder.finish())
            rejects.write(connection, version, scored.rejects, chunk)
            done = {"chunk": chunk, "rows": rows.num_rows, "rejected": scored.rejected, "seconds": seconds}
            Catalog(connection).execute("chunks_finish", **version_key(version), **done)
            lease.check(connection)
    except pg.DataError as error:
        raise DomainInvalid(
            f"Postgres cannot hold a value of chunk {chunk}: {first_line(error)} Clean it in the domain query."
        ) from error


def finish(connection: Connection, lease: Lease, version: Version, indexes: Sequence[Sequence[str]]) -> None:
    """Primary key, indexes, freezing: after this the table never changes.

    Keys that stand twice leave the table without its primary key, for the check step to say so.
    """
    if not table.has_key(connection, version):
        try:
            # The check step sees it, and tells it with examples.
            with suppress(pg.UniqueViolation):
                table.index(connection, version, indexes)
        except pg.LockNotAvailable as error:
            raise Busy(
                f"Something reads {version['table_name']}, which is not finished, and holds a lock on it: a dump? The "
                "next run goes on from here when it is through."
            ) from error
        except pg.ProgramLimitExceeded as error:
            raise DomainInvalid(
                f"A value is too long for Postgres to index: {first_line(error)} Shorten it."
            ) from error
    connection.execute(query("tables_vacuum", table=sql.Identifier(version["table_name"])))
    with connection.transaction():
        Catalog(connection).execute("versions_stage", **version_key(version))
        lease.check(connection)


def version_key(version: Version) -> dict[str, object]:
    """A version's name in statements."""
    return {"model": version["model"], "version": version["version"]}
