"""One writer per model: a lease with a fencing token, kept in the database."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from prescore import errors
from prescore.catalog import heartbeat
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection, Database

EXPIRY_SECONDS = 120.0
"""How long a lease lasts after it was last renewed."""
TASK_EXPIRY_SECONDS = 900.0
"""The same between a scheduler's tasks. Nothing renews it there, so it must outlast a queue and a retry's back-off."""
OnBusy = Callable[[errors.Busy], None]
"""Called once with the error that a run would raise if it did not wait."""

# Renewing this many times before a lease expires leaves room for a renewal that fails.
_RENEWALS_PER_EXPIRY = 4
_POLL_SECONDS = 1.0
_NEVER_LEASED: dict[str, Any] = {"token": 0, "holder": "", "expires_at": "-infinity", "until": "", "free": True}


@dataclass(frozen=True)
class Lease:
    """The right to write one model, valid for as long as its token is the latest."""

    model: str
    token: int

    @property
    def session_name(self) -> str:
        """The application_name of the sessions that write under the lease, by which a successor finds and ends them."""
        return f"prescore lease {self.token}"

    def check(self, connection: Connection) -> None:
        """Raise LeaseLost if the lease has been taken over. Call it last in every writing transaction.

        The lease's row stays locked until the transaction commits, so a successor waits for it and then sees its
        writes.
        """
        if not _is_current(connection, self):
            raise lease_lost(self)


def acquire(
    connection: Connection,
    model: str,
    *,
    watched: bool,
    seconds: float = EXPIRY_SECONDS,
    holder: str | None = None,
) -> Lease:
    """Acquire the model's lease; raise Busy while another holder is alive.

    A watched lease belongs to `connection`: it becomes free as soon as that session ends, for whatever reason. An
    unwatched lease outlives its process and expires after `seconds`. A caller that passes a `holder` name of its own
    may acquire its unwatched lease again, with a new token, so that a retry is not locked out by the attempt before it.
    """
    catalog = Catalog(connection)
    name = holder or f"{socket.gethostname()} process {os.getpid()}"
    with connection.transaction():
        previous = _current_row(catalog, model, name, back=holder is not None)
        if not previous["free"]:
            raise _busy_error(model, previous)
        predecessor = Lease(model, previous["token"])
        catalog.execute("leases_end_sessions", connections=predecessor.session_name)
        row = catalog.one(
            "leases_take",
            model=model,
            holder=name,
            watched=watched,
            seconds=seconds,
            before=previous["token"],
            expired=previous["expires_at"],
        )
        if row is None:
            # Another run has just taken it.
            raise _busy_error(model, _current_row(catalog, model, name, back=False))
        lease = Lease(model, row["token"])
        if watched:
            catalog.execute("leases_watch", model=model, token=lease.token)
            catalog.execute("leases_name_session", connections=lease.session_name)
    return lease


def _current_row(catalog: Catalog, model: str, holder: str, *, back: bool) -> dict[str, Any]:
    row = catalog.one("leases_before", model=model, holder=holder, back=back)
    return _NEVER_LEASED if row is None else row


@contextmanager
def holding(database: Database, model: str, *, on_busy: OnBusy | None = None) -> Iterator[Lease]:
    """Acquire the lease for a whole run in this process, renew it, and release it at the end.

    Raises Busy while another holder is alive. With `on_busy`, calls it once with that error and waits for the lease
    instead. Raises LeaseLost for errors that are due to a successor having ended this run's sessions.
    """
    with database.connect() as connection:
        if on_busy is None:
            lease = acquire(connection, model, watched=True)
        else:
            lease = _acquire_when_free(connection, model, on_busy)
        with _report_takeover(database, lease), _renew_in_background(connection, lease):
            yield lease
        release(connection, lease)


@contextmanager
def continuing(database: Database, lease: Lease) -> Iterator[Lease]:
    """Renew a lease that another process acquired, for as long as the block runs; raise LeaseLost if it is taken."""
    with database.connect() as connection:
        if renew(connection, lease, TASK_EXPIRY_SECONDS) is None:
            raise lease_lost(lease)
        with (
            _report_takeover(database, lease),
            _renew_in_background(connection, lease, TASK_EXPIRY_SECONDS),
        ):
            yield lease


def release(connection: Connection, lease: Lease) -> None:
    """Release the lease, unless it has been taken over."""
    Catalog(connection).execute("leases_release", model=lease.model, token=lease.token)


def release_held_by(connection: Connection, model: str, holder: str) -> None:
    """Release the lease if this named holder has it, for a caller that no longer knows its token."""
    Catalog(connection).execute("leases_release_by_holder", model=model, holder=holder)


def renew_held_by(connection: Connection, model: str, holder: str) -> None:
    """Let the lease expire in EXPIRY_SECONDS if this named holder has it."""
    Catalog(connection).execute(
        "leases_renew_by_holder",
        model=model,
        holder=holder,
        seconds=EXPIRY_SECONDS,
    )


def release_by_hand(connection: Connection, model: str) -> str | None:
    """Release the lease of any holder, record that in the history, and return the holder; None if the lease was free.

    A holder that still works renews the lease, unless another run takes it first: then it writes nothing more.
    """
    catalog = Catalog(connection)
    with connection.transaction():
        catalog.model(model)
        row = catalog.one("leases_release_by_hand", model=model)
        if row is None:
            return None
        holder: str = row["holder"]
        catalog.record_event(model, None, "lease released", f"held by {holder}")
    return holder


def renew(connection: Connection, lease: Lease, seconds: float = EXPIRY_SECONDS) -> int | None:
    """Extend the lease to `seconds` from now and return its token, or None if it has been taken over."""
    row = Catalog(connection).one(
        "leases_renew",
        model=lease.model,
        token=lease.token,
        seconds=seconds,
    )
    return None if row is None else row["token"]


def lease_lost(lease: Lease) -> errors.LeaseLost:
    """Return the error for a lease that has been taken over."""
    return errors.LeaseLost(
        f"Another run took over {lease.model} because this run did not renew its lease in time. "
        "This run wrote nothing after that."
    )


def _busy_error(model: str, previous: dict[str, Any]) -> errors.Busy:
    return errors.Busy(
        f"Another run of {model} is in progress ({previous['holder']}, lease until {previous['until']}). "
        "Only one run at a time writes a model. Try again when that run has finished, or wait for it with --wait."
    )


def _is_current(connection: Connection, lease: Lease) -> bool:
    row = Catalog(connection).one("leases_check", model=lease.model, token=lease.token)
    return row is not None


def _acquire_when_free(connection: Connection, model: str, on_busy: OnBusy) -> Lease:
    try:
        return acquire(connection, model, watched=True)
    except errors.Busy as busy:
        on_busy(busy)
    while True:
        time.sleep(_POLL_SECONDS)
        with suppress(errors.Busy):
            return acquire(connection, model, watched=True)


@contextmanager
def _report_takeover(database: Database, lease: Lease) -> Iterator[None]:
    """Raise LeaseLost in place of a transient error that a successor caused by ending this run's sessions."""
    try:
        yield
    except errors.Transient as error:
        if _is_taken_over(database, lease):
            raise lease_lost(lease) from error
        raise


def _is_taken_over(database: Database, lease: Lease) -> bool:
    """Return whether the lease is certain to be another's; a database that does not answer proves nothing."""
    with suppress(errors.PrescoreError), database.connect() as connection:
        return not _is_current(connection, lease)
    return False


@contextmanager
def _renew_in_background(connection: Connection, lease: Lease, seconds: float = EXPIRY_SECONDS) -> Iterator[None]:
    """Renew the lease from a thread until the block ends.

    The thread reports nothing: the next writing transaction notices a lost connection or lease.
    """

    def keep() -> bool:
        # A renewal may fail on a lock, for example. There is time for another one.
        with suppress(psycopg.Error):
            return renew(connection, lease, seconds) is not None
        return not connection.closed

    with heartbeat.beating(keep, EXPIRY_SECONDS / _RENEWALS_PER_EXPIRY):
        yield
