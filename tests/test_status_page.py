"""The status page: what it tells of every model, to whom, and that it is safe to open."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.rows import DictRow

from fix_api import Shelf
from fix_page import FAILED, PASSED, Scene, status_page
from prescore.catalog.database import Database
from prescore.errors import DatabaseUnavailable
from prescore_api.pages import status
from prescore_api.tables.database import Bounds, ReaderPool

KEY = {"id": "integer"}
ROWS = [(n, n / 1000) for n in range(1000)]
HOSTILE = "<script>alert('x')</script>"
_VOID = {"meta", "link", "br", "rect", "line", "path"}


class Read(HTMLParser):
    """A page as a browser reads it: its words, its tags with their attributes, and that each of them is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._words: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    @property
    def words(self) -> str:
        return re.sub(r"\s+([,.;:])", r"\1", " ".join(" ".join(self._words).split()))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self._words.append(data)


@pytest.fixture
def client(database: Database) -> Iterator[httpx.Client]:
    """A client of the page on this test's database."""
    with status_page(database) as opened:
        yield opened


def read(client: httpx.Client) -> Read:
    """The page now."""
    answer = client.get("/")
    assert answer.status_code == 200, answer.text
    return Read(answer.text)


def card(client: httpx.Client, model: str) -> str:
    """The words of one model's card."""
    return Read(_article(client.get("/").text, model)).words


def test_a_bad_day_at_a_glance(bad_day: Scene) -> None:
    with status_page(bad_day.shelf.database) as client:
        words = read(client).words
    assert "4 models 1 stale: churn 2 last run refused or failed: churn, fraud 1 on hold: flight_delay" in words
    assert "1 not published: fraud" in words
    order = [words.index(f"{model} {mark}") for model, mark in (
        ("churn", "Stale"), ("fraud", "Version 1 failed"), ("flight_delay", "On hold"), ("upsell", "Fresh"),
    )]  # fmt: skip
    assert order == sorted(order)


def test_age_promise_and_checks(bad_day: Scene) -> None:
    with status_page(bad_day.shelf.database) as client:
        churn, fraud, delay = (card(client, model) for model in ("churn", "fraud", "flight_delay"))
    assert "Chance that a customer leaves within 30 days." in churn
    assert "Version 3 is published" in churn
    assert "41 h old, max age 26 h" in churn
    assert "Answers are marked as stale until a newer version is published." in churn
    assert "2,000 rows, key: customer." in churn
    assert "4 refused 18 h ago 41 s 2,000 (3 rejected) 1 of 5 failed" in churn
    assert "mean score: 0.7312, expected 0.2 to 0.5" in churn
    assert "Checks that version 4 passed rows: 2,000, expected exactly 2000" in churn
    assert "3 published 42 h ago 41 s 2,000 4 passed 2 superseded 3 d ago" in churn
    assert "No version is published" in fraud
    assert "The model file models/fraud.onnx is not there." in fraud
    assert (
        "the winter timetable is being loaded. Runs continue, but publish nothing until the hold is released." in delay
    )


def test_distributions_now_and_before(bad_day: Scene) -> None:
    with status_page(bad_day.shelf.database) as client:
        text = client.get("/").text
        churn, upsell = card(client, "churn"), card(client, "upsell")
    assert text.count('<svg class="plot"') == 3
    assert text.count('<svg class="bars"') == 3
    assert "version 3 version 2, the previous one. From a sample of the rows" in churn
    assert "score in version 3 and in version 2 Version 3: a tenth of the rows below 0." in churn
    assert "loyal 4" in churn
    assert re.search(r"true 2\d %, was 2\d % false 7\d %, was 7\d %", churn)
    assert "name" not in re.sub(r"Shares[^.]*\.", "", churn)  # a passed-through column
    assert "version 1. From a sample" in upsell
    assert "version 2" not in upsell


def test_a_refused_lookup_is_told(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, ROWS, freshness={"max_age": "1s", "when_stale": "refuse"})
    with shelf.database.connect() as connection:
        connection.execute("update prescore.versions set data_as_of = now() - interval '3 days'")
    assert "3 d old, max age 1 s ▲" not in card(client, "m")
    assert "3 d old, max age 1 s Lookups are refused until a newer version is published." in card(client, "m")


