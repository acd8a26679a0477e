"""Everything that prescore raises on purpose.

    PrescoreError
    ├── Terminal                    trying again gives the same answer
    │   ├── Mistake                 what was asked for cannot be done as it stands
    │   │   ├── SpecInvalid
    │   │   ├── ModelInvalid
    │   │   │   └── ModelFailed
    │   │   ├── DomainInvalid
    │   │   ├── KeyInvalid
    │   │   ├── RequestInvalid
    │   │   │   └── TooLarge
    │   │   ├── Unauthenticated
    │   │   ├── Forbidden
    │   │   ├── NotFound
    │   │   ├── NotAllowed
    │   │   ├── DatabaseRefused
    │   │   └── StoreRefused
    │   ├── Refused                 the data said no; the old version is still served
    │   └── LeaseLost               another run took this one's place
    └── Transient                   worth another try
        ├── DatabaseUnavailable
        ├── StoreUnavailable
        ├── StoreFull
        ├── PortInUse
        ├── TooOld
        └── Busy

The class says whether a retry can help. The edges turn it into words, exit codes, Airflow retries or HTTP statuses.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self


class PrescoreError(Exception):
    """prescore could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)

    @property
    def code(self) -> str:
        """The class's name as programs see it: `spec_invalid`, `refused`, …."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class Terminal(PrescoreError):
    """Trying again will give the same answer."""


class Transient(PrescoreError):
    """Something outside was not ready; trying again may help."""


class Mistake(Terminal):
    """What was asked for cannot be done as it stands."""


class SpecInvalid(Mistake):
    """The spec does not hold together."""


class ModelInvalid(Mistake):
    """The ONNX file does not do what the spec says."""


class ModelFailed(ModelInvalid):
    """The ONNX model has no answer for some input."""


class DomainInvalid(Mistake):
    """The domain query does not give what the spec and the model need."""


class KeyInvalid(Mistake):
    """A key is not of its column's type."""


class RequestInvalid(Mistake):
    """A request is not one that the lookup API takes."""


class TooLarge(RequestInvalid):
    """A request is larger than the lookup API takes."""


class Unauthenticated(Mistake):
    """A valid API key is needed."""


class Forbidden(Mistake):
    """The API key does not open this."""


class NotFound(Mistake):
    """There is no such thing."""


class NotAllowed(Mistake):
    """The model's state forbids it."""


class DatabaseRefused(Mistake):
    """The database is there but does not let us in, or lacks what we need."""


class StoreRefused(Mistake):
    """The store at a URL is not there, does not let us in, or needs what is not installed."""


class Refused(Terminal):
    """The data did not pass its checks; nothing was published.

    `checks` are the check results, each `{name, passed, observed, expected}`.
    """

    def __init__(self, message: str, checks: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.checks = checks or []


class LeaseLost(Terminal):
    """Another run took over this model while this one was not looking; nothing more was written."""


class DatabaseUnavailable(Transient):
    """The database cannot be reached."""


class StoreUnavailable(Transient):
    """The store at a URL cannot be reached."""


class StoreFull(Transient):
    """There is no room left on the disk that the store is on."""

    @classmethod
    def at(cls, folder: Path) -> Self:
        """The error for a folder of the store that takes no more."""
        return cls(
            f"The disk is full that the store is on: {folder} takes no more. Readers keep the version that they have. "
            "Make room there, or name a larger store in prescore.toml (a larger TMPDIR for one at a URL); the next run "
            "goes on where this one stopped."
        )


class PortInUse(Transient):
    """Another program listens where the server should."""


class TooOld(Transient):
    """What is published is older than the caller or its owner allows."""


class Busy(Transient):
    """Another run of this model is at work."""
