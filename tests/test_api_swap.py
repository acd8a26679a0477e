"""Publications and rollbacks while the API serves: followed at once, and never two versions in one response."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from fix_api import Shelf, serving
from prescore.catalog import lookup
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore_api.http.app import ServerSettings, build
from prescore_api.tables.database import Bounds

# Postgres calls a stable function for an estimate after it has listed the partitions and before it takes the snapshot.
PAUSE = """
create function public.pause() returns bigint stable language plpgsql as $$
begin perform pg_advisory_lock_shared(42), pg_advisory_unlock_shared(42); return -1; end $$
"""
PLANNING = "select exists (select from pg_locks where locktype = 'advisory' and not granted) as waits"
KEY = {"k": "bigint"}
ONE_OUTPUT, TWO_OUTPUTS = {"score": "real"}, {"score": "real", "lift": "integer"}


def _with(connections: int) -> ServerSettings:
    return ServerSettings(open_to_all=True, bounds=Bounds(connections=connections))


def _answer(client: httpx.Client) -> tuple[int, dict[str, Any]]:
    answer = client.get("/v1/predictions/m/1").json()
    return answer["version"], answer["prediction"]


def test_a_publication_is_followed_at_once(shelf: Shelf, client: httpx.Client) -> None:
    for version in (1, 2, 3):
        shelf.publish("m", KEY, [(1, version / 2)])
        assert _answer(client) == (version, {"score": version / 2})
    shelf.rollback("m")
    assert _answer(client) == (2, {"score": 1.0})


def test_outputs_come_and_go_with_their_version(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(1, 0.5)], ONE_OUTPUT)
    assert _answer(client) == (1, {"score": 0.5})
    shelf.publish("m", KEY, [(1, 0.25, 3)], TWO_OUTPUTS)
    assert _answer(client) == (2, {"score": 0.25, "lift": 3})
    shelf.rollback("m")
    assert _answer(client) == (1, {"score": 0.5})


def test_a_lookup_during_a_publication_is_consistent(shelf: Shelf, connection: Connection) -> None:
    """The plan is from before the publication, the snapshot from after: the answer is all from before.

    Only `prescore lookup` reads the view. The API reads the version's own table, whose plan no publication changes.
    """
    shelf.publish("m", KEY, [(1, 0.5)])
    connection.execute(PAUSE.encode())
    view = connection.execute("select pg_get_viewdef('predictions.m') as text").fetchone()
    assert view is not None
    paused = f"create or replace view predictions.m as {view['text'].rstrip(';')} and k <> public.pause()"
    connection.execute(paused.encode())
    connection.execute("select pg_advisory_lock(42)")
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(_look_up, shelf)
        while not _is(connection, PLANNING):
            pass
        shelf.publish("m", KEY, [(1, 0.25)])
        connection.execute("select pg_advisory_unlock(42)")
        assert answering.result() == (1, {"score": 0.5})
    assert _look_up(shelf) == (2, {"score": 0.25})


def _look_up(shelf: Shelf) -> tuple[int, dict[str, Any]]:
    with shelf.database.connect() as connection:
        answer = lookup.look_up(Catalog(connection), "m", ["1"])
    return answer["version"], answer["prediction"]


def _is(connection: Connection, question: str) -> bool:
    row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return bool(next(iter(row.values())))


@pytest.mark.parametrize("connections", [1, 4])
def test_prepared_statements_outlive_a_new_output(shelf: Shelf, connections: int) -> None:
    shelf.publish("m", KEY, [(1, 0.5)], ONE_OUTPUT)
    with serving(build(shelf.database, _with(connections))) as client:
        # Psycopg prepares a statement once it has run five times.
        for _ in range(20):
            assert _answer(client) == (1, {"score": 0.5})
            assert client.get("/v1/models/m").status_code == 200
        shelf.publish("m", KEY, [(1, 0.25, 3)], TWO_OUTPUTS)
        for _ in range(20):
            assert _answer(client) == (2, {"score": 0.25, "lift": 3})
            assert len(client.get("/v1/models/m").json()["outputs"]) == 2


def test_a_bulk_response_never_mixes_versions(shelf: Shelf, client: httpx.Client) -> None:
    """Every prediction is its version's number, and those from the sixth on have an output more."""
    # This many keys are looked up in two halves at once.
    rows = 700
    shelf.publish("m", KEY, [(k, 1) for k in range(rows)], ONE_OUTPUT)
    seen: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(_publish_on, shelf, rows)
        while not publishing.done():
            seen.append(_whole(client, rows))
        publishing.result()
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert _answer(client)[0] == 15


def _whole(client: httpx.Client, rows: int) -> int:
    """Request all keys and return the one version that all answers are from."""
    response = client.post("/v1/predictions/m/lookup", json={"keys": [{"k": k} for k in range(rows)]})
    assert response.status_code == 200, response.text
    answers = response.json()["answers"]
    version: int = answers[0]["version"]
    expected = {"score": version} | ({"lift": version} if version > 5 else {})
    assert {a["version"] for a in answers} == {version}
    assert [a["prediction"] for a in answers] == [expected] * rows
    assert len({(a["data_as_of"], a["published_at"], a["age_seconds"]) for a in answers}) == 1
    return version


def _publish_on(shelf: Shelf, rows: int) -> None:
    for version in range(2, 16):
        more = (version,) if version > 5 else ()
        shelf.publish("m", KEY, [(k, version, *more) for k in range(rows)], TWO_OUTPUTS if more else ONE_OUTPUT)


@pytest.mark.parametrize("connections", [1, 4])
def test_other_columns_are_followed_without_an_error(shelf: Shelf, connections: int) -> None:
    columns = [{"score": "real"}, {"score": "text"}, {"chance": "integer"}, {"score": "real"}]
    values: list[Any] = [1.5, "two", 3, 4.5]
    rows = [[(k, value) for k in range(3)] for value in values]
    shelf.publish("m", KEY, rows[0], columns[0])
    with (
        serving(build(shelf.database, _with(connections))) as client,
        ThreadPoolExecutor(5) as pool,
    ):
        done = threading.Event()
        readers = [pool.submit(_read_on, client, done) for _ in range(3)]
        readers.append(pool.submit(_look_up_on, shelf, done))
        try:
            for version in (2, 3, 4):
                shelf.publish("m", KEY, rows[version - 1], columns[version - 1], breaking=True)
                assert _answer(client)[0] == version
            for version in (3, 2, 1):
                shelf.rollback("m")
                assert _answer(client)[0] == version
        finally:
            done.set()
        seen = {answer for reader in readers for answer in reader.result()}
    assert seen == {(1, "score", 1.5), (2, "score", "two"), (3, "chance", 3), (4, "score", 4.5)}


def _read_on(client: httpx.Client, done: threading.Event) -> set[tuple[int, str, Any]]:
    seen = set()
    while not done.is_set():
        response = client.post("/v1/predictions/m/lookup", json={"keys": [{"k": 1}, {"k": 2}]})
        assert response.status_code == 200, response.text
        first, second = response.json()["answers"]
        assert (first["version"], first["prediction"]) == (second["version"], second["prediction"])
        [(name, value)] = first["prediction"].items()
        seen.add((first["version"], name, value))
    return seen


def _look_up_on(shelf: Shelf, done: threading.Event) -> set[tuple[int, str, Any]]:
    seen = set()
    with shelf.database.connect() as connection:
        while not done.is_set():
            answer = lookup.look_up(Catalog(connection), "m", ["1"])
            [(name, value)] = answer["prediction"].items()
            seen.add((answer["version"], name, value))
    return seen
