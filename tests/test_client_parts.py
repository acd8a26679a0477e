"""Lookups of more keys than a request takes: the Python client sends them in parts and reads a single version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest
from psycopg import sql

from fix_api import Api, Shelf
from fix_client import ClientCall, InterleavingTransport, Response, ScriptedServer, address, publish, retire
from prescore.catalog import canary as buckets
from prescore_api.client import MAX_KEYS, Answer, ApiError, Client, Invalid, TooOld, Unavailable, parts

KEY = {"k": "bigint"}
REFUSES: Any = {"freshness": {"max_age": "1h", "when_stale": "refuse"}}
KEEPS: Any = {**REFUSES, "vanished": {"policy": "keep", "keep_for": "50h"}}
SHARE = 0.5


@pytest.fixture
def two_keys_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client sends two keys at once."""
    monkeypatch.setattr(parts, "MAX_KEYS", 2)


def keep(shelf: Shelf, model: str, version: int, ages: dict[int, timedelta]) -> None:
    """Make rows of a version those of keys that vanished this long ago."""
    table = sql.Identifier("prescore_versions", f"{model}_v{version}")
    with shelf.database.connect() as connection:
        for key, age in ages.items():
            update = sql.SQL("update {} set kept_data_as_of = now() - %s where k = %s").format(table)
            connection.execute(update, (age, key))
        kept = "update prescore.versions set kept = %s where model = %s and version = %s"
        connection.execute(kept, (len(ages), model, version))


def ageless(answers: list[Answer]) -> list[Answer]:
    """Return answers that can be compared with those of another moment."""
    return [replace(answer, age_seconds=0.0) for answer in answers]


def test_keys_beyond_the_limit_are_sent_in_parts(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [(2 * MAX_KEYS, 0.5)])
    answers = call(address(api.client), "lookup", name, ({"k": k} for k in range(2 * MAX_KEYS + 1)))
    assert [answer.key["k"] for answer in answers] == list(range(2 * MAX_KEYS + 1))
    assert [answer.key["k"] for answer in answers if answer.found] == [2 * MAX_KEYS]


def test_an_invalid_key_is_reported_with_its_position_among_all_keys(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [])
    keys: list[Any] = [{"k": k} for k in range(MAX_KEYS + 3)]
    keys[MAX_KEYS + 1] = {"k": "x"}
    with pytest.raises(Invalid, match=rf"^keys\[{MAX_KEYS + 1}\]: k must be a 64-bit integer"):
        call(address(api.client), "lookup", name, keys)
    with pytest.raises(TypeError, match=r"keys\[0\]: pass each key by column name, \{column: value\}"):
        call(address(api.client), "lookup", name, [7])


def test_all_parts_read_the_version_of_the_first_part(shelf: Shelf, client: httpx.Client) -> None:
    publish(shelf, 1)
    transport = InterleavingTransport({1: lambda: publish(shelf, 2)})
    with Client(address(client), transport=transport) as python_client:
        answers = python_client.lookup("m", [{"k": k} for k in range(MAX_KEYS + 1)])
        assert python_client.predict("m", 0).version == 2
    assert {answer.version for answer in answers} == {1}
    assert (answers[0]["score"], answers[-1]["score"], transport.request_count) == (0.5, 0.5, 3)


@pytest.mark.usefixtures("two_keys_a_part")
def test_all_parts_are_sent_again_when_their_version_is_retired(shelf: Shelf, client: httpx.Client) -> None:
    def swap() -> None:
        publish(shelf, 2)
        retire(shelf, 1)

    publish(shelf, 1)
    transport = InterleavingTransport({1: swap})
    with Client(address(client), transport=transport) as python_client:
        answers = python_client.lookup("m", [{"k": k} for k in (0, 1, MAX_KEYS)])
    assert {answer.version for answer in answers} == {2}
    assert (answers[0]["score"], answers[-1]["score"], transport.request_count) == (1.0, 1.0, 4)


