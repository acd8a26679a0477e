"""Which keys a canary takes: those whose hash, as a number from 0 to 1, is below its share.

The database computes the same with `prescore.canary_bucket`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

_BUCKETS = 2**32


def takes(model: str, share: float, keys: Sequence[Sequence[Any]]) -> list[bool]:
    """Return for each key whether a canary with this share takes it; `keys` has one sequence for each key column."""
    limit = share * _BUCKETS
    return [_bucket(text) < limit for text in _texts(model, keys)]


def _texts(model: str, keys: Sequence[Sequence[Any]]) -> Iterator[bytes]:
    columns = [map(_text, column) for column in keys]
    return ("/".join((model, *key)).encode() for key in zip(*columns, strict=True))


def _bucket(text: bytes) -> int:
    return int.from_bytes(sha256(text).digest()[:4])


def _text(value: Any) -> str:
    """Return a value of a key as text, which does not depend on settings of a session."""
    if isinstance(value, datetime):
        in_utc = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        return in_utc.isoformat(timespec="microseconds")
    return str(value)
