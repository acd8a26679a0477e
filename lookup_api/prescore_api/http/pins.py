"""Pins: what answered a request, in headers, and in parameters of further requests that are to be answered alike."""

from __future__ import annotations

from dataclasses import replace

from prescore.errors import RequestInvalid
from prescore_api.http.response import Header
from prescore_api.service.canary import Pin
from prescore_api.service.options import LookupOptions

NO_CANARY = "none"


def headers(version: int, options: LookupOptions, canary: Pin | None = None) -> list[Header]:
    """Return the headers that name the version that answered a request and its canary.

    A version of the caller's choice has no header for the canary, because another request needs the version alone.
    """
    pinned: list[Header] = [(b"prescore-version", b"%d" % version)]
    if not options.is_callers_choice:
        pinned.append((b"prescore-canary", str(canary or NO_CANARY).encode()))
    return pinned


def read(parameters: dict[str, str], options: LookupOptions) -> tuple[LookupOptions, Pin | None]:
    """Remove `canary` from the parameters, and return the options and the canary that it pins, None without one.

    With it, the version is that of an earlier answer, and not the caller's choice. Raises RequestInvalid.
    """
    text = parameters.pop("canary", None)
    if text is None:
        return options, None
    canary = Pin.parse(text)
    if canary is None and text != NO_CANARY:
        raise RequestInvalid(
            f"canary takes what the header Prescore-Canary has, such as 8:0.1 or {NO_CANARY}, not {text[:60]!r}."
        )
    if options.version is None:
        raise RequestInvalid("canary needs the version beside it: version=N, from the header Prescore-Version.")
    return replace(options, selected_by_server=True), canary
