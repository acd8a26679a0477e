"""Environment variables in the texts of a spec: `${NAME}` and `${NAME:-default}`.

Schedulers read this in environments without pydantic and psycopg.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Two dollar signs in front of a brace stand for one, and begin no reference.
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")


@dataclass
class Resolver:
    """Replaces references to variables by their values.

    `written` has, for each text that was replaced, how the file has it: messages must not print values, which can be
    secrets. `unset` are sentences about variables without a value, and `faults` those about malformed references.
    """

    environment: Mapping[str, str]
    written: dict[str, str] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def resolve(self, value: Any, key: str = "") -> Any:
        """Return a value of TOML with the references in all its texts replaced; `key` is its place in the file."""
        if isinstance(value, str):
            return self._resolve_text(value, key)
        if isinstance(value, dict):
            return {name: self.resolve(inner, f"{key}.{name}" if key else name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.resolve(inner, f"{key}.{number}") for number, inner in enumerate(value)]
        return value

    def _resolve_text(self, text: str, key: str) -> str:
        resolved = "".join(self._parts(text, key))
        if resolved != text:
            self.written[resolved] = text
        return resolved

    def _parts(self, text: str, key: str) -> Iterator[str]:
        end = 0
        for match in _REFERENCE.finditer(text):
            yield text[end : match.start()]
            yield self._value(match, key)
            end = match.end()
        yield text[end:]

    def _value(self, match: re.Match[str], key: str) -> str:
        name, default = match["name"], match["default"]
        if match[0] == "$${":
            return "${"
        if name is None:
            self.faults.append(f"{key}: ${{ must begin ${{NAME}} or ${{NAME:-default}}; for the characters, write $${{")
            return match[0]
        # As in a shell, the default also replaces an empty value.
        value = self.environment.get(name) or default
        if value is not None:
            return value
        self.unset.append(
            f"{key}: the environment variable {name} is not set, or empty; set it where prescore runs, or write a "
            f"default, as in ${{{name}:-default}}"
        )
        return match[0]
