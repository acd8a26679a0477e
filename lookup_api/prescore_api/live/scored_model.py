"""A model that scores the rows of many requests together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pyarrow as pa

from prescore.errors import DomainInvalid, PrescoreError, RequestInvalid
from prescore.scoring import rows as scoring
from prescore.scoring.predictions import to_lists
from prescore.scoring.rows import FeatureColumns
from prescore.scoring.scorer import Scorer
from prescore_api.live.cache import AnswerCache, CachedAnswer, Values
from prescore_api.live.messages import BodyRequest, ColumnsRequest, ScoredColumns, ScoreReply, ScoreRequest
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
        """Score the rows of requests in one call, those with Arrow arrays by themselves.

        Raises ModelInvalid when the model does not fit its signature.
        """
        parts = [self._read(request) for request in requests]
        shared = [part for part in parts if isinstance(part, RequestRows)]
        if not shared:
            return [part for part in parts if not isinstance(part, RequestRows)]
        scored = self._score_together(shared)
        outcomes: list[Outcome] = []
        start = 0
        for part in parts:
            if not isinstance(part, RequestRows):
                outcomes.append(part)
                continue
            end = start + len(part.rows)
            outcomes.append(part.reply(scored.slice(start, end)))
            start = end
        return outcomes

    def _read(self, request: ScoreRequest) -> RequestRows | Outcome:
        """Return the rows of a request, or its outcome: it is wrong, or was scored by itself."""
        # The other requests of the batch must not share its fate.
        try:
            if isinstance(request, BodyRequest):
                return BodyRows.parse(request, self._take_values)
            columns = [request.columns[name] for name in self._features]
            if any(isinstance(column, pa.Array) for column in columns):
                return self._score_arrays(request)
            return ColumnsRows(list(zip(*columns, strict=True)), request.times)
        except PrescoreError as error:
            return error

    def _score_arrays(self, request: ColumnsRequest) -> ScoredColumns:
        """Score rows that are given as Arrow arrays, which are never answered from the cache."""
        try:
            scored = self._compute(request.columns, [request.times.now] * request.rows)
        except DomainInvalid as error:
            raise RequestInvalid(str(error)) from error
        return scored.as_columns()

    def _score_together(self, parts: Sequence[RequestRows]) -> ScoredBatch:
        rows = list(chain.from_iterable(part.rows for part in parts))
        times = [part.times.now for part in parts for _ in part.rows]
        if self._cache is None:
            return self._compute(self._columns(rows), times)
        return self._score_uncached(self._cache, rows, times)

    def _score_uncached(self, cache: AnswerCache, rows: Sequence[Values], times: Sequence[float]) -> ScoredBatch:
        """Score the rows whose answers are not in the cache, and keep those."""
        if not rows:
            return self._compute(self._columns(rows), times)
        cached = cache.find(rows, times)
        places = [place for place in range(len(rows)) if place not in cached]
        fresh = self._compute(self._columns([rows[place] for place in places]), [times[place] for place in places])
        rejections = {places[number]: rejection for number, rejection in fresh.rejections.items()}
        answers = dict(cached)
        for place, values in zip(places, fresh.rows(), strict=True):
            answers[place] = CachedAnswer(values, times[place])
            if place not in rejections:
                cache.add(rows[place], answers[place])
        ordered = [answers[place] for place in range(len(rows))]
        columns = zip(*(answer.values for answer in ordered), strict=True)
        predictions = dict(zip(fresh.predictions, columns, strict=True))
        return ScoredBatch(predictions, rejections, [answer.scored_at for answer in ordered], frozenset(cached))

    def _compute(self, columns: FeatureColumns, times: Sequence[float]) -> ScoredBatch:
        scored = scoring.score(self._scorer, columns, len(times))
        rejections = {place: Rejection(each.column, each.reason) for place, each in scored.rejections.items()}
        return ScoredBatch(to_lists(scored.predictions), rejections, times, frozenset())

    def _columns(self, rows: Sequence[Values]) -> FeatureColumns:
        columns = zip(*rows, strict=True) if rows else [()] * len(self._features)
        return dict(zip(self._features, columns, strict=True))
