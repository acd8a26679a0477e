"""Batching of concurrent requests: rows that arrive while the scoring process works on others share its next call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, overload

from prescore.errors import LiveUnavailable, Overloaded
from prescore_api.formats.score_rows import KeyedRows
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.messages import (
    ArrowRequest,
    BodyRequest,
    ColumnsRequest,
    KeysRequest,
    ScoredArrow,
    ScoredBody,
    ScoredColumns,
    ScoreReply,
    ScoreRequest,
)
from prescore_api.service import metrics

Request = ScoreRequest | KeysRequest
Reply = ScoreReply | KeyedRows
Call = Callable[[list[Any]], Awaitable[list[Any]]]
"""Works on requests together: each has a reply, or the exception that says why it was refused."""

_BATCH_ROWS = 1024
"""A batch takes no further request from this many rows on."""


class BatchedCalls:
    """Calls the scoring process for the rows of one model, one batch at a time, with a bound on the rows that wait.

    `name` is that of the model. `scores` is false for calls that only read the keys of rows: the metrics of batches and
    of the queue are about scoring.
    """

    def __init__(self, name: str, call: Call, bounds: LiveBounds, *, scores: bool = True) -> None:
        self._name = name
        self._call = call
        self._bounds = bounds
        self._scores = scores
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._queued_rows = 0
        self._worker: asyncio.Task[None] | None = None
        self._metrics = metrics.live_metrics(name)

    @overload
    async def submit(self, request: BodyRequest, rows: int) -> ScoredBody: ...

    @overload
    async def submit(self, request: ArrowRequest, rows: int) -> ScoredArrow: ...

    @overload
    async def submit(self, request: ColumnsRequest, rows: int) -> ScoredColumns: ...

    @overload
    async def submit(self, request: KeysRequest, rows: int) -> KeyedRows: ...

    async def submit(self, request: Request, rows: int) -> Reply:
        """Return the reply to a request with about so many rows; raises Overloaded, and what the call raises."""
        if self._queued_rows and self._queued_rows + rows > self._bounds.queue_rows:
            self._drop_overdue()
            if self._queued_rows + rows > self._bounds.queue_rows:
                raise self._overloaded(f"{self._queued_rows:,} rows are waiting")
        waiting = _Waiting(request, rows, self._loop.create_future(), self._loop.time())
        self._queue.append(waiting)
        self._count_queue(rows)
        if self._worker is None or self._worker.done():
            self._worker = self._loop.create_task(self._work())
        bounds = self._bounds
        # The call in front of a request may take longer than the request may wait.
        overdue = self._loop.call_later(bounds.queue_seconds, self._drop_overdue)
        try:
            async with asyncio.timeout(bounds.queue_seconds + bounds.call_seconds):
                return await waiting.future
        except TimeoutError as error:
            self._forget(waiting)
            done = "scored" if self._scores else "read"
            raise self._overloaded(f"they were not {done} within {bounds.call_seconds:g} s") from error
        except LiveUnavailable:
            self._metrics.unavailable.inc()
            raise
        # A caller that has gone leaves its place to others.
        except asyncio.CancelledError:
            self._forget(waiting)
            raise
        finally:
            overdue.cancel()

    async def _work(self) -> None:
        while self._queue:
            self._drop_overdue()
            batch: list[_Waiting] = []
            rows = 0
            while self._queue and (not batch or rows + self._queue[0].rows <= _BATCH_ROWS):
                waiting = self._queue.popleft()
                rows += waiting.rows
                batch.append(waiting)
            if batch:
                self._count_queue(-rows)
                await self._run(batch, rows)

    async def _run(self, batch: list[_Waiting], rows: int) -> None:
        if self._scores:
            self._measure(batch, rows)
        try:
            outcomes = await self._call([waiting.request for waiting in batch])
        except Exception as error:
            for waiting in batch:
                waiting.fail(error)
        except BaseException:
            # The task was cancelled, so that nothing would ever resolve these futures.
            for waiting in (*batch, *self._queue):
                waiting.fail(LiveUnavailable("The server is shutting down."))
            raise
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                self._count(outcome)
                waiting.resolve(outcome)

    def _measure(self, batch: list[_Waiting], rows: int) -> None:
        now = self._loop.time()
        for waiting in batch:
            self._metrics.wait_seconds.observe(now - waiting.submitted_at)
        self._metrics.batch_rows.observe(rows)

    def _count(self, outcome: Reply | Exception) -> None:
        """Count the rows that were scored, repeated from the cache and rejected."""
        if isinstance(outcome, ScoreReply):
            counts, counters = outcome.counts, self._metrics
            counters.scored.inc(counts.scored)
            counters.cached.inc(counts.cached)
            counters.rejected.inc(counts.rejected)

    def _drop_overdue(self) -> None:
        """Fail the requests that have waited for too long; the queue is in order of arrival."""
        deadline = self._loop.time() - self._bounds.queue_seconds
        while self._queue and self._queue[0].submitted_at <= deadline:
            waiting = self._queue.popleft()
            self._count_queue(-waiting.rows)
            waiting.fail(self._overloaded(f"they have waited for {self._bounds.queue_seconds:g} s"))

    def _forget(self, waiting: _Waiting) -> None:
        if waiting in self._queue:
            self._queue.remove(waiting)
            self._count_queue(-waiting.rows)

    def _count_queue(self, rows: int) -> None:
        self._queued_rows += rows
        if self._scores:
            self._metrics.queue_rows.inc(rows)

    def _overloaded(self, why: str) -> Overloaded:
        self._metrics.overloaded.inc()
        message = f"{self._name} has more rows to score than it can compute"
        if not self._scores:
            message = f"More keys of rows for {self._name} arrive than the server can read"
        return Overloaded(f"{message}: {why}. Try again later.")


class _Waiting(NamedTuple):
    request: Request
    rows: int
    future: asyncio.Future[Reply]
    submitted_at: float

    def resolve(self, outcome: Reply | Exception) -> None:
        if isinstance(outcome, Exception):
            self.fail(outcome)
        elif not self.future.done():
            self.future.set_result(outcome)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            # asyncio logs exceptions that are never retrieved, and the caller may have been cancelled.
            self.future.exception()
