"""Batching of live answers: requests share calls, and none waits without a bound, whatever the model does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pyarrow as pa
import pytest

from prescore.errors import ModelInvalid, Overloaded
from prescore.scoring.rows import FeatureColumns, Rejection, ScoredRows
from prescore_api.live.batching import BatchedScoring
from prescore_api.live.bounds import LiveBounds

PATIENT = LiveBounds(queue_seconds=60, call_seconds=60, queue_rows=100)


class Gate:
    """A model that doubles x, and waits in each call until it is opened. It rejects what is negative."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.entered = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)

    def score(self, columns: FeatureColumns, rows: int) -> ScoredRows:
        values = columns["x"]
        values = values.to_pylist() if isinstance(values, pa.Array) else list(values)
        self.calls.append(values)
        self.entered.release()
        self.opened.acquire()
        if 13 in values:
            raise ModelInvalid("the model does not fit")
        assert len(values) == rows
        rejections = {place: Rejection("x", f"{value} is negative") for place, value in enumerate(values) if value < 0}
        doubled = [None if value < 0 else 2 * value for value in values]
        return ScoredRows(pa.record_batch({"y": pa.array(doubled, pa.float64())}), rejections)


def run(bounds: LiveBounds, test: Callable[[Gate, BatchedScoring], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        gate = Gate()
        try:
            await test(gate, BatchedScoring("m", ["x"], gate.score, bounds))
        finally:
            gate.opened.release(1000)

    asyncio.run(main())


async def entered(gate: Gate) -> None:
    """Wait until the model is called."""
    assert await asyncio.to_thread(gate.entered.acquire, timeout=20)


def test_requests_that_arrive_during_a_call_share_the_next_one() -> None:
    async def test(gate: Gate, scoring: BatchedScoring) -> None:
        first = asyncio.create_task(scoring.submit({"x": [1.0]}, 1))
        await entered(gate)
        others = [
            asyncio.create_task(scoring.submit({"x": values}, len(values)))
            for values in ([2.0, -3.0], [], [4.0], [-5.0])
        ]
        alone = asyncio.create_task(scoring.submit({"x": pa.array([6.0])}, 1))
        await asyncio.sleep(0)
        gate.opened.release(3)
        assert (await first).predictions.to_pydict() == {"y": [2.0]}
        results = await asyncio.gather(*others)
        assert [result.predictions.to_pydict()["y"] for result in results] == [[4.0, None], [], [8.0], [None]]
        assert [result.rejections for result in results] == [
            {1: Rejection("x", "-3.0 is negative")}, {}, {}, {0: Rejection("x", "-5.0 is negative")},
        ]  # fmt: skip
        assert (await alone).predictions.to_pydict() == {"y": [12.0]}
        assert sorted(gate.calls) == [[1.0], [2.0, -3.0, 4.0, -5.0], [6.0]]

    run(PATIENT, test)


def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    async def test(gate: Gate, scoring: BatchedScoring) -> None:
        running = asyncio.create_task(scoring.submit({"x": [1.0]}, 1))
        await entered(gate)
        waiting = asyncio.create_task(scoring.submit({"x": [1.0] * 90}, 90))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="90 rows are waiting"):
            await scoring.submit({"x": [1.0] * 11}, 11)
        fits = asyncio.create_task(scoring.submit({"x": [1.0] * 10}, 10))
        await asyncio.sleep(0)
        gate.opened.release(10)
        await asyncio.gather(running, waiting, fits)
        # A request may be larger than the queue by itself.
        assert (await scoring.submit({"x": [1.0] * 500}, 500)).predictions.num_rows == 500

    run(PATIENT, test)


def test_a_model_that_is_stuck_bounds_every_wait() -> None:
    bounds = LiveBounds(queue_seconds=0.05, call_seconds=0.05, queue_rows=100)

    async def test(gate: Gate, scoring: BatchedScoring) -> None:
        submitted = [asyncio.create_task(scoring.submit({"x": [1.0]}, 1)) for _ in range(20)]
        for outcome in await asyncio.gather(*submitted, return_exceptions=True):
            assert isinstance(outcome, Overloaded)
        gate.opened.release(100)
        # Nothing of what was refused is still scored, or counted as waiting.
        assert (await scoring.submit({"x": [2.0]}, 1)).predictions.to_pydict() == {"y": [4.0]}
        assert gate.calls[-1] == [2.0]

    run(bounds, test)


def test_an_error_of_the_model_reaches_its_requests_and_no_later_one() -> None:
    async def test(gate: Gate, scoring: BatchedScoring) -> None:
        gate.opened.release(100)
        with pytest.raises(ModelInvalid, match="does not fit"):
            await scoring.submit({"x": [13]}, 1)
        cancelled = asyncio.create_task(scoring.submit({"x": [1.0]}, 1))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert (await scoring.submit({"x": [1.0]}, 1)).predictions.to_pydict() == {"y": [2.0]}

    run(PATIENT, test)