def test_without_a_promise(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, ROWS)
    told = card(client, "m")
    assert "No max age" in told
    assert "0 s old, no max age" in told


def test_what_was_served_before_a_roll_back_is_what_it_is_compared_with(shelf: Shelf, client: httpx.Client) -> None:
    for _ in range(3):
        shelf.publish("m", KEY, ROWS)
    shelf.rollback("m")
    told = card(client, "m")
    assert "Version 2 is published" in told
    assert "version 3, the previous one" in told
    assert "rolled back from version 3 to 2" in told


def test_an_output_that_is_new_or_has_another_type_is_not_compared(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, ROWS, {"a": "real"})
    shelf.publish(
        "m", KEY, [(n, str(n % 2), n / 7) for n in range(100)], {"a": "text", "b": "real"}, breaking=True
    )  # fmt: skip
    told = card(client, "m")
    assert told.count("Version 1 has no such output, or has it with another type.") == 2
    assert "was" not in told.partition("Distribution")[2]


def test_a_table_of_one_row_has_no_statistics(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(1, 0.5)])
    assert "1 row, key: id" in card(client, "m")
    assert "No chart: the table has too few rows" in card(client, "m")
    shelf.publish("m", KEY, [])
    assert "0 rows, key: id" in card(client, "m")


def test_many_outputs_and_many_failed_checks_are_cut(scene: Scene) -> None:
    names = {f"o{n}": "real" for n in range(7)}
    scene.shelf.publish("wide", KEY, [(n, *[n / 9] * 7) for n in range(9)], names)
    scene.checks("wide", 1, "published", [FAILED | {"name": f"check {n}"} for n in range(60)] + PASSED)
    with status_page(scene.shelf.database) as client:
        told = card(client, "wide")
    assert "And 3 more outputs." in told
    assert len(re.findall(r"check \d+: 0.7312", told)) == 10
    assert "and 50 more" in told


def test_runs_on_their_way_and_trials(scene: Scene) -> None:
    scene.change("update prescore.versions set state = 'building', rows = null, checks = null where version = 4")
    scene.change("update prescore.versions set trial_rows = 150, state = 'checked' where model = 'fraud'")
    with status_page(scene.shelf.database) as client:
        churn, fraud = card(client, "churn"), card(client, "fraud")
    assert "4 building 18 h ago 41 s - -" in churn
    assert "A trial run with at most 150 rows, which is never published." in fraud
    assert "failed" not in fraud


def test_a_trial_that_is_refused_alarms_nobody(scene: Scene) -> None:
    scene.change("update prescore.versions set trial_rows = 150, state = 'refused' where model = 'fraud'")
    with status_page(scene.shelf.database) as client:
        assert "Version 1 refused" not in card(client, "fraud")
        assert "last run refused or failed: churn 1 on hold" in read(client).words


def test_whoever_may_not_read_a_model_does_not_learn_of_it(bad_day: Scene) -> None:
    with status_page(bad_day.shelf.database, ["upsell", "flight_delay"]) as client:
        text = client.get("/").text
    assert re.findall(r'<article id="model-(\w+)"', text) == ["flight_delay", "upsell"]
    assert "2</b> models" in text
    assert "churn" not in text
    assert "fraud" not in text


def test_no_model(client: httpx.Client) -> None:
    told = read(client).words
    assert "0 models" in told
    assert "This database has no model, or none that your API key may read." in told


def test_what_has_been_drawn_is_not_asked_for_again(shelf: Shelf) -> None:
    shelf.publish("m", KEY, ROWS)
    (first, one), (second, other) = (asyncio.run(_asked(shelf.database)) for _ in range(2))
    assert (first, second) == (3, 2)
    pictures = re.compile(r'<svg class="plot".*?</desc>.*?</svg>.*?</svg>', re.DOTALL)
    assert pictures.findall(one) == pictures.findall(other) != []


