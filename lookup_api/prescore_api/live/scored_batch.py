"""Rows of many requests that were scored together, and the part of each request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prescore_api.formats.json_template import column_json
from prescore_api.live.cache import CachedAnswer
from prescore_api.live.messages import Counts, ScoredColumns
from prescore_api.service.live import Rejection


@dataclass(frozen=True)
class ScoredBatch:
    """Scored rows: predictions by output, rejections by place, times, and the places that the cache answered."""

    predictions: Mapping[str, Sequence[Any]]
    rejections: Mapping[int, Rejection]
    scored_at: Sequence[float]
    cached: frozenset[int]

    @cached_property
    def as_json(self) -> dict[str, list[bytes]]:
        """The predictions as JSON, by output."""
        return {name: column_json(values) for name, values in self.predictions.items()}

    def answers(self) -> list[CachedAnswer]:
        """Return the predictions of each row, and when they were computed."""
        rows = zip(*self.predictions.values(), strict=True)
        return list(map(CachedAnswer, rows, self.scored_at))

    def among(self, places: Sequence[int], cached: Mapping[int, CachedAnswer]) -> ScoredBatch:
        """Return these rows at some places, and at the others those that the cache has answered."""
        answers = dict(cached)
        answers.update(zip(places, self.answers(), strict=True))
        ordered = [answers[place] for place in range(len(answers))]
        predictions = {name: [row.values[number] for row in ordered] for number, name in enumerate(self.predictions)}
        rejections = {places[number]: rejection for number, rejection in self.rejections.items()}
        return ScoredBatch(predictions, rejections, [row.scored_at for row in ordered], frozenset(cached))

    def slice(self, start: int, end: int) -> ScoredSlice:
        """Return the rows from `start` up to `end`."""
        return ScoredSlice(self, start, end)

    def as_columns(self) -> ScoredColumns:
        """Return all rows as a reply."""
        return self.slice(0, len(self.scored_at)).as_columns()


@dataclass(frozen=True)
class ScoredSlice:
    """Those of the rows that belong to one request."""

    whole: ScoredBatch
    start: int
    end: int

    @cached_property
    def rejections(self) -> dict[int, Rejection]:
        """The rejections by place in the slice."""
        places = self.whole.rejections
        return {place - self.start: places[place] for place in range(self.start, self.end) if place in places}

    @property
    def scored_at(self) -> Sequence[float]:
        """When each row was scored."""
        return self.whole.scored_at[self.start : self.end]

    def counts(self) -> Counts:
        """Return how many rows were scored, cached and rejected."""
        cached = len(self.whole.cached.intersection(range(self.start, self.end)))
        rejected = len(self.rejections)
        return Counts(self.end - self.start - cached - rejected, cached, rejected)

    def predictions(self, names: Iterable[str]) -> dict[str, list[bytes]]:
        """Return predictions as JSON, by output; there are none of passthrough columns."""
        columns = self.whole.as_json
        return {name: columns[name][self.start : self.end] for name in names if name in columns}

    def as_columns(self) -> ScoredColumns:
        """Return the rows as a reply."""
        predictions = {name: values[self.start : self.end] for name, values in self.whole.predictions.items()}
        return ScoredColumns(predictions, self.rejections, self.scored_at, self.counts())
