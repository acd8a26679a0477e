"""The rows of features in a request, and the reply to it once they are scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from prescore.catalog.catalog import Column
from prescore.scoring.feature_values import MISSING
from prescore_api.formats import score_rows, scores
from prescore_api.formats.score_rows import ScoreRow
from prescore_api.formats.scores import LiveRows
from prescore_api.live.cache import Values
from prescore_api.live.messages import BodyRequest, ScoredBody, ScoredColumns, Times
from prescore_api.live.scored_batch import ScoredSlice

TakeValues = Callable[[Iterable[Any]], list[Values]]
"""Takes the values of a model's features out of rows, each a mapping by name."""


@dataclass(frozen=True)
class ColumnsRows:
    """A request's rows of features, whose reply is columns."""

    rows: Sequence[Values]
    times: Times

    def reply(self, scored: ScoredSlice) -> ScoredColumns:
        """Return the reply to the request."""
        return scored.as_columns()


@dataclass(frozen=True)
class BodyRows:
    """A body's rows of features: their numbers and keys, whose reply is JSON. The other rows have answers already."""

    request: BodyRequest
    rows: Sequence[Values]
    numbers: Sequence[int]
    keys: Sequence[bytes]

    @classmethod
    def parse(cls, request: BodyRequest, take_values: TakeValues) -> BodyRows:
        """Read the rows to score; raises RequestInvalid, TooLarge or KeyInvalid."""
        rows = score_rows.parse(request.body)
        numbers: Sequence[int] = range(len(rows))
        if request.answered:
            numbers = [number for number in numbers if number not in request.answered]
            rows = [rows[number] for number in numbers]
        values = take_values(row.features for row in rows)
        return cls(request, values, numbers, _render_keys(request.key, rows, numbers))

    @property
    def times(self) -> Times:
        """When the request was sent."""
        return self.request.times

    def reply(self, scored: ScoredSlice) -> ScoredBody:
        """Return the reply to the request."""
        request = self.request
        rows = LiveRows(self.keys, scored.predictions(request.outputs), scored.rejections, scored.scored_at)
        elapsed = time.monotonic() - self.times.sent_at
        rendered = scores.render_live(request.frame, rows, self.times.now + elapsed)
        if request.answered:
            answers = dict(request.answered)
            answers.update(zip(self.numbers, rendered, strict=True))
            rendered = [answers[number] for number in range(len(answers))]
        return ScoredBody(scores.join(rendered), scored.counts())


RequestRows = ColumnsRows | BodyRows


def taker(names: Sequence[str]) -> TakeValues:
    """Return a function that takes the values of features out of rows."""
    take = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)

    def take_values(rows: Iterable[Any]) -> list[Values]:
        rows = list(rows)
        with suppress(KeyError):
            return list(map(take, rows))
        return [tuple(row.get(name, MISSING) for name in names) for row in rows]

    return take_values


def _render_keys(key: Sequence[Column], rows: Sequence[ScoreRow], numbers: Sequence[int]) -> list[bytes]:
    """Return the keys of rows as JSON; raise KeyInvalid with the number of the row."""
    keyed = [place for place, row in enumerate(rows) if row.key is not None]
    rendered = scores.no_keys(len(rows))
    if not keyed:
        return rendered
    given = [rows[place].key or {} for place in keyed]
    columns = score_rows.parse_keys(key, given, [numbers[place] for place in keyed])
    names = [column["name"] for column in key]
    for place, key_json in zip(keyed, scores.render_keys(names, columns), strict=True):
        rendered[place] = key_json
    return rendered
