"""The rows of an Arrow IPC stream, as a server sees them: which columns they have, and their keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from prescore.errors import RequestInvalid
from prescore_api.formats import arrow_scores, arrow_validation
from prescore_api.service.live import LiveModel, require_few
from prescore_api.service.lookup import KeyColumns
from prescore_api.tables.version import TableVersion


class NoKeys(Exception):
    """The rows have no key, or not all of its columns."""


@dataclass(frozen=True)
class ArrowRows:
    """A stream, and the table in it, whose columns are features, those of the key, or both."""

    body: bytes
    table: pa.Table

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read a stream; raises RequestInvalid or TooLarge."""
        table = arrow_validation.read_table(body, arrow_validation.ROWS)
        require_few(table.num_rows)
        names = table.column_names
        if len(set(names)) < len(names):
            sent = ", ".join(names)
            raise RequestInvalid(f"The request has a column more than once: {sent}.")
        return cls(body, table)

    @property
    def numbers(self) -> list[int]:
        """The numbers of all rows."""
        return list(range(self.table.num_rows))

    def keys(self, version: TableVersion) -> KeyColumns:
        """Return the keys as the key of a version, by column; raises NoKeys or KeyInvalid."""
        keys = arrow_scores.parse_keys(version.key, self.table)
        if keys is None:
            raise NoKeys
        return keys

    def have_only(self, names: Iterable[str]) -> bool:
        """Return whether they have no other columns than these."""
        return set(names).issuperset(self.table.column_names)

    def have_all(self, names: Iterable[str]) -> bool:
        """Return whether they have each of these columns."""
        return set(names).issubset(self.table.column_names)

    def have_features(self, live: LiveModel) -> bool:
        """Return whether they have the features of a model, and not only a key; raises RequestInvalid if some miss."""
        names = self.table.column_names
        missing = [name for name in live.features if name not in names]
        if not missing:
            return True
        if self.have_only(live.table_version.key_names):
            return False
        lacking, sent = ", ".join(missing), ", ".join(names)
        raise RequestInvalid(f"The request has no column {lacking}, which the model takes; its columns are {sent}.")
