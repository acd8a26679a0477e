"""What the status page tells of a model: a card out of a row of the catalog, in words and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup

from prescore.wording import age
from prescore_api.pages.charts import Album, Known, Row, predicted, shown
from prescore_api.pages.runs import Run, cut, run
from prescore_api.pages.svg import age_bar


class Mark(NamedTuple):
    """What somebody should see at once; `kind` chooses its colour and sign."""

    kind: str
    words: str


class Picture(NamedTuple):
    """A column of predictions; `drawn` is None where nothing is known of its values."""

    name: str
    comment: str
    drawn: Markup | None
    remark: str


@dataclass(frozen=True)
class Service:
    """What is published; `before` is the version that was before it, `left_out` how many outputs have no place."""

    version: int
    before: int | None
    rows: str
    key: str
    bar: Markup | None
    age: str
    late: str
    clocks: str
    pictures: Sequence[Picture]
    left_out: int


@dataclass(frozen=True)
class Card:
    """A model; `service` is None before its first publication."""

    model: str
    description: str
    marks: Sequence[Mark]
    hold: str
    service: Service | None
    runs: Sequence[Run]


def card(row: Row, known: Known, album: Album) -> Card:
    """The card of a row of `page_cards`."""
    return Card(
        model=row["model"],
        description=cut(row["description"]),
        marks=list(_marks(row)),
        hold=_hold(row),
        service=None if row["version"] is None else _service(row, known, album),
        runs=[run(told, newest=place == 0) for place, told in enumerate(row["runs"] or [])],
    )


def moment(when: datetime | str) -> str:
    """A time as the page writes it; text is one that Postgres knows and Python does not."""
    return when if isinstance(when, str) else f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _marks(row: Row) -> Iterator[Mark]:
    newest = next(iter(row["runs"] or []), None)
    if row["stale"]:
        yield Mark("stale", "Stale")
    if newest and newest["state"] in ("refused", "failed") and newest["trial_rows"] is None:
        yield Mark("failed", f"Version {newest['version']} {newest['state']}")
    if row["held_at"]:
        yield Mark("held", "On hold")
    if row["version"] is None:
        yield Mark("none", "Nothing published")
    elif not row["stale"]:
        yield Mark("fresh", "Fresh") if row["max_age_seconds"] else Mark("none", "No age promised")


def _hold(row: Row) -> str:
    if row["held_at"] is None:
        return ""
    return f"On hold since {moment(row['held_at'])} by {row['held_by']}: {cut(row['hold_reason'])}"


def _service(row: Row, known: Known, album: Album) -> Service:
    promised, pictures = row["max_age_seconds"], list(_pictures(row, known, album))
    return Service(
        version=row["version"],
        before=row["before_version"],
        rows=f"{row['rows'] or 0:,} row{'' if row['rows'] == 1 else 's'}",
        key=", ".join(column["name"] for column in row["key_columns"]),
        bar=age_bar(row["age_seconds"], promised) if promised else None,
        age=_age(row),
        late=_late(row),
        clocks=f"Data as of {moment(row['data_as_of'])}; published {moment(row['published_at'])}.",
        pictures=pictures,
        left_out=len(predicted(row["output_columns"])) - len(pictures),
    )


def _age(row: Row) -> str:
    seconds, promised = row["age_seconds"], row["max_age_seconds"]
    old = f"{age(seconds)} old" if seconds >= 0 else f"of data {age(-seconds)} ahead of now"
    return f"{old}; no age is promised" if promised is None else f"{old}, promised {age(promised)}"


def _late(row: Row) -> str:
    """What becomes of lookups of a model that is older than promised."""
    if not row["stale"]:
        return ""
    then = "Lookups are refused" if row["refuse_stale"] else "It is served and marked as stale"
    return f"{then}, until a newer version is published."


def _pictures(row: Row, known: Known, album: Album) -> Iterator[Picture]:
    comments = {column["name"]: column["comment"] for column in row["output_columns"]}
    for output in shown(row):
        new = row["before_version"] is not None and output.before is None
        remark = f"Version {row['before_version']} had no such output." if new else ""
        yield Picture(output.name, cut(comments[output.name]), album.picture(output, known), remark)
