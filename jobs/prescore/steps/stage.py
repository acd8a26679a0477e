"""Fill a version's table: copy it chunk by chunk, then finish it. It never changes after that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.catalog.driver_errors import first_line
from prescore.catalog.naming import KEPT_CLOCK
from prescore.catalog.queries import query
from prescore.errors import Busy, DomainInvalid
from prescore.scoring import rejects
from prescore.scoring.rejects import Scored
from prescore.versions import delta, kept, rows, table
from prescore.versions.lease import Lease


def copy_chunk(
    connection: Connection,
    lease: Lease,
    version: Version,
    chunk: int,
    scored: Scored,
    seconds: float,
) -> None:
    """Copy a scored chunk into the version's table and record it in the ledger, in one transaction.

    `seconds` is the time that scoring took. Raises LeaseLost, with nothing written, when another run holds the lease
    by now, and DomainInvalid for a value that Postgres cannot store.
    """
    try:
        with connection.transaction():
            connection.execute(query("chunks_commit_soon"))
            target = sql.Identifier("prescore_versions", version["rows_table"])
            rows.copy(connection, target, scored.rows, version["output_columns"])
            rejects.write(connection, version, scored.rejects, chunk)
            Catalog(connection).execute(
                "chunks_finish",
                **version_key(version),
                chunk=chunk,
                rows=scored.rows.num_rows,
                rejected=scored.rejected,
                seconds=seconds,
            )
            lease.check(connection)
    except (pg.DataError, pg.ProgramLimitExceeded) as error:
        raise DomainInvalid(
            f"Postgres cannot store a value of chunk {chunk}: {first_line(error)} Fix it in the domain query."
        ) from error


def finish(
    connection: Connection,
    lease: Lease,
    version: Version,
    indexes: Sequence[Sequence[str]],
) -> None:
    """Add the primary key and the indexes, vacuum, and mark the version as staged.

    With duplicate keys the table stays without its primary key, which the check step then reports. Raises LeaseLost,
    Busy when another session locks the table, and DomainInvalid for a value that is too long to index.
    """
    add_key(connection, version, indexes)
    connection.execute(query("tables_vacuum", table=table.identifier(version)))
    # Kept rows of a delta were updated in it, perhaps more than once. Staging records how many times, as of now.
    connection.execute(query("tables_count_changes"))
    is_delta = version["base_version"] is not None
    has_clock = any(column["name"] == KEPT_CLOCK for column in version["output_columns"])
    with connection.transaction():
        Catalog(connection).execute(
            "versions_stage",
            **version_key(version),
            stored=delta.count_rows(connection, version) if is_delta else None,
            kept=kept.count(connection, version) if has_clock else 0,
        )
        lease.check(connection)


def add_key(connection: Connection, version: Version, indexes: Sequence[Sequence[str]]) -> None:
    """Add the primary key and the indexes, unless they are there or a key occurs twice; raise Busy, DomainInvalid."""
    name = version["rows_table"]
    if table.has_key(connection, version):
        return
    try:
        # The check step finds the duplicates, and reports examples of them.
        with suppress(pg.UniqueViolation):
            table.index(connection, version, indexes)
    except pg.LockNotAvailable as error:
        raise Busy(
            f"Another session holds a lock on {name}, which is not finished yet. Perhaps it is a dump. "
            "Wait for it to end, then run again: the next run resumes here."
        ) from error
    except pg.ProgramLimitExceeded as error:
        raise DomainInvalid(
            f"{name} holds a value that is too long for Postgres to index: {first_line(error)} "
            "Shorten it in the domain query."
        ) from error


def version_key(version: Version) -> dict[str, object]:
    """Return the parameters that identify a version in statements."""
    return {"model": version["model"], "version": version["version"]}
