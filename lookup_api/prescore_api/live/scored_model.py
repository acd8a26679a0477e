"""A model that scores the rows of many requests together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import pyarrow as pa

from prescore.errors import DomainInvalid, PrescoreError, RequestInvalid
from prescore.scoring import rows as scoring
from prescore.scoring.predictions import to_lists
from prescore.scoring.rows import FeatureColumns
from prescore.scoring.scorer import Scorer
from prescore_api.formats import arrow, arrow_scores
from prescore_api.formats.arrow_scores import LiveColumns
from prescore_api.live.cache import AnswerCache, Values
from prescore_api.live.messages import (
    ArrowRequest,
    BodyRequest,
    ColumnsRequest,
    ScoredArrow,
    ScoredColumns,
    ScoreReply,
    ScoreRequest,
)
from prescore_api.live.request_rows import BodyRows, ColumnsRows, RequestRows, taker
from prescore_api.live.scored_batch import ScoredBatch
from prescore_api.service.live import Rejection

Outcome = ScoreReply | Exception
"""The reply to a request, or the reason why it was refused."""


class ScoredModel:
    """The model of a version, with the answers that it may repeat."""

    def __init__(self, scorer: Scorer, cache_seconds: float) -> None:
        self._scorer = scorer
        self._features = list(scorer.features)
        self._take_values = taker(self._features)
        self._cache = AnswerCache(cache_seconds) if cache_seconds else None

    def score(self, requests: Sequence[ScoreRequest]) -> list[Outcome]:
        """Score the rows of requests in one call, those in Arrow by themselves.

        Raises ModelInvalid when the model does not fit its signature.
        """
        parts = [self._read(request) for request in requests]
        replies = self._replies([part for part in parts if isinstance(part, RequestRows)])
        return [next(replies) if isinstance(part, RequestRows) else part for part in parts]

    def _replies(self, parts: Sequence[RequestRows]) -> Iterator[ScoreReply]:
        """Score the rows of requests in one call, and yield the reply to each."""
        if not parts:
            return
        scored = self._score_together(parts)
        start = 0
        for part in parts:
            end = start + len(part.rows)
            yield part.reply(scored.slice(start, end))
            start = end

    def _read(self, request: ScoreRequest) -> RequestRows | Outcome:
        """Return the rows of a request, or its outcome: it is wrong, or was scored by itself."""
        # The other requests of the batch must not share its fate.
        try:
            if isinstance(request, BodyRequest):
                return BodyRows.parse(request, self._take_values)
            if isinstance(request, ArrowRequest):
                return self._score_stream(request)
            columns = [request.columns[name] for name in self._features]
            if any(isinstance(column, pa.Array) for column in columns):
                return self._score_arrays(request)
            return ColumnsRows(list(zip(*columns, strict=True)), request.times)
        except PrescoreError as error:
            return error

    def _score_arrays(self, request: ColumnsRequest) -> ScoredColumns:
        """Score rows that are given as Arrow arrays, which are never answered from the cache."""
        return self._compute_arrays(request.columns, request.rows, request.times.now).as_columns()

    def _score_stream(self, request: ArrowRequest) -> ScoredArrow:
        """Score rows of a stream, which are never answered from the cache either."""
        table = arrow_scores.read(request.body, request.numbers)
        features = {name: table.column(name).combine_chunks() for name in self._features}
        scored = self._compute_arrays(features, table.num_rows, request.now)
        live = LiveColumns(scored.predictions, scored.rejections, request.now)
        answers = arrow_scores.answer_live(table, request.key, request.outputs, live)
        return ScoredArrow(arrow.stream(answers), scored.as_columns().counts)

    def _compute_arrays(self, columns: FeatureColumns, rows: int, now: float) -> ScoredBatch:
        try:
            return self._compute(columns, [now] * rows)
        except DomainInvalid as error:
            raise RequestInvalid(str(error)) from error

    def _score_together(self, parts: Sequence[RequestRows]) -> ScoredBatch:
        rows = list(chain.from_iterable(part.rows for part in parts))
        times = [part.times.now for part in parts for _ in part.rows]
        if self._cache is None:
            return self._compute(self._columns(rows), times)
        return self._score_uncached(self._cache, rows, times)

    def _score_uncached(self, cache: AnswerCache, rows: Sequence[Values], times: Sequence[float]) -> ScoredBatch:
        """Score the rows whose answers are not in the cache, and keep those."""
        cached = cache.find(rows, times)
        places = [place for place in range(len(rows)) if place not in cached]
        columns = self._columns([rows[place] for place in places])
        fresh = self._compute(columns, [times[place] for place in places])
        for number, (place, answer) in enumerate(zip(places, fresh.answers(), strict=True)):
            if number not in fresh.rejections:
                cache.add(rows[place], answer)
        return fresh.among(places, cached)

    def _compute(self, columns: FeatureColumns, times: Sequence[float]) -> ScoredBatch:
        scored = scoring.score(self._scorer, columns, len(times))
        rejections = {}
        for place, rejection in scored.rejections.items():
            rejections[place] = Rejection(rejection.column, rejection.reason)
        return ScoredBatch(to_lists(scored.predictions), rejections, times, frozenset())

    def _columns(self, rows: Sequence[Values]) -> FeatureColumns:
        columns = zip(*rows, strict=True) if rows else [()] * len(self._features)
        return dict(zip(self._features, columns, strict=True))
