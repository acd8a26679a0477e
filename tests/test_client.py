"""The Python client against the real API, blocking and awaited."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings

from fix_api import Api, Shelf, serving
from fix_client import Asking, address, publish
from prescore.catalog.database import Database
from prescore_api.client import MAX_KEYS, Answer, AsyncClient, Client, Column, Invalid, TooOld, Unavailable, Version
from prescore_api.http.app import ServerSettings, build
from prescore_api.service import lookup as served
from prescore_api.tables.database import Bounds
from test_api_lookup import FLIGHT, ID, NASTY, NOON
from test_properties import KEYS, VALUES

AWAY = "postgresql://postgres:swordfish@127.0.0.1:1/secret_name"
# A path is not the place for these two: they mean where one is, and where one was.
DOTS = [".", "..", "../m", "...", "./"]


class Size(int, Enum):
    """Its members' text is their name: Size.SMALL."""

    SMALL = 7


def test_an_answer_is_what_the_api_says(api: Api, ask: Asking) -> None:
    clock = datetime.now(UTC) - timedelta(hours=2)
    m = api.publish({"customer": "bigint"}, [(7, 0.1)], data_as_of=clock, freshness={"max_age": "1h"})
    answer = ask(address(api.client), "predict", m, 7)
    told = api.client.get(f"/v1/predictions/{m}/7").json()
    assert answer["score"] == 0.1
    assert (answer.model, answer.version, answer.key, answer.found) == (m, 1, {"customer": 7}, True)
    assert (answer.prediction, answer.data_as_of, answer.stale) == ({"score": 0.1}, clock, True)
    assert answer.published_at == datetime.fromisoformat(told["published_at"])
    assert 7200 <= answer.age_seconds <= told["age_seconds"]


def test_an_unknown_key_is_an_answer_too(api: Api, ask: Asking) -> None:
    m = api.publish({"customer": "bigint"}, [(7, 0.1)])
    for answer in (ask(address(api.client), "predict", m, 8), ask(address(api.client), "predict", m, customer=8)):
        assert (answer.found, answer.prediction, answer.version, answer.stale) == (False, None, 1, False)
        with pytest.raises(KeyError, match=f"{m} version 1 has no key {{'customer': 8}}, and so no score"):
            answer["score"]


def test_an_output_that_is_not_there_is_told_from_those_that_are(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [(7, 0.1, True)], {"score": "real", "likely": "boolean"})
    with pytest.raises(KeyError, match="has no scores; it has score, likely"):
        ask(address(api.client), "predict", m, 7)["scores"]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("bigint", -(2**63), -(2**63)),
        ("integer", np.int32(7), 7),
        ("smallint", Size.SMALL, 7),
        ("text", "a b/ü", "a b/ü"),
        ("text", np.str_("7"), "7"),
        ("uuid", ID, str(ID)),
        ("date", date(2013, 7, 4), "2013-07-04"),
        ("timestamp", NOON, "2013-07-04T12:30:00"),
        ("timestamptz", NOON.replace(tzinfo=UTC), "2013-07-04T12:30:00+00:00"),
    ],
)
def test_keys_of_every_type_in_every_way(api: Api, ask: Asking, kind: str, value: Any, told: Any) -> None:
    m = api.publish({"k": kind}, [(told, 0.5)])
    url = address(api.client)
    single = [ask(url, "predict", m, value), ask(url, "predict", m, {"k": value}), ask(url, "predict", m, k=value)]
    answers = single + ask(url, "lookup", m, [{"k": value}])
    assert [(answer.found, answer.key) for answer in answers] == [(True, {"k": told})] * 4


def test_text_keys_hold_anything(api: Api) -> None:
    keys = NASTY + DOTS
    m = api.publish({"k": "text"}, [(k, i) for i, k in enumerate(keys)], {"place": "integer"})
    with Client(address(api.client)) as client:
        places = [(client.predict(m, k)["place"], client.predict(m, k=k)["place"]) for k in keys]
        assert places == [(i, i) for i in range(len(keys))]
        assert [answer["place"] for answer in client.lookup(m, ({"k": k} for k in keys))] == list(range(len(keys)))


