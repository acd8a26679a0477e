"""Responses: turn them into answers and models, or into errors. This module reads from no socket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from prescore_api.client.answers import Answer, Model, ScoreAnswer
from prescore_api.client.errors import ApiError, Invalid, NotAllowed, TooOld, Unavailable
from prescore_api.client.requests import LookupOptions

T = TypeVar("T")

_NOT_ALLOWED = (401, 403)
# prescore itself responds with 503; a proxy in front of it may send the others.
_UNAVAILABLE = (408, 429, 502, 503, 504)


@dataclass(frozen=True)
class Response:
    """An HTTP response. Header names are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the decoded body; raise ValueError."""
        return json.loads(self.content)


class Page(NamedTuple):
    """Rows of a version as answers, and the link to the next page, None after the last one."""

    answers: list[Answer]
    next: str | None


def answer(response: Response) -> Answer:
    """Return the answer to one key, found or not; raise ApiError."""
    return read(response, _parse_answer, statuses=(200, 404))


def answers(response: Response) -> list[Answer]:
    """Return the answers to many keys; raise ApiError."""
    return read(response, _parse_answers)


def pinned(response: Response, options: LookupOptions) -> LookupOptions:
    """Return options for further keys, which the version and the canary that answered a request answer as well.

    Raises ApiError.
    """
    return read(response, partial(_parse_pinned, options))


def scores(response: Response) -> list[ScoreAnswer]:
    """Return the answers to rows that were scored or looked up; raise ApiError."""
    return read(response, _parse_scores)


def rows(response: Response, model: str) -> Page:
    """Return a page of rows, and the link to the next one; raise ApiError."""
    return read(response, partial(_parse_rows, model))


def model(response: Response) -> Model:
    """Return one model; raise ApiError."""
    return read(response, _parse_model)


def models(response: Response) -> list[Model]:
    """Return every model; raise ApiError."""
    return read(response, _parse_models)


def ready(response: Response) -> bool:
    """Return whether lookups can be answered; raise ApiError, which is Unavailable if they cannot."""
    return read(response, _parse_readiness)


def read(response: Response, convert: Callable[[Response], T], statuses: tuple[int, ...] = (200,)) -> T:
    """Convert a response with one of these statuses; raise ApiError for another status or an unexpected body."""
    if response.status in statuses:
        with suppress(LookupError, TypeError, ValueError, OSError):
            return convert(response)
    raise to_error(response)


def to_error(response: Response) -> ApiError:
    """Return the error for a response that is not an answer."""
    code, message = _code_and_message(response)
    kind = _error_class(response.status, code)
    return kind(code, message, response.status, _retry_after(response))


def _parse_answer(response: Response) -> Answer:
    return Answer.from_json(response.json())


def _parse_answers(response: Response) -> list[Answer]:
    content = response.json()
    return [Answer.from_json(answer) for answer in content["answers"]]


def _parse_pinned(options: LookupOptions, response: Response) -> LookupOptions:
    version, canary = int(response.headers["Prescore-Version"]), response.headers.get("Prescore-Canary")
    return replace(options, version=version, canary=canary)


def _parse_scores(response: Response) -> list[ScoreAnswer]:
    content = response.json()
    return [ScoreAnswer.from_json(answer) for answer in content["answers"]]


def _parse_rows(model: str, response: Response) -> Page:
    if not response.headers["Content-Type"].startswith("application/x-ndjson"):
        raise ValueError("the response is not a page of rows")
    contents = map(json.loads, response.content.splitlines())
    answers = [Answer.from_row(model, content, response.headers) for content in contents]
    link = re.fullmatch(r'<(rows\?[^>]*)>; rel="next"', response.headers.get("Link", ""))
    return Page(answers, link[1] if link else None)


def _parse_model(response: Response) -> Model:
    return Model.from_json(response.json())


def _parse_models(response: Response) -> list[Model]:
    content = response.json()
    return [Model.from_json(model) for model in content["models"]]


def _parse_readiness(response: Response) -> bool:
    content = response.json()
    return bool(content["status"] == "ready")


def _error_class(status: int, code: str) -> type[ApiError]:
    if code == "too_old":
        return TooOld
    if status in _NOT_ALLOWED:
        return NotAllowed
    if status in _UNAVAILABLE:
        return Unavailable
    return Invalid if 400 <= status < 500 else ApiError


def _code_and_message(response: Response) -> tuple[str, str]:
    with suppress(LookupError, TypeError, ValueError):
        error: Mapping[str, Any] = response.json()["error"]
        return str(error["code"]), str(error["message"])
    return f"http_{response.status}", _describe_foreign(response)


def _describe_foreign(response: Response) -> str:
    """Return what is known of a response that is not from prescore, as a message."""
    location = response.headers.get("Location")
    if location is not None and 300 <= response.status < 400:
        return f"The server redirects to {location}, which is not followed. Pass the URL of the API itself."
    start = response.content[:100].decode(errors="replace")
    return f"The response, with status {response.status}, is not from prescore. It begins with {start!r}."


def _retry_after(response: Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    # A proxy may send a date instead of seconds.
    return float(value) if re.fullmatch(r"[0-9]{1,9}", value) else None
