"""Lookup options: version, maximum age, selected outputs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Self

from prescore import wording
from prescore.catalog.naming import PARAMETERS
from prescore.errors import RequestInvalid

Parameters = Sequence[tuple[str, str]]

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_QUOTED_CHARACTERS = 60


@dataclass(frozen=True)
class LookupOptions:
    """What a lookup takes besides keys.

    `version` None is the published version, `max_age` (in seconds) None any age, `outputs` empty all outputs. With
    `selected_by_server`, the version was not the caller's choice: the key selected it, or an earlier answer came from
    it.
    """

    version: int | None = None
    max_age: float | None = None
    outputs: tuple[str, ...] = ()
    selected_by_server: bool = False

    @classmethod
    def parse(cls, parameters: Parameters) -> tuple[Self, dict[str, str]]:
        """Split a query string's parameters into options and the rest, by name; raise RequestInvalid."""
        outputs = []
        others = {}
        names = []
        for name, value in parameters:
            if name == "output":
                outputs.append(value)
                names.append(f"output={value}")
            else:
                others[name] = value
                names.append(name)
        _require_unique(names)
        version = _version(others.pop("version", None))
        max_age = _seconds(others.pop("max_age", None))
        return cls(version, max_age, tuple(outputs)), others

    @property
    def is_callers_choice(self) -> bool:
        """Whether the caller chose the version, so that the model's `when_stale` does not apply to it."""
        return self.version is not None and not self.selected_by_server

    def in_version(self, version: int) -> Self:
        """Return the same options for a version that the server selects; `when_stale` applies to it as before."""
        return replace(self, version=version, selected_by_server=not self.is_callers_choice)


DEFAULTS = LookupOptions()


def refuse_unknown(parameters: Collection[str], *known: str) -> None:
    """Raise RequestInvalid that names the parameters, if there are any: none is ignored silently.

    The message lists the options of lookups and the other parameters that the endpoint takes.
    """
    if parameters:
        raise RequestInvalid(
            f"Unknown parameters: {wording.names(list(parameters))}. "
            f"This endpoint takes {', '.join((*PARAMETERS, *known))}."
        )


def refuse_all(parameters: Parameters, known: str = "none") -> None:
    """Raise RequestInvalid if there are parameters, for an endpoint that takes none of these, but only `known`."""
    if parameters:
        raise RequestInvalid(
            f"Unknown parameters: {wording.names(list(dict(parameters)))}. This endpoint takes {known}."
        )


def _require_unique(names: Sequence[str]) -> None:
    counts = Counter(names)
    if len(counts) == len(names):
        return
    repeated = [name for name, count in counts.items() if count > 1]
    repeated.sort()
    raise RequestInvalid(f"Given more than once: {wording.names(repeated)}.")


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if not _VERSION.fullmatch(text):
        raise RequestInvalid(f"version takes a version number, not {text[:_QUOTED_CHARACTERS]!r}.")
    return int(text)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    if not _SECONDS.fullmatch(text):
        raise RequestInvalid(f"max_age takes a number of seconds, not {text[:_QUOTED_CHARACTERS]!r}.")
    return float(text)
