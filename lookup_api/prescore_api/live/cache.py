"""Live answers that are repeated for the same features, for as long as the spec allows."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

_CAPACITY = 10_000
_LONGEST_KEY = 4096

Values = tuple[Any, ...]


class CachedAnswer(NamedTuple):
    """The outputs of a row, and when they were computed, in seconds since 1970."""

    values: Values
    scored_at: float


class AnswerCache:
    """The answers of one version, by the features of their rows; the least recently used ones are dropped.

    An answer is repeated for `seconds`.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answers: OrderedDict[bytes, CachedAnswer] = OrderedDict()

    def find(self, rows: Sequence[Values], times: Sequence[float]) -> dict[int, CachedAnswer]:
        """Return the answers to rows of features, by place; `times` are now, in seconds since 1970."""
        found: dict[int, CachedAnswer] = {}
        for place, (row, now) in enumerate(zip(rows, times, strict=True)):
            answer = self._find(_key(row), now - self._seconds)
            if answer is not None:
                found[place] = answer
        return found

    def add(self, row: Values, answer: CachedAnswer) -> None:
        """Keep the answer to a row of features."""
        key = _key(row)
        if key is None:
            return
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > _CAPACITY:
            self._answers.popitem(last=False)

    def _find(self, key: bytes | None, not_before: float) -> CachedAnswer | None:
        answer = None if key is None else self._answers.get(key)
        if key is None or answer is None:
            return None
        if answer.scored_at < not_before:
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        return answer


def _key(row: Values) -> bytes | None:
    """Return what identifies the features of a row, None if it cannot be cached.

    JSON keeps 1, 1.0 and true apart, as the conversion of features does. It has no form for a feature that is missing,
    and null for each number that is not finite.
    """
    if any(isinstance(value, float) and not math.isfinite(value) for value in row):
        return None
    try:
        key = orjson.dumps(row)
    except TypeError:
        return None
    return key if len(key) <= _LONGEST_KEY else None
