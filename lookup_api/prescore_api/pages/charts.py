"""Charts of the published version's outputs, each compared with the version that was published before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from markupsafe import Markup

from prescore.catalog.catalog import Column
from prescore.catalog.types import ARRAYS
from prescore_api.pages import svg
from prescore_api.pages.distribution import Statistics
from prescore_api.pages.svg import Versions

# How many outputs of a model have a chart.
_CHARTS_PER_MODEL = 4
# More than a page shows; otherwise a page's own charts would evict each other.
_CACHE_SIZE = 512

Row = Mapping[str, Any]
StatisticsByColumn = Mapping[tuple[str, str], Statistics]
"""Statistics by table and column name."""


class Source(NamedTuple):
    """A version's table. `started_at` distinguishes it from a table of the same name in another database."""

    version: int
    table: str
    started_at: datetime


@dataclass(frozen=True)
class Output:
    """An output of the published version, and the same output of the previous version if that has it with this type."""

    name: str
    kind: str
    now: Source
    before: Source | None

    @property
    def columns(self) -> list[tuple[str, str]]:
        """The table columns whose statistics the chart shows, as table and column names."""
        columns = [(self.now.table, self.name)]
        if self.before:
            columns.append((self.before.table, self.name))
        return columns


class ChartCache:
    """Charts that were drawn before. A version never changes, so its charts stay valid."""

    def __init__(self) -> None:
        # In order of use, the least recently used chart first.
        self._charts: dict[Output, Markup] = {}

    def missing(self, outputs: Sequence[Output]) -> list[Output]:
        """Return the outputs without a chart, and mark the charts of the others as just used."""
        missing = []
        for output in outputs:
            if output in self._charts:
                self._charts[output] = self._charts.pop(output)
            else:
                missing.append(output)
        return missing

    def chart(self, output: Output, statistics: StatisticsByColumn) -> Markup | None:
        """Return an output's chart, drawing it if necessary, or None if there are no statistics."""
        if output in self._charts:
            return self._charts[output]
        chart = _draw(output, statistics)
        # A chart with a part missing is not kept: the API's role may be granted access to that table later.
        if chart is not None and all(column in statistics for column in output.columns):
            self._keep(output, chart)
        return chart

    def _keep(self, output: Output, chart: Markup) -> None:
        self._charts[output] = chart
        if len(self._charts) > _CACHE_SIZE:
            least_recently_used = next(iter(self._charts))
            del self._charts[least_recently_used]


def charted_outputs(row: Row) -> list[Output]:
    """Return the outputs of a row of `page_cards` that have a chart. Passthrough columns and arrays have none."""
    if row["version"] is None:
        return []
    now = Source(row["version"], row["table_name"], row["started_at"])
    before = Source(row["before_version"], row["before_table"], row["before_started_at"])
    predictions_before = predictions(row["before_columns"] or [])
    comparable = {(column["name"], column["type"]) for column in predictions_before}
    outputs = []
    for column in predictions(row["output_columns"])[:_CHARTS_PER_MODEL]:
        name, kind = column["name"], column["type"]
        is_comparable = (name, kind) in comparable
        outputs.append(Output(name, kind, now, before if is_comparable else None))
    return outputs


def predictions(columns: Sequence[Column]) -> list[Column]:
    """Return the columns that the model computed and that have a distribution, without passthrough columns."""
    return [column for column in columns if column["role"] == "output" and column["type"] not in ARRAYS]


def arrays(columns: Sequence[Column]) -> list[Column]:
    """Return the columns that the model computed and that hold arrays."""
    return [column for column in columns if column["role"] == "output" and column["type"] in ARRAYS]


def _draw(output: Output, statistics: StatisticsByColumn) -> Markup | None:
    now = statistics.get((output.now.table, output.name), Statistics())
    before = None
    version_before = None
    if output.before:
        before = statistics.get((output.before.table, output.name))
    if output.before and before:
        version_before = output.before.version
    versions = Versions(output.now.version, version_before)
    return svg.render_distribution(output.name, output.kind, now, before, versions)
