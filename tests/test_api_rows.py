"""Reading all rows of a version over HTTP: pages in the order of the key, in every format, from one version."""

from __future__ import annotations

import csv
import io
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pyarrow as pa
import pytest

from fix_api import Api, Shelf, fresh_database, serving
from fix_client import retire
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore_api.http.app import build
from prescore_api.service.row_pages import Cursor

KEY = {"k": "bigint"}
PATH = "/v1/predictions/m/rows"
ARROW = {"Accept": "application/vnd.apache.arrow.stream"}
CSV = {"Accept": "text/csv"}


def _lines(response: httpx.Response) -> list[Any]:
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson"), response.text
    return [json.loads(line) for line in response.text.split("\n")[:-1]]


def _next(response: httpx.Response) -> str | None:
    """Return the URL that the Link header names, as any client resolves it."""
    link = response.links.get("next")
    return urljoin(str(response.url), link["url"]) if link else None


def _pages(client: httpx.Client, url: str | None, **headers: str) -> Iterator[httpx.Response]:
    while url is not None:
        response = client.get(url, headers=headers)
        yield response
        url = _next(response)


def _error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
def test_all_rows_are_read_once_in_the_order_of_the_key(api: Api, limit: int) -> None:
    keys = [-5, 3, 7, 100, 9_007_199_254_740_993, -9_223_372_036_854_775_808, 0]
    m = api.publish(KEY, [(k, 0.5) for k in keys])
    pages = list(_pages(api.client, f"/v1/predictions/{m}/rows?limit={limit}"))
    rows = [row for page in pages for row in _lines(page)]
    assert rows == [{"key": {"k": k}, "prediction": {"score": 0.5}} for k in sorted(keys)]
    assert len(pages) == -(-len(keys) // limit)
    assert {page.headers["prescore-rows"] for page in pages} == {"7"}


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ({"a": "text", "b": "date"}, [("", "0001-01-01"), ("%", "2013-01-01"), ('"é\n,', "9999-12-31")]),
        ({"b": "date", "a": "text"}, [("infinity", "a"), ("infinity", "b"), ("0001-01-01", "")]),
        ({"t": "timestamptz"}, [("-infinity",), ("2013-07-04T17:30:00.000001Z",), ("2013-07-04T17:30:00.000002Z",)]),
        ({"t": "timestamp", "n": "smallint"}, [("0044-03-15 12:00:00 BC", 1), ("2013-07-04T00:00:00", -1)]),
        ({"u": "uuid"}, [("00000000-0000-0000-0000-000000000001",), ("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d",)]),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_cursor_continues_exactly_after_a_key_of_any_type(api: Api, key: dict[str, str], values: list[Any]) -> None:
    m = api.publish(key, [(*value, 0.5) for value in values])
    url = f"/v1/predictions/{m}/rows?limit="
    one_by_one = [row["key"] for page in _pages(api.client, f"{url}1") for row in _lines(page)]
    at_once = [row["key"] for row in _lines(api.client.get(f"{url}100"))]
    assert one_by_one == at_once
    assert len(at_once) == len(values)


def test_every_format_has_the_same_rows(api: Api) -> None:
    outputs = {"score": "real", "big": "bigint", "text": "text", "flag": "boolean", "vector": "real[]"}
    rows: list[Any] = [
        (1, "x", 0.1, 9_007_199_254_740_993, 'a "quoted", text\r\nof two lines', True, [0.5, -1.25], "2013-01-01", 1.5),
        (2, "", 3.5, None, "", False, None, None, float("nan")),
    ]
    passthrough = {"day": "date", "weight": "double precision"}
    m = api.publish({"k": "bigint", "t": "text"}, rows, outputs, passthrough)
    path = f"/v1/predictions/{m}/rows"
    lines = _lines(api.client.get(path))
    assert lines == [
        {
            "key": {"k": 1, "t": "x"},
            "prediction": {
                "score": 0.1, "big": 9_007_199_254_740_993, "text": 'a "quoted", text\r\nof two lines', "flag": True,
                "vector": [0.5, -1.25], "day": "2013-01-01", "weight": 1.5,
            },
        },
        {
            "key": {"k": 2, "t": ""},
            "prediction": {
                "score": 3.5, "big": None, "text": "", "flag": False, "vector": None, "day": None, "weight": None
            },
        },
    ]  # fmt: skip
    response = api.client.get(path, headers=CSV)
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    header, first, second = csv.reader(io.StringIO(response.text, newline=""))
    assert header == ["k", "t", "score", "big", "text", "flag", "vector", "day", "weight"]
    text = 'a "quoted", text\r\nof two lines'
    assert first == ["1", "x", "0.1", "9007199254740993", text, "true", "[0.5,-1.25]", "2013-01-01", "1.5"]
    assert second == ["2", "", "3.5", "", "", "false", "", "", ""]
    # Empty text and a missing value differ.
    assert response.text.split("\r\n")[-2] == '2,"",3.5,,"",false,,,'
    table = pa.ipc.open_stream(api.client.get(path, headers=ARROW).content).read_all()
    assert table.column("key").to_pylist() == [line["key"] for line in lines]
    assert [row["big"] for row in table.column("prediction").to_pylist()] == [9_007_199_254_740_993, None]
    assert table.schema.metadata[b"version"] == b"1"
    assert _error(api.client.get(path, headers={"Accept": "application/json"})) == (406, "not_acceptable")


def test_a_page_names_its_version_and_age(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(1, 0.5)], data_as_of=datetime.now(UTC) - timedelta(hours=2), freshness={"max_age": "1h"})
    page, answer = client.get(PATH), client.get("/v1/predictions/m/1").json()
    assert page.headers["prescore-version"] == "1"
    assert datetime.fromisoformat(page.headers["prescore-data-as-of"]) == datetime.fromisoformat(answer["data_as_of"])
    assert page.headers["prescore-published-at"] == answer["published_at"]
    assert abs(float(page.headers["prescore-age-seconds"]) - 7200) < 60
    assert page.headers["prescore-stale"] == "true"
    assert page.headers["cache-control"] == "no-store"


