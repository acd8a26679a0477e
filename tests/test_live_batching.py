"""Batching of live answers: requests share calls, and none waits without a bound, whatever the model does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from fix_project import linear
from prescore.errors import ModelInvalid, Overloaded
from prescore.scoring.scorer import Scorer
from prescore.scoring.session import ModelSession
from prescore.scoring.signature import Input, Selection, Signature
from prescore.store.model_file import ModelFile
from prescore_api.formats.scores import ScoreFrame
from prescore_api.live.batching import BatchedCalls
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.cache import AnswerCache, CachedAnswer
from prescore_api.live.messages import (
    BodyRequest,
    ColumnsRequest,
    Counts,
    ScoredBody,
    ScoredColumns,
    ScoreReply,
    ScoreRequest,
    Times,
)
from prescore_api.live.scored_model import ScoredModel
from prescore_api.service.live import Rejection

PATIENT = LiveBounds(queue_seconds=60, call_seconds=60, queue_rows=100)
TIMES = Times(now=1000.0, sent_at=0.0)


class Gate:
    """A model that doubles x, and waits in each call until it is opened."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.entered = asyncio.Semaphore(0)
        self.opened = asyncio.Semaphore(0)

    async def score(self, requests: list[ScoreRequest]) -> list[ScoreReply | Exception]:
        columns = [request.columns["x"] for request in requests if isinstance(request, ColumnsRequest)]
        values = [value for column in columns for value in column]
        self.calls.append(values)
        self.entered.release()
        await self.opened.acquire()
        if 13 in values:
            raise ModelInvalid("the model does not fit")
        counts = Counts(1, 0, 0)
        return [ScoredColumns({"y": [2 * value for value in column]}, {}, [], counts) for column in columns]


