"""One writer a model: a lease with a fencing token, held by the database."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from prescore import errors
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection, Database

EXPIRY_SECONDS = 120.0
# Nobody renews an unwatched lease between a scheduler's tasks: it must outlast a queue and a retry's back-off.
TASK_EXPIRY_SECONDS = 900.0
OnBusy = Callable[[errors.Busy], None]
_LOOK_AGAIN = 1.0
_NOBODY: dict[str, Any] = {"token": 0, "holder": "nobody", "expires_at": "-infinity", "free": True}


@dataclass(frozen=True)
class Lease:
    """The right to write one model, good for as long as its token is the latest."""

    model: str
    token: int

    @property
    def connections(self) -> str:
        """What the connections that write under it are called, for a successor to end them."""
        return f"prescore lease {self.token}"

    def check(self, connection: Connection) -> None:
        """Ask, last thing in a writing transaction, whether the right still stands; raises LeaseLost.

        The row stays locked until the commit, so a successor waits for what was in flight and then sees it.
        """
        if Catalog(connection).one("leases_check", model=self.model, token=self.token) is None:
            raise lease_lost(self)


def acquire(
    connection: Connection, model: str, *, watched: bool, seconds: float = EXPIRY_SECONDS, holder: str | None = None
) -> Lease:
    """Take the model's lease; raises Busy while another holder is alive.

    A watched lease belongs to `connection`: when that session ends, however it ends, the lease is free at once.
    An unwatched one outlives its process and runs out by the clock. Whoever names itself as `holder`, by a name of its
    own, may come back for its unwatched lease, and gets a new token: a retry is not shut out by the attempt before it.
    """
    catalog = Catalog(connection)
    named = holder or f"{socket.gethostname()} process {os.getpid()}"
    with connection.transaction():
        before = catalog.one("leases_before", model=model, holder=named, back=holder is not None) or _NOBODY
        if not before["free"]:
            raise _busy(model, before)
        catalog.execute("leases_end_sessions", connections=Lease(model, before["token"]).connections)
        mine = {"model": model, "holder": named, "watched": watched, "seconds": seconds}
        row = catalog.one("leases_take", **mine, before=before["token"], expired=before["expires_at"])
        if row is None:
            raise _busy(model, before)
        lease = Lease(model, row["token"])
        if watched:
            catalog.execute("leases_watch", model=model, token=lease.token)
            catalog.execute("leases_name_session", connections=lease.connections)
    return lease


@contextmanager
def holding(database: Database, model: str, *, on_busy: OnBusy | None = None) -> Iterator[Lease]:
    """Take the lease for a whole run in this process, keep it, and give it back at the end.

    Raises Busy while another holder is alive; with `on_busy` that is told, once, and the lease waited for. What fails
    because a successor ended this run's connections is raised as LeaseLost.
    """
    with database.connect() as connection:
        lease = _waited(connection, model, on_busy) if on_busy else acquire(connection, model, watched=True)
        with _fenced(database, lease), _renewing(connection, lease):
            yield lease
        release(connection, lease)


@contextmanager
def continuing(database: Database, lease: Lease) -> Iterator[Lease]:
    """Keep a lease that another process took, for as long as this one works under it; raises LeaseLost."""
    with database.connect() as connection:
        if renew(connection, lease, TASK_EXPIRY_SECONDS) is None:
            raise lease_lost(lease)
        with _fenced(database, lease), _renewing(connection, lease, TASK_EXPIRY_SECONDS):
            yield lease


def release(connection: Connection, lease: Lease) -> None:
    """Give the lease back, if it is still ours."""
    Catalog(connection).execute("leases_release", model=lease.model, token=lease.token)


def release_held_by(connection: Connection, holder: str) -> None:
    """Give back whatever a named holder has, for one that no longer knows its token."""
    Catalog(connection).execute("leases_release_by_holder", holder=holder)


def renew(connection: Connection, lease: Lease, seconds: float = EXPIRY_SECONDS) -> int | None:
    """Push the expiry out; gives the token, or None when the lease is another's by now."""
    row = Catalog(connection).one("leases_renew", model=lease.model, token=lease.token, seconds=seconds)
    return None if row is None else row["token"]


def lease_lost(lease: Lease) -> errors.LeaseLost:
    """What to raise when the lease is another's."""
    return errors.LeaseLost(
        f"Another run took over {lease.model} while this one was not looking. Nothing more was written by this run."
    )


def _busy(model: str, before: dict[str, Any]) -> errors.Busy:
    return errors.Busy(
        f"Another run of {model} is at work ({before['holder']}, lease until {before['expires_at']}). "
        "Two runs never write one model at once; try again when it has finished, or wait for it with --wait."
    )


def _waited(connection: Connection, model: str, on_busy: OnBusy) -> Lease:
    try:
        return acquire(connection, model, watched=True)
    except errors.Busy as busy:
        on_busy(busy)
    while True:
        time.sleep(_LOOK_AGAIN)
        with suppress(errors.Busy):
            return acquire(connection, model, watched=True)


@contextmanager
def _fenced(database: Database, lease: Lease) -> Iterator[None]:
    try:
        yield
    except errors.Transient as error:
        if _taken_over(database, lease):
            raise lease_lost(lease) from error
        raise


def _taken_over(database: Database, lease: Lease) -> bool:
    """Whether it is known to be another's; a database that does not answer knows nothing."""
    with suppress(errors.PrescoreError), database.connect() as connection:
        return Catalog(connection).one("leases_check", model=lease.model, token=lease.token) is None
    return False


@contextmanager
def _renewing(connection: Connection, lease: Lease, seconds: float = EXPIRY_SECONDS) -> Iterator[None]:
    """Renew in the background; a connection or lease that is lost shows at the next writing transaction."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(EXPIRY_SECONDS / 4) and not connection.closed:
            # Such as a lock that is waited for in vain: there is time for another try.
            with suppress(psycopg.Error):
                if renew(connection, lease, seconds) is None:
                    return

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
