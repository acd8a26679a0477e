"""Keeps the server in step with the catalog: models, API keys, what is in memory, and whether Postgres is there."""

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
from prescore_api.service.auth import OPEN, Caller, Keyring
from prescore_api.service.clock import Clock
from prescore_api.service.memory import InMemoryVersions
from prescore_api.service.models import Models
from prescore_api.tables.database import ReaderPool

POLL_SECONDS = 1.0
# Somebody without a key must not make the server ask the database for each of their requests.
_ASK_AGAIN_SECONDS = 0.25
_OVERDUE_SECONDS = 3.0

_log = logging.getLogger("prescore_api")


class Poller:
    """Reads the catalog every second: a new API key is known at once, a revoked one no longer after a second."""

    def __init__(
        self, reader: ReaderPool, models: Models, in_memory: InMemoryVersions, clock: Clock, *, open_to_all: bool
    ) -> None:
        self._reader, self._models, self._in_memory, self._clock = reader, models, in_memory, clock
        self._keyring: Keyring | None = OPEN if open_to_all else None
        self._keys_read = -_ASK_AGAIN_SECONDS
        self._task: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._shown: set[str] = set()
        self._key_rows: list[Any] | None = None
        self.up = True
        self.trouble: PrescoreError | None = None
        self._read_at = time.monotonic()

    async def start(self) -> None:
        """Read it for the first time, then go on in the background; what is to be in memory comes there then."""
        await self._read()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End what goes on in the background."""
        self._in_memory.stop()
        for task in (self._task, self._loading, self._asking):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, PrescoreError):
                    await task

    def require_ready(self) -> None:
        """Raise what is wrong, as of the last round: whoever asks whether the server is ready costs nothing."""
        if self.trouble is not None:
            raise self.trouble
        if time.monotonic() - self._read_at > _OVERDUE_SECONDS:
            raise DatabaseUnavailable("The database has not answered for a while.")

    async def caller(self, authorization: bytes | None) -> Caller:
        """Who asks; raises Unauthenticated, or DatabaseUnavailable while no key could be read yet."""
        if self._keyring is None:
            await self._read_keys_soon()
        try:
            return self._ring().caller(authorization, self._clock.now())
        except Unauthenticated:
            if authorization is None or not self.up:
                raise
        # It may have been made a moment ago.
        await self._read_keys_soon()
        return self._ring().caller(authorization, self._clock.now())

    def _ring(self) -> Keyring:
        if self._keyring is None:
            raise DatabaseUnavailable("No API keys could be read yet.")
        return self._keyring

    async def _read_keys_soon(self) -> None:
        """Once for all who wait for it, and only so often; without Postgres, not at all."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._read_keys_later())
        with suppress(PrescoreError):
            await asyncio.shield(self._asking)

    async def _read_keys_later(self) -> None:
        await asyncio.sleep(self._keys_read + _ASK_AGAIN_SECONDS - time.monotonic())
        await self._read_keys()

    async def _run(self) -> None:
        while True:
            # A large one takes its time, and nothing waits for it.
            if self._loading is None or self._loading.done():
                self._loading = asyncio.create_task(self._in_memory.follow(list(self._models.seen.values())))
            await asyncio.sleep(POLL_SECONDS)
            await self._read()

    async def _read(self) -> None:
        """Both are tried whatever becomes of the other: a key that is revoked must not go on while a model is wrong."""
        self.trouble = None
        read = [await self._tried(self._models.refresh), await self._tried(self._require_views)]
        if self._keyring is not OPEN:
            read.append(await self._tried(self._read_keys))
        self._read_at = time.monotonic()
        if all(read) != self.up:
            self.up = all(read)
            _log.warning("the catalog can be read again" if self.up else "the catalog cannot be read")
        try:
            self._measure()
        except OSError as error:  # the metrics' files, on a full disk
            _log.warning("metrics cannot be written: %s", error)

    async def _tried(self, read: Callable[[], Awaitable[None]]) -> bool:
        try:
            await read()
        except PrescoreError as error:
            self.trouble = error
            if self.up:
                _log.warning("%s", error)
        except Exception:  # a fault of ours must not end the rounds
            self.trouble = PrescoreError()
            _log.exception("the catalog could not be followed")
        else:
            return True
        return False

    async def _require_views(self) -> None:
        await self._reader.rows(query("lookup_ready"), {})

    async def _read_keys(self) -> None:
        self._keys_read = time.monotonic()
        rows = await self._reader.rows(query("api_keys_valid"), {})
        if self._keyring is None:
            self._keyring = Keyring()
        # Ten thousand of them take 50 ms to take in.
        if rows != self._key_rows:
            self._key_rows = rows
            self._keyring.replace(rows)

    def _measure(self) -> None:
        metrics.up.set(self.up)
        told = self._reader.pool_stats()
        metrics.waiting.set(told.pop("waiting"))
        for state, number in told.items():
            metrics.pool.labels(state).set(number)
        held = {resident.table_version.model: resident.nbytes for resident in self._in_memory.held()}
        self._shown |= {*held, *self._in_memory.refused}
        # One that has gone is shown as nothing.
        for model in self._shown:
            metrics.in_memory.labels(model).set(held.get(model, 0))
            metrics.in_memory_refused.labels(model).set(model in self._in_memory.refused)