def test_the_cursor_stays_with_its_version_while_others_are_published(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(k, 0.25) for k in range(4)])
    pages = _pages(client, f"{PATH}?limit=2&output=score")
    rows = _lines(next(pages))
    shelf.publish("m", KEY, [(k, 0.5, 1) for k in range(3, 9)], {"score": "real", "more": "integer"})
    # A new reading begins with the new version at once.
    assert [row["prediction"]["score"] for row in _lines(client.get(PATH))] == [0.5] * 6
    for page in pages:
        rows += _lines(page)
        assert page.headers["prescore-version"] == "1"
    assert rows == [{"key": {"k": k}, "prediction": {"score": 0.25}} for k in range(4)]
    older = list(_pages(client, f"{PATH}?version=1&limit=3"))
    assert [row["key"]["k"] for page in older for row in _lines(page)] == [0, 1, 2, 3]
    assert "version=1" in str(older[1].url)


def test_a_version_that_was_retired_meanwhile_is_an_error_that_says_so(shelf: Shelf, client: httpx.Client) -> None:
    for score in (0.25, 0.5):
        shelf.publish("m", KEY, [(k, score) for k in range(4)])
    urls = [_next(client.get(f"{PATH}?version=1&limit=2")), _next(client.get(f"{PATH}?version=1&limit=3"))]
    retire(shelf, 1)
    for url in urls:
        response = client.get(url or "")
        assert _error(response) == (410, "version_retired")
        message = response.json()["error"]["message"]
        assert "m version 1 was retired while its rows were being read." in message
        assert "version 2 is published" in message
    assert _error(client.get(f"{PATH}?version=1")) == (404, "not_found")


def test_a_number_that_a_restore_gave_to_another_version_is_not_confused(
    shelf: Shelf, client: httpx.Client, connection: Connection
) -> None:
    shelf.publish("m", KEY, [(k, 0.25) for k in range(4)])
    url = _next(client.get(f"{PATH}?limit=2"))
    connection.execute("update prescore.versions set id = gen_random_uuid()")
    assert _error(client.get(url or "")) == (410, "version_retired")


@pytest.mark.parametrize("change", ["truncate prescore_versions.m_v1", "delete from prescore_versions.m_v1 where k = 3",
                                    "drop table prescore_versions.m_v1"])  # fmt: skip
def test_rows_that_were_lost_by_hand_are_an_error(
    shelf: Shelf, client: httpx.Client, connection: Connection, change: str
) -> None:
    shelf.publish("m", KEY, [(k, 0.25) for k in range(5)])
    url = _next(client.get(f"{PATH}?limit=2"))
    connection.execute(change.encode())
    while url:
        response = client.get(url)
        url = _next(response)
    assert _error(response) == (503, "database_refused")


