"""How often a request is tried, and for how long: every wait is bounded, and all of them together.

A talk is a generator: it yields attempts, is sent what was heard of each, and returns what a call gives. It neither
sends nor sleeps itself, and so is the same for a client that blocks and for one that awaits.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

import httpx

from prescore_api.client.asking import Asked
from prescore_api.client.errors import Unavailable
from prescore_api.client.replies import Reply, failure

T = TypeVar("T")

_PHASES = ("connect", "read", "write", "pool")
_LONGEST_PAUSE = 2.0
_FIRST_PAUSE = 0.1


class Budget(Mapping[str, float]):
    """The time that is left for a request, its retries included.

    httpx takes it in place of its timeouts: each phase is given what is left when it begins, and not as much as the
    phases before it.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """The seconds that are left, at least 0."""
        return max(self._end - time.monotonic(), 0.0)

    def require(self) -> None:
        """Raise httpx's ReadTimeout when nothing is left: a server that trickles meets every timeout of a phase."""
        if not self.left():
            raise httpx.ReadTimeout("The reply did not end in time.")

    def __getitem__(self, phase: str) -> float:
        if phase not in _PHASES:
            raise KeyError(phase)
        # 0 would mean not to wait at all, and be told as another error.
        return max(self.left(), 0.001)

    def __iter__(self) -> Iterator[str]:
        return iter(_PHASES)

    def __len__(self) -> int:
        return len(_PHASES)


@dataclass(frozen=True)
class Attempt:
    """A request to be sent after `pause` seconds, within what is left of its budget."""

    asked: Asked
    budget: Budget
    pause: float


Heard = Reply | httpx.RequestError
Talk = Generator[Attempt, Heard, T]


@dataclass(frozen=True)
class Server:
    """Whom a request goes to, the seconds that it may take in all, and how often it is tried again."""

    address: str
    timeout: float
    retries: int

    @classmethod
    def of(cls, url: str, timeout: float, retries: int) -> Self:
        """The one at a URL; raises ValueError for what is none, and for bounds that are none."""
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"The lookup API's URL begins with http:// or https://, unlike {url!r}.")
        if timeout <= 0 or retries < 0:
            raise ValueError(f"timeout is more than 0 seconds and retries are 0 or more, not {timeout} and {retries}.")
        # A name and password in the URL are nothing for messages.
        return cls(f"{parsed.scheme}://{parsed.netloc.decode('ascii')}", timeout, retries)


def attempts(asked: Asked, server: Server) -> Talk[Reply]:
    """The reply to a request, tried again where that may help; raises Unavailable when none came."""
    budget, pause = Budget(server.timeout), 0.0
    for tried in range(server.retries + 1):
        heard = yield Attempt(asked, budget, pause)
        again = _pause(heard, tried)
        if again is None or again >= budget.left():
            break
        pause = again
    if isinstance(heard, Reply):
        return heard
    raise _unheard(heard, server) from heard


def _pause(heard: Heard, tried: int) -> float | None:
    """After how many seconds another attempt may do better; None where it would not. Everything asked is a read."""
    if isinstance(heard, Reply):
        failed = failure(heard) if heard.status >= 400 else None
        after = failed.retry_after if isinstance(failed, Unavailable) else None
        return after if after is not None and after <= _LONGEST_PAUSE else None
    # A timeout has spent all the time there was.
    lost = isinstance(heard, httpx.NetworkError | httpx.RemoteProtocolError)
    return _FIRST_PAUSE * 2**tried if lost else None


def _unheard(error: httpx.RequestError, server: Server) -> Unavailable:
    if isinstance(error, httpx.TimeoutException):
        return Unavailable("timeout", f"{server.address} did not answer within {server.timeout:g} s.")
    return Unavailable("unreachable", f"{server.address} cannot be reached: {error}.")
