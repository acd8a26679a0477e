"""Why there is no answer, by what a caller would do about it.

ApiError            report it: a fault of the server's, or a reply that is none of prescore's
├── NotAllowed      give another API key
├── Invalid         ask for something else: no such model or version, a wrong key, too much at once
├── TooOld          do without, or allow a greater age: what there is is older than the caller or its owner allows
└── Unavailable     ask again later, after `retry_after` seconds if it is there
"""

from __future__ import annotations


class ApiError(Exception):
    """The lookup API gave no answer.

    `code` and `message` are the server's; so is `status`, which is None when no reply came. `retry_after` is after how
    many seconds it wants to be asked again, if it said so.
    """

    def __init__(self, code: str, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        # What pickle makes it from again.
        super().__init__(code, message, status, retry_after)
        self.code, self.message, self.status, self.retry_after = code, message, status, retry_after

    def __str__(self) -> str:
        return self.message


class NotAllowed(ApiError):
    """The API key is missing, is not valid, or does not open this model."""


class Invalid(ApiError):
    """The request cannot be answered as it stands."""


class TooOld(ApiError):
    """What there is is older than `max_age`, or than its owner allows."""


class Unavailable(ApiError):
    """The server cannot be reached, did not answer in time, or cannot answer now."""