def test_a_hundred_models_take_no_more_statements_than_one(shelf: Shelf) -> None:
    shelf.publish("m102", KEY, ROWS)
    with shelf.database.connect() as connection:
        connection.execute("insert into prescore.models (model) select 'm' || n from generate_series(1, 101) n")
        connection.execute(
            "update prescore.models set held_at = now(), held_by = 'x', hold_reason = 'x' where model = 'm102'"
        )
    asked, text = asyncio.run(_asked(shelf.database))
    assert asked == 3
    assert text.count("<article") == status.MAX_MODELS == 100
    assert "This page shows 100 of 102 models, beginning with those that need attention." in text
    assert text.index('id="model-m102"') < text.index('id="model-m1"')


async def _asked(database: Database) -> tuple[int, str]:
    """How many statements the page took, and the page."""
    count = 0

    class Counting(ReaderPool):
        async def rows(self, statement: Any, parameters: Mapping[str, Any]) -> list[DictRow]:
            nonlocal count
            count += 1
            return await super().rows(statement, parameters)

    async with Counting(database, Bounds()) as reader:
        text = await status.html(reader, lambda _: True)
    return count, text


def test_nothing_that_somebody_wrote_is_taken_for_html(scene: Scene) -> None:
    key, rows = {f"k{HOSTILE}": "integer"}, [(n, HOSTILE, n / 9) for n in range(9)]
    outputs = {f"o{HOSTILE}%": "text", '"><i>': "real"}
    for _ in range(2):
        scene.shelf.publish("hostile", key, rows, outputs, description=HOSTILE)
    said = dict.fromkeys(("name", "observed", "expected"), HOSTILE)
    scene.checks("hostile", 2, "published", [said | {"passed": False}, said | {"passed": True}])
    scene.checks("hostile", 1, "failed", [])
    scene.change("update prescore.versions set error = %s where model = 'hostile'", HOSTILE)
    scene.change(
        "update prescore.models set held_at = now(), held_by = %s, hold_reason = %s where model = 'hostile'",
        HOSTILE, HOSTILE,
    )  # fmt: skip
    scene.change(
        "update prescore.versions set output_columns = replace(output_columns::text, 'the ', %s)::jsonb "
        "where model = 'hostile'",
        HOSTILE,
    )
    with status_page(scene.shelf.database) as client:
        text = client.get("/").text
        told = read(client)
    assert text.count(html.escape(HOSTILE, quote=False).replace("'", "&#39;")) >= 12
    assert not {"script", "i"} & {tag for tag, _ in told.tags}
    assert "<i>" not in text


def test_a_browser_takes_nothing_but_the_pages_own_style(bad_day: Scene) -> None:
    with status_page(bad_day.shelf.database) as client:
        answer = client.get("/")
    style = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert len(style) == 1
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    tags = Read(answer.text).tags
    assert not {"script", "img", "iframe", "form", "object"} & {tag for tag, _ in tags}
    names = {name for _, attributes in tags for name in attributes}
    assert "style" not in names
    assert not [name for name in names if name.startswith("on")]
    assert "http://" not in answer.text.replace("xmlns='http://www.w3.org/2000/svg'", "")
    assert "https://" not in answer.text


def test_it_says_what_a_page_must_say_to_phones_and_readers(bad_day: Scene) -> None:
    with status_page(bad_day.shelf.database) as client:
        answer = client.get("/")
    tags = Read(answer.text).tags
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert ("html", {"lang": "en"}) in tags
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags
    assert "refresh" not in answer.text
    assert re.search(r"as of <time datetime=\"[^\"]+\">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", answer.text)
    pictures = re.findall(r'<svg class="(?:plot|bars|bar)"[^>]*>', answer.text)
    assert all('role="img"' in picture for picture in pictures)
    assert len(pictures) == len(re.findall(r'role="img"[^>]*><title>[^<]+</title><desc>[^<]+</desc>', answer.text))
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(names)) == len(names)


def test_a_database_that_is_away_is_told_by_the_error(tmp_path: Path) -> None:
    async def ask() -> None:
        async with ReaderPool(
            Database(f"postgresql:///nothing?host={tmp_path}"), Bounds(connection_seconds=0.2)
        ) as reader:
            await status.html(reader, lambda _: True)

    with pytest.raises(DatabaseUnavailable):
        asyncio.run(ask())


def _article(text: str, model: str) -> str:
    found = re.search(rf'<article id="model-{model}">.*?</article>', text, re.DOTALL)
    assert found
    return found[0]
