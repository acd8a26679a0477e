"""Replies: what a call gives, or why there is nothing to give. Nothing is read from a socket here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from prescore_api.client.answers import Answer, Model
from prescore_api.client.errors import ApiError, Invalid, NotAllowed, TooOld, Unavailable

T = TypeVar("T")

_NOT_ALLOWED = (401, 403)
# prescore says 503; what stands between may say the others.
_UNAVAILABLE = (408, 429, 502, 503, 504)


@dataclass(frozen=True)
class Reply:
    """What came back. Header names are found in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def answer(reply: Reply) -> Answer:
    """The answer to one key, found or not; raises ApiError."""
    return read(reply, lambda reply: Answer.of(json.loads(reply.content)), statuses=(200, 404))


def answers(reply: Reply) -> list[Answer]:
    """The answers to many keys; raises ApiError."""
    return read(reply, lambda reply: [Answer.of(told) for told in json.loads(reply.content)["answers"]])


def model(reply: Reply) -> Model:
    """One model; raises ApiError."""
    return read(reply, lambda reply: Model.of(json.loads(reply.content)))


def models(reply: Reply) -> list[Model]:
    """Every model; raises ApiError."""
    return read(reply, lambda reply: [Model.of(told) for told in json.loads(reply.content)["models"]])


def ready(reply: Reply) -> bool:
    """Whether lookups can be answered; raises ApiError, which is Unavailable where they cannot."""
    return read(reply, lambda reply: bool(json.loads(reply.content)["status"] == "ready"))


def read(reply: Reply, shape: Callable[[Reply], T], statuses: tuple[int, ...] = (200,)) -> T:
    """What a reply of these statuses says; raises an ApiError for another, and for one that says something else."""
    if reply.status in statuses:
        with suppress(LookupError, TypeError, ValueError, OSError):
            return shape(reply)
    raise failure(reply)


def failure(reply: Reply) -> ApiError:
    """The error that a reply is."""
    code, message = _told(reply)
    return _kind(reply.status, code)(code, message, reply.status, _retry_after(reply))


def _kind(status: int, code: str) -> type[ApiError]:
    if code == "too_old":
        return TooOld
    if status in _NOT_ALLOWED:
        return NotAllowed
    if status in _UNAVAILABLE:
        return Unavailable
    return Invalid if 400 <= status < 500 else ApiError


def _told(reply: Reply) -> tuple[str, str]:
    with suppress(LookupError, TypeError, ValueError):
        error: Mapping[str, Any] = json.loads(reply.content)["error"]
        return str(error["code"]), str(error["message"])
    begin = reply.content[:100].decode(errors="replace")
    message = f"The reply, of status {reply.status}, is none of prescore's; it begins with {begin!r}."
    return f"http_{reply.status}", message


def _retry_after(reply: Reply) -> float | None:
    told = reply.headers.get("Retry-After", "")
    # A proxy may give a date instead.
    return float(told) if re.fullmatch(r"[0-9]{1,9}", told) else None
