"""Batching of concurrent requests: rows that arrive while a model is computing share its next call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import pyarrow as pa

from prescore.errors import DomainInvalid, LiveUnavailable, Overloaded, RequestInvalid
from prescore.scoring.rows import FeatureColumns, Rejection, ScoredRows
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.thread import WorkerThread
from prescore_api.service import metrics

Score = Callable[[FeatureColumns, int], ScoredRows]

_BATCH_ROWS = 1024
"""A batch takes no further request from this many rows on."""


class BatchedScoring:
    """Scores the rows of one version in a thread of its own, so that a slow model holds up nothing but itself.

    `name` is that of the model, `features` are those that the rows must have.
    """

    def __init__(self, name: str, features: Sequence[str], score: Score, bounds: LiveBounds) -> None:
        self._name = name
        self._features = features
        self._score = score
        self._bounds = bounds
        self._thread = WorkerThread(f"prescore live {name}")
        self._loop = asyncio.get_running_loop()
        self._queue: list[_Request] = []
        self._queued_rows = 0
        self._worker: asyncio.Task[None] | None = None
        self._metrics = metrics.live_metrics(name)

    async def submit(self, columns: FeatureColumns, rows: int) -> ScoredRows:
        """Score rows; raises Overloaded, RequestInvalid for a column of the wrong type, and what the model raises."""
        if self._queued_rows and self._queued_rows + rows > self._bounds.queue_rows:
            self._drop_overdue()
            if self._queued_rows + rows > self._bounds.queue_rows:
                raise self._overloaded(f"{self._queued_rows:,} rows are waiting")
        request = _Request(columns, rows, self._loop.create_future(), self._loop.time())
        self._queue.append(request)
        self._count_queue(rows)
        if self._worker is None or self._worker.done():
            self._worker = self._loop.create_task(self._work())
        bounds = self._bounds
        try:
            async with asyncio.timeout(bounds.queue_seconds + bounds.call_seconds):
                return await request.future
        except TimeoutError as error:
            self._forget(request)
            raise self._overloaded(f"they were not scored within {bounds.call_seconds:g} s") from error

    async def _work(self) -> None:
        while self._queue:
            self._drop_overdue()
            batch: list[_Request] = []
            rows = 0
            while self._queue and (not batch or rows + self._queue[0].rows <= _BATCH_ROWS):
                request = self._queue.pop(0)
                rows += request.rows
                batch.append(request)
            if batch:
                self._count_queue(-rows)
                await self._run(batch, rows)

    async def _run(self, batch: list[_Request], rows: int) -> None:
        now = self._loop.time()
        for request in batch:
            self._metrics.wait_seconds.observe(now - request.submitted_at)
        self._metrics.batch_rows.observe(rows)
        try:
            results = await self._thread.run(lambda: _score_together(self._score, self._features, batch))
        except Exception as error:
            for request in batch:
                request.fail(error)
        except BaseException:
            # The task was cancelled, so that nothing would ever resolve these futures.
            for request in (*batch, *self._queue):
                request.fail(LiveUnavailable("The server is shutting down."))
            raise
        else:
            for request, result in zip(batch, results, strict=True):
                request.resolve(result)

    def _drop_overdue(self) -> None:
        """Fail the requests that have waited for too long; the queue is in order of arrival."""
        deadline = self._loop.time() - self._bounds.queue_seconds
        while self._queue and self._queue[0].submitted_at < deadline:
            request = self._queue.pop(0)
            self._count_queue(-request.rows)
            request.fail(self._overloaded(f"they have waited for {self._bounds.queue_seconds:g} s"))

    def _forget(self, request: _Request) -> None:
        if request in self._queue:
            self._queue.remove(request)
            self._count_queue(-request.rows)

    def _count_queue(self, rows: int) -> None:
        self._queued_rows += rows
        self._metrics.queue_rows.inc(rows)

    def _overloaded(self, why: str) -> Overloaded:
        self._metrics.refused.inc()
        return Overloaded(f"{self._name} has more rows to score than it can compute: {why}. Try again later.")


class _Request(NamedTuple):
    columns: FeatureColumns
    rows: int
    future: asyncio.Future[ScoredRows]
    submitted_at: float

    def resolve(self, result: ScoredRows | Exception) -> None:
        if isinstance(result, Exception):
            self.fail(result)
        elif not self.future.done():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            # asyncio logs exceptions that are never retrieved, and the caller may have been cancelled.
            self.future.exception()


def _score_together(
    score: Score, features: Sequence[str], requests: Sequence[_Request]
) -> list[ScoredRows | Exception]:
    """Score the rows of requests in one call; those with Arrow arrays are converted, and so scored, by themselves."""
    results: dict[int, ScoredRows | Exception] = {}
    together = []
    for number, request in enumerate(requests):
        if any(isinstance(request.columns[name], pa.Array) for name in features):
            results[number] = _score_alone(score, request)
        else:
            together.append(number)
    if together:
        merged = {
            name: list(chain.from_iterable(requests[number].columns[name] for number in together)) for name in features
        }
        counts = [requests[number].rows for number in together]
        scored = score(merged, sum(counts))
        results |= zip(together, _split(scored, counts), strict=True)
    return [results[number] for number in range(len(requests))]


def _score_alone(score: Score, request: _Request) -> ScoredRows | Exception:
    try:
        return score(request.columns, request.rows)
    except DomainInvalid as error:
        return RequestInvalid(str(error))
    # The other requests of the batch must not share its fate.
    except Exception as error:
        return error


def _split(scored: ScoredRows, counts: Sequence[int]) -> list[ScoredRows]:
    if len(counts) == 1:
        return [scored]
    parts, start = [], 0
    for count in counts:
        rejections: Mapping[int, Rejection] = {}
        if scored.rejections:
            rejections = {
                number: scored.rejections[start + number]
                for number in range(count)
                if start + number in scored.rejections
            }
        parts.append(ScoredRows(scored.predictions.slice(start, count), dict(rejections)))
        start += count
    return parts
