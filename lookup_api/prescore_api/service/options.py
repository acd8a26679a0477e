"""What a request asks for besides keys: a version of the past, a bound on the age, some of the outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from prescore.catalog.naming import PARAMETERS
from prescore.errors import RequestInvalid


@dataclass(frozen=True)
class LookupOptions:
    """`version` None is what is published, `max_age` (seconds) None any age, `outputs` empty all of them."""

    version: int | None = None
    max_age: float | None = None
    outputs: tuple[str, ...] = ()

    @classmethod
    def parse(cls, given: Sequence[tuple[str, str]]) -> tuple[Self, dict[str, str]]:
        """Those among a query string's parameters, and the other parameters; raises RequestInvalid."""
        outputs = tuple(value for name, value in given if name == "output")
        single = [(name, value) for name, value in given if name != "output"]
        others = dict(single)
        if len(others) < len(single) or len(set(outputs)) < len(outputs):
            names = [name for name, _ in single] + [f"output={name}" for name in outputs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise RequestInvalid(f"Given more than once: {', '.join(twice)}.")
        version, max_age = others.pop("version", None), others.pop("max_age", None)
        return cls(_version(version), _seconds(max_age), outputs), others


ANY = LookupOptions()


def refuse(others: dict[str, str]) -> None:
    """Nothing is ignored silently; raises RequestInvalid that names the parameters."""
    if others:
        raise RequestInvalid(f"Unknown parameters: {', '.join(others)}; {', '.join(PARAMETERS)} are taken here.")


def nothing(given: Sequence[tuple[str, str]]) -> None:
    """The same where no parameter is taken."""
    if given:
        raise RequestInvalid(f"Unknown parameters: {', '.join(dict(given))}; none are taken here.")


def _version(text: str | None) -> int | None:
    if text is not None and not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise RequestInvalid(f"version takes a version's number, not {text[:60]!r}.")
    return None if text is None else int(text)


def _seconds(text: str | None) -> float | None:
    if text is not None and not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        raise RequestInvalid(f"max_age takes a number of seconds, not {text[:60]!r}.")
    return None if text is None else float(text)
