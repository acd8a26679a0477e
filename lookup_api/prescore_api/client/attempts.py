"""Attempts: how often a request is sent, and for how long. Each wait is bounded, and so is their sum.

A call is a generator that does no I/O. It yields attempts, is sent the outcome of each, and returns the call's result.
`Client` runs it by blocking and `AsyncClient` by awaiting, so both follow the same rules.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

import httpx

from prescore_api.client.errors import Unavailable
from prescore_api.client.requests import Request
from prescore_api.client.responses import Response, to_error

T = TypeVar("T")

_PHASES = ("connect", "read", "write", "pool")
_LONGEST_PAUSE = 2.0
_FIRST_PAUSE = 0.1


class Budget(Mapping[str, float]):
    """The time left for a request, its retries included.

    httpx takes it in place of its timeouts and reads each phase's timeout when the phase begins. So a phase gets what
    its predecessors have left, where fixed timeouts would add up.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(self._end - time.monotonic(), 0.0)

    def require(self) -> None:
        """Raise httpx.ReadTimeout if no time is left.

        A server that trickles its response stays within every timeout of a single read.
        """
        if not self.left():
            raise httpx.ReadTimeout("The response did not end in time.")

    def __getitem__(self, phase: str) -> float:
        if phase not in _PHASES:
            raise KeyError(phase)
        # With 0, httpx would not wait at all, and would raise another error than a timeout.
        return max(self.left(), 0.001)

    def __iter__(self) -> Iterator[str]:
        return iter(_PHASES)

    def __len__(self) -> int:
        return len(_PHASES)


@dataclass(frozen=True)
class Attempt:
    """A request to send after `pause` seconds, within what is left of its budget."""

    request: Request
    budget: Budget
    pause: float


Outcome = Response | httpx.RequestError
"""What became of an attempt."""
Call = Generator[Attempt, Outcome, T]
"""A call of a client: yields attempts, receives outcomes, returns the result."""


@dataclass(frozen=True)
class Server:
    """The server's address, the seconds that a request may take in total, and how often it is retried."""

    address: str
    timeout: float
    retries: int

    @classmethod
    def parse(cls, url: str, timeout: float, retries: int) -> Self:
        """Read the address from a URL; raise ValueError for an invalid URL, timeout or number of retries."""
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"The lookup API's URL begins with http:// or https://, unlike {url!r}.")
        if timeout <= 0 or retries < 0:
            raise ValueError(
                f"timeout must be more than 0 seconds and retries 0 or more, but they are {timeout} and {retries}."
            )
        # The address appears in messages, so it must not contain the URL's user name and password.
        return cls(f"{parsed.scheme}://{parsed.netloc.decode('ascii')}", timeout, retries)


def attempts(request: Request, server: Server) -> Call[Response]:
    """Return the response to a request, retrying where that may help; raise Unavailable if there is none."""
    budget, pause = Budget(server.timeout), 0.0
    outcomes: list[Outcome] = []
    for number in range(server.retries + 1):
        outcomes.append((yield Attempt(request, budget, pause)))
        next_pause = _pause_before_retry(outcomes[-1], number)
        if next_pause is None or next_pause >= budget.left():
            break
        pause = next_pause
    # A retry that was cut short does not say why there is no answer, but the attempt before it does.
    if len(outcomes) > 1 and isinstance(outcomes[-1], httpx.TimeoutException):
        outcomes.pop()
    outcome = outcomes[-1]
    if isinstance(outcome, Response):
        return outcome
    raise _unavailable(outcome, server) from outcome


def _pause_before_retry(outcome: Outcome, number: int) -> float | None:
    """Return how many seconds to wait before a retry, or None if it would not help.

    Any request may be retried, because all of them only read. `number` counts the attempts, from 0.
    """
    if isinstance(outcome, Response):
        return _pause_requested(outcome)
    # After a timeout, no time is left for a retry.
    connection_lost = isinstance(outcome, httpx.NetworkError | httpx.RemoteProtocolError)
    return _FIRST_PAUSE * 2**number if connection_lost else None


def _pause_requested(response: Response) -> float | None:
    if response.status < 400:
        return None
    error = to_error(response)
    if not isinstance(error, Unavailable) or error.retry_after is None:
        return None
    return error.retry_after if error.retry_after <= _LONGEST_PAUSE else None


def _unavailable(error: httpx.RequestError, server: Server) -> Unavailable:
    if isinstance(error, httpx.TimeoutException):
        return Unavailable("timeout", f"{server.address} did not answer within {server.timeout:g} s.")
    return Unavailable("unreachable", f"{server.address} cannot be reached: {error}.")
