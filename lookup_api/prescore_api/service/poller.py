"""Poll the catalog: follow published models, API keys and versions in memory, and see whether Postgres answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from prescore.catalog.queries import query
from prescore.errors import DatabaseUnavailable, PrescoreError, Unauthenticated
from prescore_api.service import metrics
from prescore_api.service.auth import OPEN, Caller, Keyring, claimed_id
from prescore_api.service.clock import Clock
from prescore_api.service.memory import InMemoryVersions
from prescore_api.service.models import Models
from prescore_api.tables.database import ReaderPool

POLL_SECONDS = 1.0
# An unknown key makes the server read the keys at once, as it may be new. The minimum interval keeps a client without
# a valid key from causing a query with each of its requests.
_KEYS_INTERVAL_SECONDS = 0.25
_OVERDUE_SECONDS = 3.0

_CANCEL_SECONDS = 0.5

_Read = Callable[[], Awaitable[None]]

_log = logging.getLogger("prescore_api")


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, whether it is canceled or raises a PrescoreError.

    Cancels again until the task has ended, because a single cancellation can be lost: psycopg raises OperationalError
    in its place if the connection breaks meanwhile, and before Python 3.12 `asyncio.wait_for` drops it if its future
    has just completed.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
    with suppress(asyncio.CancelledError, PrescoreError):
        await task


class Poller:
    """Reads the catalog every second. A new API key works at once, a revoked one for at most another second."""

    def __init__(
        self, reader: ReaderPool, models: Models, in_memory: InMemoryVersions, clock: Clock, *, open_to_all: bool
    ) -> None:
        self._reader = reader
        self._models = models
        self._in_memory = in_memory
        self._clock = clock
        self._keyring: Keyring | None = OPEN if open_to_all else None
        self._key_rows: list[Any] | None = None
        self._keys_read_at = -_KEYS_INTERVAL_SECONDS
        self._task: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._reading_keys: asyncio.Task[None] | None = None
        self._measured_models: set[str] = set()
        self._read_at = time.monotonic()
        self.up = True
        self.failure: PrescoreError | None = None

    async def start(self) -> None:
        """Read the catalog once, then keep polling in the background, which also loads versions into memory."""
        await self._read()
        self._task = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Stop all background tasks."""
        self._in_memory.stop()
        for task in (self._task, self._loading, self._reading_keys):
            if task is not None:
                await end(task)

    def require_ready(self) -> None:
        """Raise the failure of the last round, if any. This sends no query, so that probes cost nothing."""
        if self.failure is not None:
            raise self.failure
        elapsed = time.monotonic() - self._read_at
        if elapsed > _OVERDUE_SECONDS:
            raise DatabaseUnavailable("The database has not answered for a while.")

    async def caller(self, authorization: bytes | None) -> Caller:
        """Return the caller behind an Authorization header.

        Raises Unauthenticated, or DatabaseUnavailable as long as the keys have never been read.
        """
        if self._keyring is None:
            await self._read_keys_soon()
        try:
            return self._authenticate(authorization)
        except Unauthenticated:
            if not self.up or claimed_id(authorization) is None:
                raise
        # The key may have been created since the last round.
        await self._read_keys_soon()
        return self._authenticate(authorization)

    def _authenticate(self, authorization: bytes | None) -> Caller:
        if self._keyring is None:
            raise DatabaseUnavailable("The API keys have not been read yet.")
        return self._keyring.caller(authorization, self._clock.now())

    async def _read_keys_soon(self) -> None:
        """Read the keys within the minimum interval; concurrent requests share one query, and failures are ignored."""
        if self._reading_keys is None or self._reading_keys.done():
            self._reading_keys = asyncio.create_task(self._read_keys_later())
        with suppress(PrescoreError):
            await asyncio.shield(self._reading_keys)

    async def _read_keys_later(self) -> None:
        due_at = self._keys_read_at + _KEYS_INTERVAL_SECONDS
        await asyncio.sleep(due_at - time.monotonic())
        await self._read_keys()

    async def _poll(self) -> None:
        while True:
            # Loading a large version takes a while; the rounds do not wait for it.
            if self._loading is None or self._loading.done():
                self._loading = asyncio.create_task(self._in_memory.follow(self._models.latest()))
            await asyncio.sleep(POLL_SECONDS)
            await self._read()

    async def _read(self) -> None:
        """Run one round. Every read is attempted: a revoked key must stop working even if a model cannot be read."""
        reads: list[_Read] = [self._models.refresh, self._require_views]
        if self._keyring is not OPEN:
            reads.append(self._read_keys)
        succeeded = [await self._attempt(read) for read in reads]
        self._read_at = time.monotonic()
        up = all(succeeded)
        # Not any earlier: while Postgres is down, a round waits for a connection, and probes must not see it as ready.
        if up:
            self.failure = None
        if up != self.up:
            self.up = up
            _log.warning("the catalog can be read again" if up else "the catalog cannot be read")
        try:
            self._measure()
        # The metrics that workers share are files, and the disk may be full.
        except OSError as error:
            _log.warning("cannot write metrics: %s", error)

    async def _attempt(self, read: _Read) -> bool:
        try:
            await read()
        except PrescoreError as error:
            self.failure = error
            if self.up:
                _log.warning("%s", error)
        # A bug of ours must not end the rounds.
        except Exception:
            self.failure = PrescoreError()
            _log.exception("polling the catalog failed")
        else:
            return True
        return False

    async def _require_views(self) -> None:
        await self._reader.rows(query("lookup_ready"), {})

    async def _read_keys(self) -> None:
        self._keys_read_at = time.monotonic()
        rows = await self._reader.rows(query("api_keys_valid"), {})
        if self._keyring is None:
            self._keyring = Keyring()
        # Replacing ten thousand keys takes 50 ms, so unchanged keys are kept.
        if rows != self._key_rows:
            self._key_rows = rows
            self._keyring.replace(rows)

    def _measure(self) -> None:
        metrics.up.set(self.up)
        self._measure_pool()
        self._measure_memory()

    def _measure_pool(self) -> None:
        connections = self._reader.pool_stats()
        metrics.waiting.set(connections.pop("waiting"))
        for state, count in connections.items():
            metrics.pool.labels(state).set(count)

    def _measure_memory(self) -> None:
        sizes = {}
        for loaded in self._in_memory.loaded():
            model = loaded.table_version.model
            sizes[model] = loaded.nbytes
        refused = self._in_memory.refused
        self._measured_models.update(sizes, refused)
        # A model that has left memory is reported as 0 from then on.
        for model in self._measured_models:
            metrics.in_memory.labels(model).set(sizes.get(model, 0))
            metrics.in_memory_refused.labels(model).set(model in refused)