@pytest.mark.usefixtures("two_keys_a_part")
def test_parts_are_sent_again_only_once_and_never_for_a_requested_version(shelf: Shelf, client: httpx.Client) -> None:
    def swap(version: int) -> None:
        publish(shelf, version + 1)
        retire(shelf, version)

    publish(shelf, 1)
    keys = [{"k": k} for k in (0, 1, MAX_KEYS)]
    cases: list[tuple[int | None, dict[int, Callable[[], None]], int, type[ApiError], str]] = [
        (None, {1: lambda: swap(1), 3: lambda: swap(2)}, 4, Unavailable, "transient"),
        (3, {1: lambda: swap(3)}, 2, Invalid, "not_found"),
    ]
    for version, actions, request_count, kind, code in cases:
        transport = InterleavingTransport(actions)
        with Client(address(client), transport=transport) as python_client, pytest.raises(kind) as error:
            python_client.lookup("m", keys, version=version)
        assert (error.value.code, transport.request_count) == (code, request_count)


@pytest.mark.usefixtures("two_keys_a_part")
@pytest.mark.parametrize("canary", [False, True])
def test_a_key_is_answered_or_refused_in_any_part_as_it_is_alone(api: Api, canary: bool) -> None:
    model = api.publish(KEY, [(k, k / 2) for k in range(30)], **KEEPS)
    # The canary takes one of the keys whose rows are too old, and not the other.
    taken = buckets.takes(model, SHARE, [range(30)])
    old = [0, next(k for k in range(8, 30) if taken[k] != taken[0])]
    ages = {**dict.fromkeys(old, timedelta(hours=2)), 4: timedelta(minutes=30)}
    keep(api.shelf, model, 1, ages)
    if canary:
        version = api.shelf.try_out(model, KEY, [(k, k) for k in range(30)], SHARE, **KEEPS)
        keep(api.shelf, model, version, ages)
    api.client.get(f"/v1/models/{model}")
    with Client(address(api.client)) as client:
        answered = [3, 1, 70, 4, 2, 5]
        alone = [client.predict(model, k) for k in answered]
        assert {answer.version for answer in alone} == ({1, 2} if canary else {1})
        keys = [{"k": k} for k in answered]
        assert ageless(client.lookup(model, keys)) == ageless(alone)
        shared = {"found", "version", "data_as_of"}
        expected = pd.DataFrame([{name: getattr(answer, name) for name in shared} for answer in alone])
        # The first row in the order of the key would be refused, and is not among these keys.
        for answers in (
            client.lookup(model, pd.DataFrame(keys)),
            client.lookup_table(model, pa.table({"k": answered})).to_pandas(),
        ):
            assert (answers[list(expected)] == expected).all().all()

        for k in old:
            refused = [{"k": k} for k in (*answered, k)]
            table = pa.table({"k": [*answered, k]})
            version = 2 if canary and taken[k] else 1
            for call, arguments in (
                (client.predict, (model, k)),
                (client.lookup, (model, refused)),
                (client.lookup, (model, pd.DataFrame(refused))),
                (client.lookup_table, (model, table)),
            ):
                with pytest.raises(TooOld, match=f"The row of k={k} in {model} version {version} is too old"):
                    call(*arguments)
        # A version of the caller's choice is never refused.
        assert client.lookup(model, refused, version=1)[-1].stale
        assert client.lookup_table(model, table, version=1)["found"].to_pylist()[-1]


@pytest.mark.usefixtures("two_keys_a_part")
def test_a_version_that_becomes_stale_between_two_parts_is_refused(api: Api) -> None:
    def become_stale() -> None:
        with api.shelf.database.connect() as connection:
            connection.execute("update prescore.versions set data_as_of = now() - interval '2h' where model = %s", [m])

    keys = range(3)
    for method, sent in (("lookup", [{"k": k} for k in keys]), ("lookup_table", pa.table({"k": keys}))):
        m = api.publish(KEY, [(k, 0.5) for k in keys], **REFUSES)
        with Client(address(api.client), transport=InterleavingTransport({1: become_stale})) as client:
            with pytest.raises(TooOld, match=f"{m} version 1 is too old"):
                getattr(client, method)(m, sent)
            assert len(getattr(client, method)(m, sent, version=1)) == len(keys)