def run(bounds: LiveBounds, test: Callable[[Gate, BatchedCalls], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        gate = Gate()
        await test(gate, BatchedCalls("m", gate.score, bounds))

    asyncio.run(main())


async def submit(scoring: BatchedCalls, *values: float) -> list[float]:
    """Score values of x, and return those of y."""
    reply = await scoring.submit(ColumnsRequest({"x": list(values)}, len(values), TIMES), len(values))
    return list(reply.predictions["y"])


async def entered(gate: Gate) -> None:
    """Wait until the model is called."""
    await asyncio.wait_for(gate.entered.acquire(), 20)


def open_gate(gate: Gate, calls: int) -> None:
    for _ in range(calls):
        gate.opened.release()


def test_requests_that_arrive_during_a_call_share_the_next_one() -> None:
    async def test(gate: Gate, scoring: BatchedCalls) -> None:
        first = asyncio.create_task(submit(scoring, 1.0))
        await entered(gate)
        others = [asyncio.create_task(submit(scoring, *values)) for values in ([2.0, -3.0], [], [4.0])]
        await asyncio.sleep(0)
        open_gate(gate, 2)
        assert await first == [2.0]
        assert await asyncio.gather(*others) == [[4.0, -6.0], [], [8.0]]
        assert gate.calls == [[1.0], [2.0, -3.0, 4.0]]

    run(PATIENT, test)


def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    async def test(gate: Gate, scoring: BatchedCalls) -> None:
        running = asyncio.create_task(submit(scoring, 1.0))
        await entered(gate)
        waiting = asyncio.create_task(submit(scoring, *[1.0] * 90))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="90 rows are waiting"):
            await submit(scoring, *[1.0] * 11)
        fits = asyncio.create_task(submit(scoring, *[1.0] * 10))
        await asyncio.sleep(0)
        open_gate(gate, 10)
        await asyncio.gather(running, waiting, fits)
        # A request may be larger than the queue by itself.
        assert len(await submit(scoring, *[1.0] * 500)) == 500

    run(PATIENT, test)


def test_a_caller_that_has_gone_leaves_its_place() -> None:
    async def test(gate: Gate, scoring: BatchedCalls) -> None:
        running = asyncio.create_task(submit(scoring, 1.0))
        await entered(gate)
        gone = asyncio.create_task(submit(scoring, *[5.0] * 100))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        waiting = asyncio.create_task(submit(scoring, *[2.0] * 100))
        await asyncio.sleep(0)
        open_gate(gate, 2)
        assert len(await waiting) == 100
        await running
        assert gate.calls == [[1.0], [2.0] * 100]

    run(PATIENT, test)


def test_a_model_that_is_stuck_bounds_every_wait() -> None:
    bounds = LiveBounds(queue_seconds=0.05, call_seconds=0.05, queue_rows=100)

    async def test(gate: Gate, scoring: BatchedCalls) -> None:
        submitted = [asyncio.create_task(submit(scoring, 1.0)) for _ in range(20)]
        for outcome in await asyncio.gather(*submitted, return_exceptions=True):
            assert isinstance(outcome, Overloaded)
            assert "they were not scored within 0.05 s" in str(outcome)
        open_gate(gate, 100)
        # Nothing of what was refused is still scored, or counted as waiting.
        assert await submit(scoring, 2.0) == [4.0]
        assert gate.calls[-1] == [2.0]

    run(bounds, test)


def test_a_call_that_is_slow_bounds_the_wait_of_those_behind_it() -> None:
    async def test(gate: Gate, scoring: BatchedCalls) -> None:
        running = asyncio.create_task(submit(scoring, 1.0))
        await entered(gate)
        waiting = [asyncio.create_task(submit(scoring, *[2.0] * 50)) for _ in range(2)]
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert "they have waited for 0.05 s" in str(outcome)
        assert not running.done()
        open_gate(gate, 1)
        assert await running == [2.0]
        assert gate.calls == [[1.0]]

    run(LiveBounds(queue_seconds=0.05, call_seconds=60, queue_rows=100), test)


def test_an_error_of_the_model_reaches_its_requests_and_no_later_one() -> None:
    async def test(gate: Gate, scoring: BatchedCalls) -> None:
        open_gate(gate, 100)
        with pytest.raises(ModelInvalid, match="does not fit"):
            await submit(scoring, 13)
        cancelled = asyncio.create_task(submit(scoring, 1.0))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await submit(scoring, 1.0) == [2.0]

    run(PATIENT, test)


def churn(cache_seconds: float = 0.0) -> ScoredModel:
    """Return the model of the test project, which scores `visits` and `spend`."""
    signature = Signature(
        inputs={"features": Input("features", "float32", (None, 2), ("visits", "spend"))},
        outputs={"score": Selection("score", "real", "score", "float32")},
        nullable=frozenset(),
        allow_precision_loss=frozenset(),
        batch_rows=4096,
    )
    return ScoredModel(Scorer(ModelSession(ModelFile(linear([1.0, -0.5])), "churn"), signature), cache_seconds)


def body(*rows: Any, answered: dict[int, bytes] | None = None, now: float = 1000.0) -> BodyRequest:
    """Return a request to score rows, whose key is the bigint `customer`."""
    frame = ScoreFrame(b'{"model":"churn","version":1,"source":"live","key":', b'"2026-11-30T00:00:00+00:00"')
    key: Any = [{"name": "customer", "type": "bigint"}]
    content = orjson.dumps({"rows": rows})
    return BodyRequest(content, answered or {}, frame, key, ["score", "passed_through"], Times(now, 0.0))


def answers(reply: ScoreReply | Exception) -> list[dict[str, Any]]:
    assert isinstance(reply, ScoredBody), reply
    parsed: list[dict[str, Any]] = orjson.loads(reply.content)["answers"]
    return parsed


def test_requests_that_are_scored_together_get_their_own_rows_and_errors() -> None:
    def features(visits: Any) -> dict[str, Any]:
        return {"visits": visits, "spend": 0}

    columns = {"visits": [5.0, "x"], "spend": [0.0, 0.0]}
    arrays = {"visits": pa.array([6.0], pa.float32()), "spend": pa.array([0.0], pa.float32())}
    wrong_arrays = {"visits": pa.array(["6"]), "spend": pa.array([0.0], pa.float32())}
    outcomes = churn().score(
        [
            body({"features": features(1), "key": {"customer": 7}}),
            body(
                {"features": features(2)},
                {"key": {"customer": 8}},
                {"features": features(None)},
                answered={1: b'{"source":"table"}'},
            ),
            body({"features": features(3)}, {"other": 1}),
            body({"features": features(3), "key": {"customer": "x"}}),
            body(),
            ColumnsRequest(columns, 2, TIMES),
            ColumnsRequest(arrays, 1, TIMES),
            ColumnsRequest(wrong_arrays, 1, TIMES),
            body({"features": features(4)}),
        ]
    )
    keyed, partly, *refused, empty, by_column, by_array, wrong_array, last = outcomes
    score = {visits: pytest.approx(1 / (1 + np.exp(-visits)), abs=1e-6) for visits in range(1, 7)}
    assert [(answer["key"], answer["prediction"]) for answer in answers(keyed)] == [
        ({"customer": 7}, {"score": score[1]})
    ]
    scored, from_table, rejected = answers(partly)
    assert scored["prediction"] == {"score": score[2]}
    assert from_table == {"source": "table"}
    assert (rejected["prediction"], rejected["rejected"]["column"]) == (None, "visits")
    assert isinstance(partly, ScoredBody)
    assert partly.counts == Counts(scored=1, cached=0, rejected=1)
    assert [str(error)[:9] for error in refused] == ["rows[1] h", "rows[0]: "]
    assert answers(empty) == []
    assert isinstance(by_column, ScoredColumns)
    assert by_column.predictions == {"score": [score[5], None]}
    assert by_column.rejections == {1: Rejection("visits", "Feature visits must be a number (float32), not 'x'.")}
    assert isinstance(by_array, ScoredColumns)
    assert by_array.predictions == {"score": [score[6]]}
    assert "the model takes float32. Cast it first" in str(wrong_array)
    assert answers(last)[0]["prediction"] == {"score": score[4]}


@pytest.mark.parametrize("value", [None, math.nan, -math.inf])
def test_the_answer_for_an_infinite_number_is_not_that_for_another_value(value: float | None) -> None:
    cache = AnswerCache(60)
    cache.add((math.inf, 1.0), CachedAnswer((0.5,), 1000.0))
    assert cache.find([(value, 1.0)], [1000.0]) == {}


def test_answers_are_repeated_until_they_are_too_old() -> None:
    model = churn(cache_seconds=60)
    row, other = ({"features": {"visits": visits, "spend": 0.5}} for visits in (1, 2))
    (first,) = model.score([body(row)])
    again, both = model.score([body(row, now=1050), body(other, row, {"features": {}}, now=1060)])
    (late,) = model.score([body(row, now=1060.5)])
    assert isinstance(both, ScoredBody)
    assert both.counts == Counts(scored=1, cached=1, rejected=1)
    times = [answer["data_as_of"][14:19] for reply in (first, again, both, late) for answer in answers(reply)]
    assert times == ["16:40", "16:40", "17:40", "16:40", "17:40", "17:40"]
    predictions = [answer["prediction"] for reply in (first, again, late) for answer in answers(reply)]
    assert predictions == [answers(first)[0]["prediction"]] * 3
