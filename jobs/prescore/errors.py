"""Every error that prescore raises on purpose.

    PrescoreError
    ├── Terminal                    a retry fails in the same way
    │   ├── Mistake                 the request or the setup is wrong
    │   │   ├── SpecInvalid
    │   │   ├── ModelInvalid
    │   │   │   └── ModelFailed
    │   │   ├── DomainInvalid
    │   │   ├── KeyInvalid
    │   │   ├── RequestInvalid
    │   │   │   ├── Malformed
    │   │   │   ├── TooLarge
    │   │   │   ├── UnsupportedMediaType
    │   │   │   └── NotAcceptable
    │   │   ├── Unauthenticated
    │   │   ├── Forbidden
    │   │   ├── NotFound
    │   │   │   └── VersionRetired
    │   │   ├── NotAllowed
    │   │   ├── DatabaseRefused
    │   │   └── StoreRefused
    │   ├── Refused                 the data failed its checks; the previous version stays served
    │   └── LeaseLost               another run took over the model
    └── Transient                   a retry may succeed
        ├── DatabaseUnavailable
        ├── SourceUnavailable
        ├── StoreUnavailable
        ├── StoreFull
        ├── PortInUse
        ├── TooOld
        ├── LiveUnavailable
        ├── Overloaded
        └── Busy

The class decides whether a retry can help. The command line, the DAGs and the lookup API map it to an exit code, a
retry or an HTTP status. The docstring of a class is the message of an error that is raised without one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self


class PrescoreError(Exception):
    """prescore could not complete the request."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)

    @property
    def code(self) -> str:
        """The error code that programs see: the class name in snake case, such as `spec_invalid`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class Terminal(PrescoreError):
    """The operation failed, and a retry would fail in the same way."""


class Transient(PrescoreError):
    """Something that prescore depends on was not ready. Try again."""


class Mistake(Terminal):
    """The request or the setup is wrong."""


class SpecInvalid(Mistake):
    """The spec is not valid."""


class ModelInvalid(Mistake):
    """The ONNX file does not match the spec."""


class ModelFailed(ModelInvalid):
    """The ONNX model failed on some of its inputs."""


class DomainInvalid(Mistake):
    """The domain query does not return what the spec and the model need."""


class KeyInvalid(Mistake):
    """The key does not match the types of the key columns."""


class RequestInvalid(Mistake):
    """The lookup API does not understand the request."""


class Malformed(RequestInvalid):
    """The lookup API cannot read the request as HTTP."""


class TooLarge(RequestInvalid):
    """The request is larger than the lookup API accepts."""


class UnsupportedMediaType(RequestInvalid):
    """The lookup API does not read this type or coding of a request body."""


class NotAcceptable(RequestInvalid):
    """The lookup API returns no media type that the request accepts."""


class Unauthenticated(Mistake):
    """A valid API key is required."""


class Forbidden(Mistake):
    """The API key does not grant access to this."""


class NotFound(Mistake):
    """The requested object does not exist."""


class VersionRetired(NotFound):
    """The version was retired while its rows were being read."""


class NotAllowed(Mistake):
    """The state of the model or the version does not allow this."""


class DatabaseRefused(Mistake):
    """The database refuses access, or lacks something that prescore needs."""


class StoreRefused(Mistake):
    """The remote store does not exist, refuses access, or needs a driver that is not installed."""


class Refused(Terminal):
    """The data failed its checks. Nothing was published.

    `checks` holds the check results, each `{name, passed, observed, expected}`.
    """

    def __init__(self, message: str, checks: Sequence[Mapping[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.checks = list(checks or ())


class LeaseLost(Terminal):
    """Another run took over this model, so this run stopped. It has written nothing since."""


class DatabaseUnavailable(Transient):
    """The database is not available."""


class SourceUnavailable(Transient):
    """The source of the domain is not available."""


class StoreUnavailable(Transient):
    """The remote store is not available."""


class StoreFull(Transient):
    """The disk that holds the store is full."""

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Return the error for a folder of the store that cannot be written to any more."""
        return cls(
            f"The disk that holds the store is full: cannot write to {folder}. Readers keep the current version. "
            "Free space there, or set a larger store in prescore.toml (for a store at a URL, a larger TMPDIR). "
            "The next run resumes where this one stopped."
        )


class PortInUse(Transient):
    """Another program already listens on the port."""


class TooOld(Transient):
    """The published version is older than the client or the model owner allows."""


class LiveUnavailable(Transient):
    """The model cannot score rows at the moment."""


class Overloaded(Transient):
    """More rows are to be scored than the model can compute."""


class Busy(Transient):
    """Another run of this model is in progress."""


class RuntimeDiffers(UserWarning):
    """A version is scored in this process with another release of ONNX Runtime than the one that scored its table."""