@pytest.mark.usefixtures("two_keys_a_part")
def test_stale_answers_and_tombstones_are_the_same_in_any_part(api: Api, call: ClientCall) -> None:
    more: Any = {"freshness": {"max_age": "1h"}, "vanished": {"policy": "tombstone"}}
    old = datetime.now(UTC) - timedelta(hours=3)
    model = api.publish(KEY, [(k, k / 2) for k in range(6)], data_as_of=old, **more)
    api.shelf.publish(model, KEY, [(k, k / 2) for k in range(4)], data_as_of=old + timedelta(hours=1), **more)
    api.shelf.try_out(model, KEY, [(k, k) for k in range(3)], SHARE, **more)
    url = address(api.client)
    call(url, "model", model)
    keys = [0, 1, 2, 3, 4, 5, 6, 7]
    alone = [call(url, "predict", model, k) for k in keys]
    assert {(answer.version, answer.stale) for answer in alone} == {(2, True), (3, False)}
    assert {answer.last_version for answer in alone} >= {None, 1}
    assert ageless(call(url, "lookup", model, [{"k": k} for k in keys])) == ageless(alone)


def test_keys_beyond_the_bytes_of_a_request_are_sent_in_parts(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_BYTES", 20_000)
    long = "é" * 500
    model = api.publish({"k": "text"}, [(f"{long}{k}", k) for k in (0, 99)])
    transport = InterleavingTransport({})
    with Client(address(api.client), transport=transport) as client:
        answers = client.lookup(model, [{"k": f"{long}{k}"} for k in range(100)])
        assert [answers[k]["score"] for k in (0, 99)] == [0, 99]
        with pytest.raises(Invalid, match=r"^keys\[99\]: k must be text"):
            client.lookup(model, [{"k": f"{long}{k}"} for k in range(99)] + [{"k": 7}])
    assert transport.request_count == 2 * 8


def test_all_rows_of_a_version_are_iterated_in_pages(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "text", "n": "integer"}, [(k, n, n / 2) for n in (2, 1) for k in ("b\r\nb", "a", "é")])
    for page_size in (1, 4, 6, 7):
        rows = call(address(api.client), "rows", name, page_size=page_size)
        assert [(row["score"], row.found, row.version) for row in rows] == [(n / 2, True, 1) for n in (1, 2)] * 3
    (answer, *_) = call(address(api.client), "rows", name)
    looked_up = call(address(api.client), "predict", name, answer.key)
    assert replace(answer, age_seconds=0.0) == replace(looked_up, age_seconds=0.0)
    assert call(address(api.client), "rows", api.publish({"k": "text"}, [])) == []


def test_rows_of_all_pages_are_of_the_version_of_the_first(shelf: Shelf, client: httpx.Client) -> None:
    publish(shelf, 1)
    with Client(address(client)) as python_client:
        rows = python_client.rows("m", page_size=1)
        assert next(rows)["score"] == 0.5
        publish(shelf, 2)
        assert [row["score"] for row in rows] == [0.5]
        rows = python_client.rows("m", version=1, outputs="score", max_age=3600, page_size=1)
        next(rows)
        retire(shelf, 1)
        with pytest.raises(Invalid, match="m version 1 was retired while its rows were being read") as error:
            next(rows)
    assert (error.value.code, error.value.status) == ("version_retired", 410)


def test_the_key_rows_is_a_key(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "text"}, [("rows", 0.5)])
    assert call(address(api.client), "predict", name, "rows")["score"] == 0.5


def test_a_page_of_another_server_is_no_rows(start_server: Callable[..., ScriptedServer], call: ClientCall) -> None:
    for response in (Response(body={}), Response(headers={"Content-Type": "application/x-ndjson"}, body=[1])):
        with pytest.raises(ApiError, match="is not from prescore"):
            call(start_server(response).url, "rows", "m")