@pytest.mark.parametrize("kind", KEYS)
def test_keys_come_back_as_they_went(api: Api, kind: str) -> None:
    m = api.publish({"a key": kind}, [])
    with Client(address(api.client)) as client:

        @settings(deadline=None, max_examples=30)
        @given(VALUES[kind])
        def echo(value: Any) -> None:
            answers = [client.predict(m, value), client.predict(m, {"a key": value})]
            answers += client.lookup(m, [{"a key": value}])
            assert [_parsed(value, answer.key["a key"]) for answer in answers] == [value] * 3

        echo()


def _parsed(like: Any, told: Any) -> Any:
    """A value of JSON as Python has it."""
    if isinstance(like, date):
        return type(like).fromisoformat(told)
    return type(like)(told)


def test_composite_keys_go_by_column_name(api: Api, ask: Asking) -> None:
    f = api.publish(FLIGHT, [("UA", 1545, date(2013, 1, 2), 0.5)])
    asked: dict[str, Any] = {"day": date(2013, 1, 2), "flight": 1545, "carrier": "UA"}
    assert ask(address(api.client), "predict", f, **asked)["score"] == 0.5
    assert ask(address(api.client), "predict", f, asked)["score"] == 0.5
    with pytest.raises(Invalid, match=r"has 3 columns") as failed:
        ask(address(api.client), "predict", f, "UA")
    assert (failed.value.code, failed.value.status) == ("key_invalid", 422)


def test_columns_may_be_called_as_arguments_are(api: Api, ask: Asking) -> None:
    m = api.publish({"model": "text", "key": "text", "outputs": "text", "self": "text"}, [("a", "b", "c", "d", 0.5)])
    key = {"model": "a", "key": "b", "outputs": "c", "self": "d"}
    assert ask(address(api.client), "predict", m, key).key == key
    one = api.publish({"model": "text"}, [("a", 0.5)])
    assert ask(address(api.client), "predict", one, model="a").found


def test_a_key_too_long_for_a_url_goes_by_name(api: Api, ask: Asking) -> None:
    key = "ü" * 10_000
    m = api.publish({"k": "text"}, [])
    assert ask(address(api.client), "predict", m, k=key).key == {"k": key}
    with pytest.raises(ValueError, match="Pass it by column name"):
        ask(address(api.client), "predict", m, key)


