"""Versions in memory: their answers, how they follow publications, their limits, and lookups without Postgres."""

from __future__ import annotations

import logging
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from fix_api import Api, Shelf, serving, until_in_memory, until_scraped
from prescore.catalog.database import Connection, Database
from prescore.embedded import server
from prescore.project.project import Project
from prescore_api.http.app import ServerSettings, build
from prescore_api.tables.database import Bounds

KEY = {"k": "bigint"}
IN_MEMORY: Any = {"lookup": {"in_memory": True}}
TOMBSTONES: Any = {**IN_MEMORY, "vanished": {"policy": "tombstone"}}
SHORT = Bounds(connection_seconds=0.5, statement_seconds=0.5, connections=2)
ID = UUID("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d")
EVERYTHING: dict[str, Any] = {
    "real": 0.1,
    "double precision": 0.1,
    "smallint": -3,
    "integer": 2**31 - 1,
    "bigint": -(2**63),
    "boolean": True,
    "text": 'a "quoted", ü\nline',
    "uuid": ID,
    "date": date(2013, 7, 4),
    "timestamp": datetime.fromisoformat("2013-07-04T12:30:00.000250"),
    "timestamptz": datetime(2013, 7, 4, 12, 30, tzinfo=UTC),
}


def _description(client: httpx.Client, model: str) -> dict[str, Any]:
    status: dict[str, Any] = client.get(f"/v1/models/{model}").json()
    return status


def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("model", "age_seconds", "published_at")}


def test_answers_from_memory_and_database_are_equal(api: Api) -> None:
    outputs = {"score": "real", "n": "integer"}
    passed = {kind.replace(" ", "_"): kind for kind in EVERYTHING}
    rows: list[Any] = [
        (1, 0.5, 1, *EVERYTHING.values()),
        (2, 0.1, 2, *[None] * len(EVERYTHING)),
        (-(2**40), 0.3, 3, *[None] * 6, "", *[None] * 4),
    ]
    nan = [(4, 1.0, 4, float("nan"), float("inf"), *[None] * 9)]
    clock = datetime.now(UTC)
    one = api.publish(KEY, rows + nan, outputs, passed, data_as_of=clock)
    other = api.publish(KEY, rows + nan, outputs, passed, data_as_of=clock, **IN_MEMORY)
    api.until_in_memory(other)
    keys = {"keys": [{"k": k} for k in (1, 2, -(2**40), 4, 5, 1, 2**63 - 1, -(2**63))]}
    answers = [api.client.post(f"/v1/predictions/{m}/lookup", json=keys).json()["answers"] for m in (one, other)]
    assert [_answer(a) for a in answers[0]] == [_answer(a) for a in answers[1]]
    for k in (1, 2, 4, 5):
        singles = [api.client.get(f"/v1/predictions/{m}/{k}") for m in (one, other)]
        assert singles[0].status_code == singles[1].status_code
        assert _answer(singles[0].json()) == _answer(singles[1].json())


@pytest.mark.parametrize("kind", ["text", "uuid", "date", "timestamp", "timestamptz", "smallint", "integer"])
def test_a_key_of_every_type_is_found(api: Api, kind: str) -> None:
    m = api.publish({"k": kind}, [(EVERYTHING[kind], 0.5)], **IN_MEMORY)
    api.until_in_memory(m)
    keys_sent = EVERYTHING[kind].isoformat() if hasattr(EVERYTHING[kind], "isoformat") else str(EVERYTHING[kind])
    assert api.client.get(f"/v1/predictions/{m}", params={"k": keys_sent}).json()["prediction"] == {"score": 0.5}


