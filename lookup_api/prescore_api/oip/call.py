"""What an operation of the protocol knows of the request, and leaves in it."""

from __future__ import annotations

from typing import Protocol

from prescore_api.service.auth import Caller
from prescore_api.service.service import Service


class Call(Protocol):
    """A request as metrics and the access log see it."""

    service: Service
    caller: Caller
    model: str | None
    version: int | None
    keys: int
    found: int
