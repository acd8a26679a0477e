"""Why there is no answer, by what a caller can do about it.

ApiError            report it: an internal error of the server, or a response that is not from prescore
├── NotAllowed      use another API key
├── Invalid         change the request: no such model or version, a wrong key, too many keys
├── TooOld          do without, or allow a greater age: the data is older than the caller or the model owner allows
└── Unavailable     retry later, after `retry_after` seconds if it is set
"""

from __future__ import annotations


class ApiError(Exception):
    """The lookup API returned no answer.

    `code` and `message` are the server's. `status` is the HTTP status, or None without a response. `retry_after` is the
    number of seconds after which the server wants a retry, or None if it did not say.
    """

    def __init__(self, code: str, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        # pickle rebuilds the error from these arguments.
        super().__init__(code, message, status, retry_after)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message


class NotAllowed(ApiError):
    """The API key is missing or invalid, or has no access to this model."""


class Invalid(ApiError):
    """The request cannot be answered as it is."""


class TooOld(ApiError):
    """The data is older than `max_age`, or than the model owner allows."""


class Unavailable(ApiError):
    """The server cannot be reached, did not answer in time, or cannot answer now."""