def test_composite_keys_with_colliding_hashes_are_found(api: Api) -> None:
    """Python's hashes of -1 and -2 are the same."""
    rows = [(k, place, k + len(place)) for k in (-2, -1, 0, 1) for place in ("a", "bb")]
    m = api.publish({"k": "integer", "place": "text"}, rows, {"n": "integer"}, **IN_MEMORY)
    api.until_in_memory(m)
    keys = [{"k": k, "place": place} for k in (-2, -1, 0, 1, 2) for place in ("bb", "a", "c")]
    answers = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": keys}).json()["answers"]
    for key, answer in zip(keys, answers, strict=True):
        there = key["place"] != "c" and key["k"] != 2
        assert (answer["key"], answer["found"]) == (key, there)
        assert answer["prediction"] == ({"n": int(str(key["k"])) + len(str(key["place"]))} if there else None)


def test_an_empty_version_finds_nothing(api: Api) -> None:
    for key in (KEY, {"k": "text"}):
        m = api.publish(key, [], **IN_MEMORY)
        api.until_in_memory(m)
        assert api.client.get(f"/v1/predictions/{m}/1").json()["found"] is False
        assert api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": []}).json() == {"answers": []}


def test_a_publication_and_a_rollback_are_followed(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(1, 0.5)], **IN_MEMORY)
    until_in_memory(client, "m")
    shelf.publish("m", KEY, [(1, 0.25, 3)], {"score": "real", "lift": "integer"}, **IN_MEMORY)
    until_in_memory(client, "m", 2)
    assert client.get("/v1/predictions/m/1").json()["prediction"] == {"score": 0.25, "lift": 3}
    assert client.get("/v1/predictions/m/1?version=1").json()["prediction"] == {"score": 0.5}
    shelf.rollback("m")
    until_in_memory(client, "m", 1)
    assert client.get("/v1/predictions/m/1").json()["version"] == 1


def test_a_version_without_in_memory_replaces_one_with_it(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(1, 0.5)], **IN_MEMORY)
    until_in_memory(client, "m")
    shelf.publish("m", KEY, [(1, 0.25)])
    deadline = time.monotonic() + 10
    while _description(client, "m")["in_memory"] is not None:
        assert time.monotonic() < deadline
    assert client.get("/v1/predictions/m/1").json()["version"] == 2


def test_a_model_is_not_in_memory_by_default(api: Api) -> None:
    m = api.publish(KEY, [(1, 0.5)])
    assert _description(api.client, m)["in_memory"] is None


