"""The rows in the body of a request for scores: each has features, a key, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prescore import wording
from prescore.catalog import keys as catalog_keys
from prescore.catalog.catalog import Column
from prescore.errors import KeyInvalid, RequestInvalid
from prescore_api.formats import json_body
from prescore_api.service.live import MAX_ROWS, Source, require_few

_FORM = '{"rows": [{"features": {feature: value, …}, "key": {column: value, …}}, …]}'


class ScoreRow(NamedTuple):
    """A row of a request: features by name, and the key if it has one. Either may be None."""

    features: Mapping[str, Any] | None
    key: Mapping[str, Any] | None


class KeyedRows(NamedTuple):
    """The rows of a request that are looked up in the table: their numbers and keys.

    `rows` is how many the request has, `unscorable` has the numbers of those without features.
    """

    rows: int
    numbers: list[int]
    keys: list[Mapping[str, Any]]
    unscorable: frozenset[int]

    @property
    def nothing_scorable(self) -> bool:
        """Whether no row has features, so that the request is a lookup."""
        return len(self.unscorable) == self.rows


NOTHING_KEYED = KeyedRows(0, [], [], frozenset())


def parse(body: bytes) -> list[ScoreRow]:
    """Read the rows in a body; raises RequestInvalid or TooLarge."""
    content = json_body.parse_list(body, "rows", _FORM, prefer="prefer=live")
    require_few(len(content))
    rows = [_row(number, row) for number, row in enumerate(content)]
    names = 1 + sum(map(len, content))
    names += sum(len(part) for row in rows for part in row if part is not None)
    if body.count(b":") != names:
        json_body.require_unique_names(body)
    return rows


def parse_keyed(body: bytes, prefer: Source) -> KeyedRows:
    """Read which rows in a body are looked up in the table; raises RequestInvalid or TooLarge."""
    numbers: list[int] = []
    keys: list[Mapping[str, Any]] = []
    unscorable = []
    rows = parse(body)
    for number, (features, key) in enumerate(rows):
        if features is None:
            unscorable.append(number)
        if key is not None and (features is None or prefer == "table"):
            numbers.append(number)
            keys.append(key)
    return KeyedRows(len(rows), numbers, keys, frozenset(unscorable))


def may_have_keys(body: bytes) -> bool:
    """Return whether a row in a body may have a key, without parsing it. JSON may spell the name with escapes."""
    return b'"key"' in body or b"\\" in body


def count_rows(body: bytes) -> int:
    """Return about how many rows a body has, without parsing it: at least one, and as many as a request may have."""
    rows = max(body.count(b'"features"'), body.count(b'"key"'), 1)
    # Names may be spelled with escapes, and braces may not: each row has its own and those of its features or its key.
    if b"\\" in body:
        rows = max(body.count(b"{") // 2, 1)
    # The values of rows may have such names and braces, too.
    return min(rows, MAX_ROWS)


def parse_keys(key: Sequence[Column], given: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> list[list[Any]]:
    """Return the keys of rows by column; raise KeyInvalid with the number of the row."""
    try:
        return catalog_keys.parse_many(key, given)
    except KeyInvalid:
        for number, values in zip(numbers, given, strict=True):
            _require_key(key, number, values)
        raise


def _require_key(key: Sequence[Column], number: int, values: Mapping[str, Any]) -> None:
    try:
        catalog_keys.parse(key, values)
    except KeyInvalid as error:
        raise KeyInvalid(f"rows[{number}]: {error}") from error


def _row(number: int, row: Any) -> ScoreRow:
    if not isinstance(row, dict) or not row:
        raise RequestInvalid(f"rows[{number}] must be an object with features, a key, or both.")
    features, key = row.get("features"), row.get("key")
    if len(row) > ("features" in row) + ("key" in row):
        unknown = sorted(set(row) - {"features", "key"})
        raise RequestInvalid(f"rows[{number}] has {wording.names(unknown)}. A row has features and key.")
    for name, part in (("features", features), ("key", key)):
        if part is not None and not isinstance(part, dict):
            raise RequestInvalid(f"rows[{number}].{name} must be an object of names and values.")
    if features is None and key is None:
        raise RequestInvalid(f"rows[{number}] must have features, a key, or both.")
    return ScoreRow(features, key)
