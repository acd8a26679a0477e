"""A card of the status page: what it shows of one model, from a row of the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup

from prescore.wording import age
from prescore_api.pages.charts import ChartCache, Row, StatisticsByColumn, arrays, charted_outputs, predictions
from prescore_api.pages.runs import Run, describe, shorten_text
from prescore_api.pages.svg import render_age


class Mark(NamedTuple):
    """A model's condition at a glance; `kind` selects its color and its sign."""

    kind: str
    text: str


class Chart(NamedTuple):
    """An output's chart; `svg` is None if nothing is known of its values."""

    name: str
    comment: str
    svg: Markup | None
    remark: str


@dataclass(frozen=True)
class Published:
    """The published version.

    `before` is the number of the previous one, `left_out` the number of outputs whose charts are not shown, `arrays`
    the names of those that have none.
    """

    version: int
    before: int | None
    rows: str
    key: str
    age_bar: Markup | None
    age: str
    consequence: str
    canary: str
    times: str
    charts: Sequence[Chart]
    left_out: int
    arrays: str


@dataclass(frozen=True)
class Card:
    """A model; `published` is None before its first publication.

    `unverified` says that the published version has no examples that its model reproduced.
    """

    model: str
    description: str
    marks: Sequence[Mark]
    hold: str
    unverified: bool
    published: Published | None
    runs: Sequence[Run]


def card(row: Row, statistics: StatisticsByColumn, cache: ChartCache) -> Card:
    """Build the card for a row of `page_cards`."""
    runs = []
    for position, run in enumerate(row["runs"] or []):
        is_newer = run["version"] > (row["version"] or 0)
        runs.append(describe(run, newest=position == 0, waits=is_newer))
    return Card(
        model=row["model"],
        description=shorten_text(row["description"]),
        marks=list(_marks(row)),
        hold=_hold(row),
        unverified=bool(row["unverified"]),
        published=None if row["version"] is None else _published(row, statistics, cache),
        runs=runs,
    )


def format_time(when: datetime | str) -> str:
    """Return a time as the page shows it. A text, for a time beyond Python's range, stays as it is."""
    if isinstance(when, str):
        return when
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _marks(row: Row) -> Iterator[Mark]:
    newest = row["runs"][0] if row["runs"] else None
    if row["stale"]:
        yield Mark("stale", "Stale")
    if newest and newest["state"] in ("refused", "failed") and newest["trial_rows"] is None:
        yield Mark("failed", f"Version {newest['version']} {newest['state']}")
    if row["held_at"]:
        yield Mark("held", "On hold")
    if row["version"] is None:
        yield Mark("none", "Not published")
    elif not row["stale"]:
        yield _fresh_mark(row)


def _fresh_mark(row: Row) -> Mark:
    if row["max_age_seconds"]:
        return Mark("fresh", "Fresh")
    return Mark("none", "No max age")


def _hold(row: Row) -> str:
    if row["held_at"] is None:
        return ""
    since = format_time(row["held_at"])
    reason = shorten_text(row["hold_reason"])
    return f"On hold since {since} by {row['held_by']}: {reason}"


def _published(row: Row, statistics: StatisticsByColumn, cache: ChartCache) -> Published:
    max_age = row["max_age_seconds"]
    charts = list(_charts(row, statistics, cache))
    data_as_of = format_time(row["data_as_of"])
    published_at = format_time(row["published_at"])
    return Published(
        version=row["version"],
        before=row["before_version"],
        rows=_row_count(row["rows"] or 0),
        key=", ".join(column["name"] for column in row["key_columns"]),
        age_bar=render_age(row["age_seconds"], max_age) if max_age else None,
        age=_age(row["age_seconds"], max_age),
        consequence=_consequence(row),
        canary=_canary(row),
        times=f"Data as of {data_as_of}, published {published_at}.",
        charts=charts,
        left_out=len(predictions(row["output_columns"])) - len(charts),
        arrays=shorten_text(", ".join(column["name"] for column in arrays(row["output_columns"]))),
    )


def _row_count(rows: int) -> str:
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"


def _age(seconds: float, max_age: float | None) -> str:
    actual = f"{age(seconds)} old" if seconds >= 0 else f"Data is {age(-seconds)} ahead of now"
    if max_age is None:
        return f"{actual}, no max age"
    return f"{actual}, max age {age(max_age)}"


def _consequence(row: Row) -> str:
    """Return what a stale model means for lookups."""
    if not row["stale"]:
        return ""
    if row["refuse_stale"]:
        return "Lookups are refused until a newer version is published."
    return "Answers are marked as stale until a newer version is published."


def _canary(row: Row) -> str:
    """Return what the canary is served to."""
    if row["canary_version"] is None:
        return ""
    share = row["canary_share"]
    served = f"answers {100 * share:.6g}% of the keys" if share else "is tried in shadow"
    return f"Version {row['canary_version']} is the canary and {served}."


def _charts(row: Row, statistics: StatisticsByColumn, cache: ChartCache) -> Iterator[Chart]:
    comments = {column["name"]: column["comment"] for column in row["output_columns"]}
    for output in charted_outputs(row):
        remark = ""
        if row["before_version"] is not None and output.before is None:
            remark = f"Version {row['before_version']} has no such output, or has it with another type."
        yield Chart(
            name=output.name,
            comment=shorten_text(comments[output.name]),
            svg=cache.chart(output, statistics),
            remark=remark,
        )