def test_a_version_that_is_too_large_is_read_from_the_database(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    shelf.publish("m", KEY, [(k, 0.5) for k in range(1000)], **IN_MEMORY)
    shelf.publish("small", KEY, [(1, 0.5)], **IN_MEMORY)
    with serving(build(shelf.database, ServerSettings(open_to_all=True, memory_limit=8_000))) as client:
        until_in_memory(client, "small")
        status = _description(client, "m")["in_memory"]
        assert (status["version"], status["bytes"]) == (None, 0)
        assert "bytes left" in status["refused"]
        assert client.get("/v1/predictions/m/7").json()["prediction"] == {"score": 0.5}
        until_scraped(client, "prescore_in_memory_refused", 1, model="m")
        until_scraped(client, "prescore_in_memory_bytes", 0, model="m")
        until_scraped(client, "prescore_in_memory_bytes", 24, model="small")
    assert "m version 1 is not in memory and is read from the database" in caplog.text


def test_the_memory_of_a_version_is_reported(api: Api) -> None:
    m = api.publish(KEY, [(k, 0.5) for k in range(1000)], **IN_MEMORY)
    api.until_in_memory(m)
    # A bigint and a double a row, and a sixty-fourth.
    assert _description(api.client, m)["in_memory"]["bytes"] == 16_128


def test_values_beyond_arrow_stay_in_the_database(api: Api) -> None:
    m = api.publish(KEY, [], passthrough={"day": "date"}, **IN_MEMORY)
    with api.shelf.database.connect() as connection:
        connection.execute(f"insert into prescore_versions.{m}_v1 (k, score, day) values (1, 0.5, 'infinity')".encode())
    deadline = time.monotonic() + 10
    while (status := _description(api.client, m)["in_memory"]) is None:
        assert time.monotonic() < deadline
    # Otherwise the version was read before the row was inserted.
    if status["version"] is None:
        assert "Arrow cannot hold" in status["refused"]
    assert api.client.get(f"/v1/predictions/{m}?k=1&version=1").json()["prediction"]["day"] == "infinity"


def test_lookups_from_memory_have_true_ages_while_postgres_is_away(own_postgres: Project) -> None:
    database = Database(server.start(own_postgres))
    clock = datetime.now(UTC) - timedelta(hours=1)
    Shelf(database).publish("m", KEY, [(1, 0.5)], data_as_of=clock, freshness={"max_age": "1h"}, **TOMBSTONES)
    Shelf(database).publish("n", KEY, [(1, 0.5)])
    with serving(build(database, ServerSettings(open_to_all=True, bounds=SHORT))) as client:
        until_in_memory(client, "m")
        before = client.get("/v1/predictions/m/1").json()
        server.stop(own_postgres)
        assert client.get("/v1/predictions/n/1").status_code == 503
        deadline = time.monotonic() + 10
        while (after := client.get("/v1/predictions/m/1")).json()["age_seconds"] < before["age_seconds"] + 1:
            assert time.monotonic() < deadline
        assert (after.status_code, after.json()["prediction"], after.json()["stale"]) == (200, {"score": 0.5}, True)
        true_age = (datetime.now(UTC) - clock).total_seconds()
        assert abs(after.json()["age_seconds"] - true_age) < 5
        # Tombstones are left out: they would need Postgres.
        assert client.post("/v1/predictions/m/lookup", json={"keys": [{"k": 1}, {"k": 2}]}).status_code == 200
        assert client.get("/v1/predictions/m/2").status_code == 404
        # ?max_age= works without Postgres, too.
        assert client.get("/v1/predictions/m/1?max_age=60").status_code == 503
        until_scraped(client, "prescore_database_up", 0)
        server.start(own_postgres)
        Shelf(database).publish("m", KEY, [(1, 0.75)], **IN_MEMORY)
        until_in_memory(client, "m", 2)


def test_a_changed_catalog_row_applies_to_the_version_in_memory(
    shelf: Shelf, client: httpx.Client, connection: Connection
) -> None:
    """A new max age needs no new copy of the rows."""
    shelf.publish("m", KEY, [(1, 0.5)], data_as_of=datetime.now(UTC) - timedelta(hours=2), **IN_MEMORY)
    until_in_memory(client, "m")
    assert client.get("/v1/predictions/m/1").json()["stale"] is False
    connection.execute("update prescore.versions set max_age_seconds = 60")
    deadline = time.monotonic() + 10
    while not client.get("/v1/predictions/m/1").json()["stale"]:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 5000])
def test_exactly_the_keys_of_the_version_are_found_in_memory(shelf: Shelf, client: httpx.Client, rows: int) -> None:
    """Keys far apart and next to each other, looked up out of order and more than once."""
    keys = sorted({k * k * (-1) ** k for k in range(2 * rows)})[:rows]
    shelf.publish("m", KEY, [(k, float(i)) for i, k in enumerate(keys)], **IN_MEMORY)
    until_in_memory(client, "m")
    keys_sent = [k + off for k in keys for off in (-1, 0, 1)][::-1] + keys[:7] + [2**63 - 1, -(2**63)]
    there = {k: float(i) for i, k in enumerate(keys)}
    for some in (keys_sent[start : start + 10_000] for start in range(0, len(keys_sent), 10_000)):
        answers = client.post("/v1/predictions/m/lookup", json={"keys": [{"k": k} for k in some]}).json()["answers"]
        got = [(a["key"]["k"], a["prediction"]["score"] if a["found"] else None) for a in answers]
        assert got == [(k, there.get(k)) for k in some]