def test_freshness_rules_hold_for_rows(shelf: Shelf, client: httpx.Client) -> None:
    old = datetime.now(UTC) - timedelta(hours=2)
    shelf.publish(
        "m", KEY, [(k, 0.5) for k in range(3)], data_as_of=old, freshness={"max_age": "1h", "when_stale": "refuse"}
    )
    assert _error(client.get(PATH)) == (503, "too_old")
    named = client.get(f"{PATH}?version=1&limit=2")
    assert len(_lines(named)) == 2
    assert len(_lines(client.get(_next(named) or ""))) == 1
    # Without version=, the version of a cursor is one that was published to its reader.
    after = parse_qs(urlsplit(_next(named) or "").query)["after"][0]
    assert _error(client.get(PATH, params={"after": after})) == (503, "too_old")
    assert _error(client.get(f"{PATH}?version=1&max_age=60")) == (503, "too_old")
    assert _next(client.get(f"{PATH}?version=1&max_age=9000.5&limit=1")).count("max_age=9000.5&") == 1  # type: ignore[union-attr]


def test_an_api_key_opens_only_its_models(server: str) -> None:
    with fresh_database(server) as database, serving(build(database)) as client:
        Shelf(database).publish("m", KEY, [(k, 0.5) for k in range(3)])
        Shelf(database).publish("other", KEY, [(k, 0.5) for k in range(3)])
        with database.connect() as connection:
            key = api_keys.create(Catalog(connection), "limited", ["m"], None)
        client.headers["Authorization"] = f"Bearer {key}"
        url = _next(client.get(f"{PATH}?limit=1")) or ""
        assert _error(client.get(url.replace("/m/", "/other/"))) == (403, "forbidden")
        assert _error(client.get("/v1/predictions/none/rows")) == (403, "forbidden")
        del client.headers["Authorization"]
        assert _error(client.get(url)) == (401, "unauthenticated")


def test_a_cursor_that_is_not_one_is_refused(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(k, 0.5) for k in range(3)])
    shelf.publish("other", {"a": "text", "b": "text"}, [("x", "y", 0.5), ("y", "z", 0.5)])
    url = _next(client.get(f"{PATH}?limit=1")) or ""
    text = parse_qs(urlsplit(url).query)["after"][0]
    cursor: Any = Cursor.parse(text)
    assert cursor.serialize() == text
    forged = [
        cursor._replace(key=["x"]), cursor._replace(key=["1", "2"]), cursor._replace(key=["\x00"]),
        cursor._replace(key=[7]), cursor._replace(version=2**40), cursor._replace(version="1"), cursor._replace(id=7),
    ]  # fmt: skip
    # A wrong count must not be reported as lost rows.
    decoded = urlsafe_b64decode(text + "==")
    altered = urlsafe_b64encode(decoded.replace(b",1,[", b",2,[")).decode()
    assert altered != text
    for after in ["", "x", "é", "W10", "bnVsbA", text[:-3], altered, *(cursor.serialize() for cursor in forged)]:
        response = client.get(PATH, params={"after": after})
        assert _error(response) == (422, "request_invalid"), after
    # Of another model: its version has another id.
    assert _error(client.get("/v1/predictions/other/rows", params={"after": text})) == (410, "version_retired")
    assert _error(client.get(PATH, params={"version": 2, "after": text})) == (422, "request_invalid")
    for wrong in ("limit=0", "limit=10001", "limit=x", "limit=1&limit=2", "unknown=1", "output=none", "max_age=x"):
        assert _error(client.get(f"{PATH}?{wrong}")) == (422, "request_invalid")


def test_an_empty_version_and_unknown_models(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [])
    page = client.get(PATH)
    assert (page.text, _next(page)) == ("", None)
    assert client.get(PATH, headers=CSV).text == '"k","score"\r\n'
    assert pa.ipc.open_stream(client.get(PATH, headers=ARROW).content).read_all().num_rows == 0
    assert _error(client.get("/v1/predictions/none/rows")) == (404, "not_found")
    assert _error(client.get(f"{PATH}?version=7")) == (404, "not_found")


def test_the_key_rows_can_still_be_looked_up(api: Api) -> None:
    m = api.publish({"k": "text"}, [("rows", 0.25), ("lookup", 0.5)])
    assert api.client.get(f"/v1/predictions/{m}?k=rows").json()["prediction"] == {"score": 0.25}
    assert api.client.get(f"/v1/predictions/{m}/lookup").json()["prediction"] == {"score": 0.5}
    assert len(_lines(api.client.get(f"/v1/predictions/{m}/rows"))) == 2
