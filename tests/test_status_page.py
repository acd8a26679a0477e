"""The status page: what it shows of each model and to which clients, and that it is safe to open."""

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
from psycopg.types.json import Jsonb

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


class ParsedPage(HTMLParser):
    """A parsed page: its text and its tags with their attributes. Every tag must be closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return re.sub(r"\s+([,.;:])", r"\1", " ".join(" ".join(self._texts).split()))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self._texts.append(data)


@pytest.fixture
def client(database: Database) -> Iterator[httpx.Client]:
    """A client of a server for the page, on this test's database."""
    with status_page(database) as page_client:
        yield page_client


def fetch_page(client: httpx.Client) -> ParsedPage:
    """Fetch and parse the page."""
    response = client.get("/")
    assert response.status_code == 200, response.text
    return ParsedPage(response.text)


def card_text(client: httpx.Client, model: str) -> str:
    """Return the text of a model's card."""
    return ParsedPage(_article(client.get("/").text, model)).text


def test_the_summary_names_the_models_that_need_attention_first(shared_scene: Scene) -> None:
    with status_page(shared_scene.shelf.database) as client:
        text = fetch_page(client).text
    assert "4 models 1 stale: churn 2 last run refused or failed: churn, fraud 1 on hold: flight_delay" in text
    assert "1 not published: fraud" in text
    positions = [text.index(f"{model} {mark}") for model, mark in (
        ("churn", "Stale"), ("fraud", "Version 1 failed"), ("flight_delay", "On hold"), ("upsell", "Fresh"),
    )]  # fmt: skip
    assert positions == sorted(positions)


def test_a_card_shows_age_max_age_runs_and_checks(shared_scene: Scene) -> None:
    with status_page(shared_scene.shelf.database) as client:
        churn, fraud, delay = (card_text(client, model) for model in ("churn", "fraud", "flight_delay"))
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


def test_a_card_warns_of_a_version_whose_numbers_nothing_verifies(database: Database, client: httpx.Client) -> None:
    shelf = Shelf(database)
    for model in ("churn", "fraud", "upsell"):
        shelf.publish(model, {"customer": "bigint"}, [(1, 0.5)], {"score": "real"})
    with database.connect() as connection:
        connection.execute("update prescore.versions set examples_fingerprint = 'x' where model = 'fraud'")
        connection.execute("update prescore.versions set model_fingerprint = null where model = 'upsell'")
    warning = "No examples: nothing shows that this model's numbers are those of its training code."
    assert [warning in card_text(client, model) for model in ("churn", "fraud", "upsell")] == [True, False, False]


def test_a_card_shows_distributions_of_the_published_and_the_previous_version(shared_scene: Scene) -> None:
    with status_page(shared_scene.shelf.database) as client:
        text = client.get("/").text
        churn, upsell = card_text(client, "churn"), card_text(client, "upsell")
    assert text.count('<svg class="plot"') == 3
    assert text.count('<svg class="bars"') == 3
    assert "version 3 version 2, the previous one. From a sample of the rows" in churn
    assert "score in version 3 and in version 2 Version 3: a tenth of the rows below 0." in churn
    assert "loyal 4" in churn
    assert re.search(r"true 2\d %, was 2\d % false 7\d %, was 7\d %", churn)
    # The page draws no chart of the passthrough column.
    assert "name" not in re.sub(r"Shares[^.]*\.", "", churn)
    assert "version 1. From a sample" in upsell
    assert "version 2" not in upsell


def test_a_card_says_when_lookups_are_refused(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, ROWS, freshness={"max_age": "1s", "when_stale": "refuse"})
    with shelf.database.connect() as connection:
        connection.execute("update prescore.versions set data_as_of = now() - interval '3 days'")
    assert "3 d old, max age 1 s ▲" not in card_text(client, "m")
    assert "3 d old, max age 1 s Lookups are refused until a newer version is published." in card_text(client, "m")


def test_a_card_says_when_there_is_no_max_age(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, ROWS)
    card = card_text(client, "m")
    assert "No max age" in card
    assert "0 s old, no max age" in card


def test_after_a_rollback_the_comparison_is_with_the_version_served_before(shelf: Shelf, client: httpx.Client) -> None:
    for _ in range(3):
        shelf.publish("m", KEY, ROWS)
    shelf.rollback("m")
    card = card_text(client, "m")
    assert "Version 2 is published" in card
    assert "version 3, the previous one" in card
    assert "rolled back from version 3 to 2" in card


