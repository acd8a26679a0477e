"""Live answers that are repeated for the same features, for as long as the spec allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from prescore_api.service.live import MISSING, Features

_CAPACITY = 10_000
_LONGEST_KEY = 4096


class CachedAnswer(NamedTuple):
    """The outputs of a row, and when they were computed, in seconds since 1970."""

    values: tuple[Any, ...]
    scored_at: float


class AnswerCache:
    """The answers of one version, by the features of their rows; the least recently used ones are dropped."""

    def __init__(self, features: Sequence[str]) -> None:
        self._features = features
        self._answers: OrderedDict[bytes, CachedAnswer] = OrderedDict()

    def keys(self, features: Features) -> list[bytes | None]:
        """Return what identifies the features of each row, None for a row that cannot be cached.

        JSON keeps 1, 1.0 and true apart, as the conversion of features does.
        """
        columns = [features.columns[name] for name in self._features]
        if not all(isinstance(column, list) for column in columns):
            return [None] * features.rows
        return list(map(_key, zip(*columns, strict=True)))

    def find(self, keys: Iterable[bytes | None], not_before: float) -> dict[int, CachedAnswer]:
        """Return the answers that are not older than `not_before`, by the position of their keys."""
        found = {}
        for position, key in enumerate(keys):
            answer = None if key is None else self._answers.get(key)
            if key is None or answer is None:
                continue
            if answer.scored_at < not_before:
                del self._answers[key]
                continue
            self._answers.move_to_end(key)
            found[position] = answer
        return found

    def add(self, key: bytes | None, answer: CachedAnswer) -> None:
        """Keep an answer."""
        if key is None:
            return
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > _CAPACITY:
            self._answers.popitem(last=False)


def _key(values: tuple[Any, ...]) -> bytes | None:
    if MISSING in values:
        return None
    try:
        key = orjson.dumps(values)
    except TypeError:
        return None
    return key if len(key) <= _LONGEST_KEY else None