@pytest.mark.parametrize(
    ("key", "columns", "words"),
    [
        (None, {}, "A key is a value, or values by column name"),
        ({}, {}, "A key is a value, or values by column name"),
        (7, {"k": 7}, "A key is a value, or values by column name"),
        (True, {}, "not bool"),
        (1.0, {}, "not float"),
        ([7], {}, "not list"),
        (None, {"k": None}, "not NoneType"),
        (None, {"k": b"7"}, "not bytes"),
        ({"version": 3}, {}, "No key column is called version"),
        (None, {"output": "score"}, "No key column is called output"),
    ],
)
def test_what_can_be_no_key_is_not_sent(ask: Asking, key: Any, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        ask("http://127.0.0.1:1", "predict", "m", key, **columns)


@pytest.mark.parametrize("key", [7, {"k": 7.5}, ("k", 7)])
def test_what_can_be_no_key_is_told_by_its_position(ask: Asking, key: Any) -> None:
    with pytest.raises(TypeError, match=rf"^keys\[{MAX_KEYS}\]: "):
        ask("http://127.0.0.1:1", "lookup", "m", [{"k": 7}] * MAX_KEYS + [key])


def test_what_the_api_does_not_take_is_invalid(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [])
    for call, arguments, code, status in [
        ("predict", ("nothing", 7), "not_found", 404),
        ("lookup", ("nothing", []), "not_found", 404),
        ("model", ("nothing",), "not_found", 404),
        ("predict", (m, "seven"), "key_invalid", 422),
        ("predict", (m, {"other": 7}), "key_invalid", 422),
    ]:
        with pytest.raises(Invalid) as failed:
            ask(address(api.client), call, *arguments)
        assert (failed.value.code, failed.value.status, failed.value.retry_after) == (code, status, None)


def test_many_keys_keep_order_and_duplicates(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [(k, k) for k in range(100)], {"twice": "integer"})
    asked = [99, 3, 3, 1000, 0]
    answers = ask(address(api.client), "lookup", m, [{"k": k} for k in asked])
    assert [answer.key["k"] for answer in answers] == asked
    assert [answer.found for answer in answers] == [True, True, True, False, True]
    assert ask(address(api.client), "lookup", m, []) == []


def test_the_bound_is_the_servers() -> None:
    assert MAX_KEYS == served.MAX_KEYS


def test_an_earlier_version(shelf: Shelf, client: httpx.Client, ask: Asking) -> None:
    for version in (1, 2):
        publish(shelf, version)
    assert ask(address(client), "predict", "m", 0)["score"] == 1.0
    assert ask(address(client), "predict", "m", 0, version=1)["score"] == 0.5
    assert ask(address(client), "predict", "m", k=0, version=1).version == 1
    assert [answer.version for answer in ask(address(client), "lookup", "m", [{"k": 0}], version=1)] == [1]
    assert not ask(address(client), "predict", "m", 7, version=1).found
    with pytest.raises(Invalid) as failed:
        ask(address(client), "predict", "m", 0, version=3)
    assert failed.value.code == "not_found"


def test_a_bound_on_the_age(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [(7, 0.1)], data_as_of=datetime.now(UTC) - timedelta(hours=2))
    assert ask(address(api.client), "predict", m, 7, max_age=7260)["score"] == 0.1
    for call, key in (("predict", 7), ("predict", {"k": 7}), ("lookup", [{"k": 7}])):
        with pytest.raises(TooOld) as failed:
            ask(address(api.client), call, m, key, max_age=0.25)
        assert (failed.value.code, failed.value.status) == ("too_old", 503)


def test_some_of_the_outputs(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [(7, 0.5, 1, 2)], {"score": "real", "a b": "integer", "c": "integer"})
    assert ask(address(api.client), "predict", m, 7, outputs=["c", "a b"]).prediction == {"a b": 1, "c": 2}
    assert ask(address(api.client), "predict", m, k=7, outputs="score").prediction == {"score": 0.5}
    assert ask(address(api.client), "lookup", m, [{"k": 7}], outputs=["c"])[0].prediction == {"c": 2}
    with pytest.raises(Invalid) as failed:
        ask(address(api.client), "predict", m, 7, outputs=["scores"])
    assert failed.value.code == "request_invalid"


def test_models(api: Api, ask: Asking) -> None:
    clock = datetime.now(UTC) - timedelta(minutes=10)
    m = api.publish({"k": "uuid"}, [(ID, 0.5, "x")], passthrough={"plan": "text"}, data_as_of=clock)
    model = ask(address(api.client), "model", m)
    assert (model.model, model.version, model.rows, model.data_as_of) == (m, 1, 1, clock)
    assert (model.max_age_seconds, model.stale, model.held) == (None, False, False)
    assert model.age_seconds >= 600
    assert model.key == (Column("k", "uuid", ""),)
    assert [(column.name, column.type, column.role) for column in model.outputs] == [
        ("score", "real", "output"),
        ("plan", "text", "passthrough"),
    ]
    assert model.versions == (Version(1, "published", clock, model.published_at, 1),)
    listed = {one.model: one for one in ask(address(api.client), "models")}
    assert (listed[m].published_at, listed[m].outputs, listed[m].versions) == (model.published_at, (), ())


def test_ready(api: Api, ask: Asking) -> None:
    assert ask(address(api.client), "ready") is True
    assert ask("http://127.0.0.1:1", "ready") is False


def test_without_postgres(ask: Asking) -> None:
    with serving(build(Database(AWAY), ServerSettings(open_to_all=True, bounds=Bounds(0.2, 0.2, 2)))) as client:
        assert ask(address(client), "ready") is False
        with pytest.raises(Unavailable) as failed:
            ask(address(client), "predict", "m", 7, settings={"retries": 0})
        assert (failed.value.code, failed.value.status) == ("database_unavailable", 503)
        assert failed.value.retry_after is not None


def test_threads_share_a_client(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [(k, k) for k in range(200)], {"place": "integer"})
    with Client(f"{address(api.client)}/") as client, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda k: client.predict(m, k)["place"], range(200))) == list(range(200))


def test_tasks_share_a_client(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [(k, k) for k in range(200)], {"place": "integer"})

    async def all_at_once() -> list[Answer]:
        async with AsyncClient(address(api.client)) as client:
            return await asyncio.gather(*(client.predict(m, k) for k in range(200)))

    assert [answer["place"] for answer in asyncio.run(all_at_once())] == list(range(200))


def test_both_clients_take_the_same() -> None:
    calls = [name for name in vars(Client) if not name.startswith("_")]
    assert calls == [name for name in vars(AsyncClient) if not name.startswith("_")]
    for name in calls:
        assert inspect.signature(getattr(Client, name)) == inspect.signature(getattr(AsyncClient, name))