def test_an_output_that_is_new_or_has_a_new_type_is_not_compared(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, ROWS, {"a": "real"})
    shelf.publish(
        "m", KEY, [(n, str(n % 2), n / 7) for n in range(100)], {"a": "text", "b": "real"}, breaking=True
    )  # fmt: skip
    card = card_text(client, "m")
    assert card.count("Version 1 has no such output, or has it with another type.") == 2
    assert "was" not in card.partition("Distribution")[2]


def test_a_table_of_one_row_has_no_chart(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(1, 0.5)])
    assert "1 row, key: id" in card_text(client, "m")
    assert "No chart: the table has too few rows" in card_text(client, "m")
    shelf.publish("m", KEY, [])
    assert "0 rows, key: id" in card_text(client, "m")


def test_a_card_cuts_long_lists_of_outputs_and_failed_checks(scene: Scene) -> None:
    names = {f"o{n}": "real" for n in range(7)}
    scene.shelf.publish("wide", KEY, [(n, *[n / 9] * 7) for n in range(9)], names)
    scene.record_checks("wide", 1, "published", [FAILED | {"name": f"check {n}"} for n in range(60)] + PASSED)
    with status_page(scene.shelf.database) as client:
        card = card_text(client, "wide")
    assert "And 3 more outputs." in card
    assert len(re.findall(r"check \d+: 0.7312", card)) == 10
    assert "and 50 more" in card


def test_a_card_shows_running_and_trial_runs(scene: Scene) -> None:
    scene.execute("update prescore.versions set state = 'building', rows = null, checks = null where version = 4")
    scene.execute("update prescore.versions set trial_rows = 150, state = 'checked' where model = 'fraud'")
    with status_page(scene.shelf.database) as client:
        churn, fraud = card_text(client, "churn"), card_text(client, "fraud")
    assert "4 building 18 h ago 41 s - -" in churn
    assert "A trial run with at most 150 rows, which is never published." in fraud
    assert "failed" not in fraud


def test_a_card_shows_what_a_run_waits_for(scene: Scene) -> None:
    result = {"name": "PSI of score", "passed": True, "warning": True, "observed": 0.13, "expected": "at most 0.1"}
    scene.execute("update prescore.versions set state = 'checked', checks = %s where version = 4", Jsonb([result]))
    with status_page(scene.shelf.database) as client:
        card = card_text(client, "churn")
    assert "It waits for approval, because it differs from the served version: PSI of score: 0.13." in card
    assert "0 of 1 passed, 1 warning" in card


def test_a_refused_trial_run_needs_no_attention(scene: Scene) -> None:
    scene.execute("update prescore.versions set trial_rows = 150, state = 'refused' where model = 'fraud'")
    with status_page(scene.shelf.database) as client:
        assert "Version 1 refused" not in card_text(client, "fraud")
        assert "last run refused or failed: churn 1 on hold" in fetch_page(client).text


def test_a_key_does_not_reveal_models_that_it_may_not_read(shared_scene: Scene) -> None:
    with status_page(shared_scene.shelf.database, ["upsell", "flight_delay"]) as client:
        text = client.get("/").text
    assert re.findall(r'<article id="model-(\w+)"', text) == ["flight_delay", "upsell"]
    assert "2</b> models" in text
    assert "churn" not in text
    assert "fraud" not in text


def test_a_page_without_models_says_so(client: httpx.Client) -> None:
    text = fetch_page(client).text
    assert "0 models" in text
    assert "This database has no model, or none that your API key may read." in text


def test_cached_charts_are_not_queried_again(shelf: Shelf) -> None:
    shelf.publish("m", KEY, ROWS)
    (first_count, first), (second_count, second) = (asyncio.run(_render(shelf.database)) for _ in range(2))
    assert (first_count, second_count) == (3, 2)
    charts = re.compile(r'<svg class="plot".*?</desc>.*?</svg>.*?</svg>', re.DOTALL)
    assert charts.findall(first) == charts.findall(second) != []


