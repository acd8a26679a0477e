"""The outputs of what is published, each as a picture beside the version that was published before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from markupsafe import Markup

from prescore.catalog.catalog import Column
from prescore_api.pages import svg
from prescore_api.pages.distribution import Statistics

_SHOWN = 4  # of a model
# More than a page shows, or one would push out another before it is used.
_KEPT = 512

Row = Mapping[str, Any]
Known = Mapping[tuple[str, str], Statistics]
"""Statistics by table and column."""


class Source(NamedTuple):
    """A version's table. When it was begun tells it from one of the same name in another database."""

    version: int
    table: str
    started_at: datetime


@dataclass(frozen=True)
class Output:
    """An output of the published version, and of the version before it if that has it, with the same type."""

    name: str
    kind: str
    now: Source
    before: Source | None

    @property
    def columns(self) -> list[tuple[str, str]]:
        """What its picture is drawn from: tables, each with a column."""
        return [(source.table, self.name) for source in (self.now, self.before) if source]


class Album:
    """Pictures that were drawn before: versions never change, and neither do their pictures."""

    def __init__(self) -> None:
        self._kept: dict[Output, Markup] = {}

    def missing(self, outputs: Sequence[Output]) -> list[Output]:
        """Those of which there is no picture yet; the others are kept longest from now on."""
        for output in outputs:
            if output in self._kept:
                self._kept[output] = self._kept.pop(output)
        return [output for output in outputs if output not in self._kept]

    def picture(self, output: Output, known: Known) -> Markup | None:
        """The output's picture, drawn now if need be; None where nothing is known of its values."""
        if output not in self._kept:
            drawn = _drawn(output, known)
            if drawn is None or not all(column in known for column in output.columns):
                # A right to read may be missing, and may come.
                return drawn
            self._keep(output, drawn)
        return self._kept[output]

    def _keep(self, output: Output, drawn: Markup) -> None:
        self._kept[output] = drawn
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]


def shown(row: Row) -> list[Output]:
    """The outputs of a row of `page_cards` that have pictures; never a column that was passed through."""
    if row["version"] is None:
        return []
    now = Source(row["version"], row["table_name"], row["started_at"])
    before = Source(row["before_version"], row["before_table"], row["before_started_at"])
    earlier = {(column["name"], column["type"]) for column in predicted(row["before_columns"] or [])}
    columns = [(column["name"], column["type"]) for column in predicted(row["output_columns"])[:_SHOWN]]
    return [Output(*column, now, before if column in earlier else None) for column in columns]


def predicted(columns: Sequence[Column]) -> list[Column]:
    """Those that the model made."""
    return [column for column in columns if column["role"] == "output"]


def _drawn(output: Output, known: Known) -> Markup | None:
    now = known.get((output.now.table, output.name), Statistics())
    before = known.get((output.before.table, output.name)) if output.before else None
    versions = (output.now.version, output.before.version if output.before and before else None)
    return svg.drawn(output.name, output.kind, now, before, versions)