def test_a_hundred_models_need_no_more_statements_than_one(shelf: Shelf) -> None:
    shelf.publish("m102", KEY, ROWS)
    with shelf.database.connect() as connection:
        connection.execute("insert into prescore.models (model) select 'm' || n from generate_series(1, 101) n")
        connection.execute(
            "update prescore.models set held_at = now(), held_by = 'x', hold_reason = 'x' where model = 'm102'"
        )
    statements, text = asyncio.run(_render(shelf.database))
    assert statements == 3
    assert text.count("<article") == status.MAX_MODELS == 100
    assert "This page shows 100 of 102 models, beginning with those that need attention." in text
    assert text.index('id="model-m102"') < text.index('id="model-m1"')


async def _render(database: Database) -> tuple[int, str]:
    """Render the page; return the number of statements and the page."""
    count = 0

    class CountingPool(ReaderPool):
        async def rows(self, statement: Any, parameters: Mapping[str, Any]) -> list[DictRow]:
            nonlocal count
            count += 1
            return await super().rows(statement, parameters)

    async with CountingPool(database, Bounds()) as reader:
        text = await status.html(reader, lambda _: True)
    return count, text


def test_text_from_the_catalog_is_escaped(scene: Scene) -> None:
    key, rows = {f"k{HOSTILE}": "integer"}, [(n, HOSTILE, n / 9) for n in range(9)]
    outputs = {f"o{HOSTILE}%": "text", '"><i>': "real"}
    for _ in range(2):
        scene.shelf.publish("hostile", key, rows, outputs, description=HOSTILE)
    check = dict.fromkeys(("name", "observed", "expected"), HOSTILE)
    scene.record_checks("hostile", 2, "published", [check | {"passed": False}, check | {"passed": True}])
    scene.record_checks("hostile", 1, "failed", [])
    scene.execute("update prescore.versions set error = %s where model = 'hostile'", HOSTILE)
    scene.execute(
        "update prescore.models set held_at = now(), held_by = %s, hold_reason = %s where model = 'hostile'",
        HOSTILE, HOSTILE,
    )  # fmt: skip
    scene.execute(
        "update prescore.versions set output_columns = replace(output_columns::text, 'the ', %s)::jsonb "
        "where model = 'hostile'",
        HOSTILE,
    )
    with status_page(scene.shelf.database) as client:
        text = client.get("/").text
        page = fetch_page(client)
    assert text.count(html.escape(HOSTILE, quote=False).replace("'", "&#39;")) >= 12
    assert not {"script", "i"} & {tag for tag, _ in page.tags}
    assert "<i>" not in text


def test_the_content_security_policy_allows_only_the_style_of_the_page(shared_scene: Scene) -> None:
    with status_page(shared_scene.shelf.database) as client:
        response = client.get("/")
    style = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    policy = response.headers["content-security-policy"]
    assert len(style) == 1
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    tags = ParsedPage(response.text).tags
    assert not {"script", "img", "iframe", "form", "object"} & {tag for tag, _ in tags}
    names = {name for _, attributes in tags for name in attributes}
    assert "style" not in names
    assert not [name for name in names if name.startswith("on")]
    assert "http://" not in response.text.replace("xmlns='http://www.w3.org/2000/svg'", "")
    assert "https://" not in response.text


def test_the_page_supports_phones_and_screen_readers(shared_scene: Scene) -> None:
    with status_page(shared_scene.shelf.database) as client:
        response = client.get("/")
    tags = ParsedPage(response.text).tags
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert ("html", {"lang": "en"}) in tags
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags
    assert "refresh" not in response.text
    assert re.search(r"as of <time datetime=\"[^\"]+\">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", response.text)
    charts = re.findall(r'<svg class="(?:plot|bars|bar)"[^>]*>', response.text)
    assert all('role="img"' in chart for chart in charts)
    assert len(charts) == len(re.findall(r'role="img"[^>]*><title>[^<]+</title><desc>[^<]+</desc>', response.text))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_an_unreachable_database_raises_database_unavailable(tmp_path: Path) -> None:
    async def render() -> None:
        async with ReaderPool(
            Database(f"postgresql:///nothing?host={tmp_path}"), Bounds(connection_seconds=0.2)
        ) as reader:
            await status.html(reader, lambda _: True)

    with pytest.raises(DatabaseUnavailable):
        asyncio.run(render())


def _article(text: str, model: str) -> str:
    article = re.search(rf'<article id="model-{model}">.*?</article>', text, re.DOTALL)
    assert article
    return article[0]
