"""The Python client, blocking and asynchronous, against the real API."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, assert_type

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings

from fix_api import Api, Shelf, serving
from fix_client import ClientCall, address, publish
from prescore.catalog.database import Database
from prescore_api.client import (
    MAX_KEYS,
    Answer,
    AsyncClient,
    Canary,
    Client,
    Column,
    Feature,
    InMemory,
    Invalid,
    Live,
    Model,
    Rejection,
    ScoreAnswer,
    ScoreRow,
    TooOld,
    Unavailable,
    Version,
    parts,
)
from prescore_api.http.app import ServerSettings, build
from prescore_api.http.openapi.schemas import SCHEMAS
from prescore_api.http.request import LARGEST_BODY
from prescore_api.service import lookup
from prescore_api.service.live import MAX_ROWS
from prescore_api.tables.database import Bounds
from test_api_lookup import FLIGHT, ID, NASTY, NOON
from test_properties import KEYS, VALUES

UNREACHABLE = "postgresql://postgres:swordfish@127.0.0.1:1/secret_name"
# In a path, "." and ".." are relative segments, so these keys cannot be sent there as they are.
DOTS = [".", "..", "../m", "...", "./"]


class Size(int, Enum):
    """An enumeration of integers whose `str` is not a number but the member's name."""

    SMALL = 7


def test_an_answer_has_the_values_of_the_response(api: Api, call: ClientCall) -> None:
    data_as_of = datetime.now(UTC) - timedelta(hours=2)
    name = api.publish({"customer": "bigint"}, [(7, 0.1)], data_as_of=data_as_of, freshness={"max_age": "1h"})
    answer = call(address(api.client), "predict", name, 7)
    response = api.client.get(f"/v1/predictions/{name}/7").json()
    assert answer["score"] == 0.1
    assert (answer.model, answer.version, answer.key, answer.found) == (name, 1, {"customer": 7}, True)
    assert (answer.prediction, answer.data_as_of, answer.stale) == ({"score": 0.1}, data_as_of, True)
    assert answer.published_at == datetime.fromisoformat(response["published_at"])
    assert 7200 <= answer.age_seconds <= response["age_seconds"]


def test_an_unknown_key_is_an_answer_without_a_prediction(api: Api, call: ClientCall) -> None:
    name = api.publish({"customer": "bigint"}, [(7, 0.1)])
    for answer in (
        call(address(api.client), "predict", name, 8),
        call(address(api.client), "predict", name, customer=8),
    ):
        assert (answer.found, answer.prediction, answer.version, answer.stale) == (False, None, 1, False)
        with pytest.raises(KeyError, match=f"{name} version 1 has no score for the key {{'customer': 8}}"):
            answer["score"]


def test_a_missing_output_is_reported_with_the_outputs_that_exist(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [(7, 0.1, True)], {"score": "real", "likely": "boolean"})
    with pytest.raises(KeyError, match="has no scores; it has score, likely"):
        call(address(api.client), "predict", name, 7)["scores"]


@pytest.mark.parametrize(
    ("kind", "value", "answered"),
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
def test_a_key_of_every_type_can_be_passed_in_every_form(
    api: Api, call: ClientCall, kind: str, value: Any, answered: Any
) -> None:
    name = api.publish({"k": kind}, [(answered, 0.5)])
    url = address(api.client)
    single = [
        call(url, "predict", name, value),
        call(url, "predict", name, {"k": value}),
        call(url, "predict", name, k=value),
    ]
    answers = single + call(url, "lookup", name, [{"k": value}])
    assert [(answer.found, answer.key) for answer in answers] == [(True, {"k": answered})] * 4


def test_a_text_key_may_contain_any_character(api: Api) -> None:
    keys = NASTY + DOTS
    name = api.publish({"k": "text"}, [(k, i) for i, k in enumerate(keys)], {"place": "integer"})
    with Client(address(api.client)) as client:
        places = [(client.predict(name, k)["place"], client.predict(name, k=k)["place"]) for k in keys]
        assert places == [(i, i) for i in range(len(keys))]
        assert [answer["place"] for answer in client.lookup(name, ({"k": k} for k in keys))] == list(range(len(keys)))


@pytest.mark.parametrize("kind", KEYS)
def test_an_answer_returns_the_key_that_was_sent(api: Api, kind: str) -> None:
    name = api.publish({"a key": kind}, [])
    with Client(address(api.client)) as client:

        @settings(deadline=None, max_examples=30)
        @given(VALUES[kind])
        def echo(value: Any) -> None:
            answers = [client.predict(name, value), client.predict(name, {"a key": value})]
            answers += client.lookup(name, [{"a key": value}])
            assert [_parsed(value, answer.key["a key"]) for answer in answers] == [value] * 3

        echo()


def _parsed(like: Any, value: Any) -> Any:
    """Convert a JSON value to the Python type of `like`."""
    if isinstance(like, date):
        return type(like).fromisoformat(value)
    return type(like)(value)


def test_a_composite_key_is_passed_by_column_name(api: Api, call: ClientCall) -> None:
    name = api.publish(FLIGHT, [("UA", 1545, date(2013, 1, 2), 0.5)])
    key: dict[str, Any] = {"day": date(2013, 1, 2), "flight": 1545, "carrier": "UA"}
    assert call(address(api.client), "predict", name, **key)["score"] == 0.5
    assert call(address(api.client), "predict", name, key)["score"] == 0.5
    with pytest.raises(
        Invalid, match=r"has 3 columns\. Pass each by its name: .*=… in the Python client, GET /v1/"
    ) as error:
        call(address(api.client), "predict", name, "UA")
    assert (error.value.code, error.value.status) == ("key_invalid", 422)


def test_a_key_column_may_have_the_name_of_an_argument(api: Api, call: ClientCall) -> None:
    name = api.publish({"model": "text", "key": "text", "outputs": "text", "self": "text"}, [("a", "b", "c", "d", 0.5)])
    key = {"model": "a", "key": "b", "outputs": "c", "self": "d"}
    assert call(address(api.client), "predict", name, key).key == key
    single = api.publish({"model": "text"}, [("a", 0.5)])
    assert call(address(api.client), "predict", single, model="a").found


def test_a_key_too_long_for_a_url_must_be_passed_by_column_name(api: Api, call: ClientCall) -> None:
    key = "ü" * 10_000
    name = api.publish({"k": "text"}, [])
    assert call(address(api.client), "predict", name, k=key).key == {"k": key}
    with pytest.raises(ValueError, match="Pass it by column name"):
        call(address(api.client), "predict", name, key)


@pytest.mark.parametrize(
    ("key", "columns", "message"),
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
def test_a_key_of_an_unsupported_type_is_not_sent(
    call: ClientCall, key: Any, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        call("http://127.0.0.1:1", "predict", "m", key, **columns)


@pytest.mark.parametrize("key", [7, {"k": 7.5}, ("k", 7)])
def test_a_key_of_an_unsupported_type_is_reported_with_its_position(call: ClientCall, key: Any) -> None:
    with pytest.raises(TypeError, match=rf"^keys\[{MAX_KEYS}\]: "):
        call("http://127.0.0.1:1", "lookup", "m", [{"k": 7}] * MAX_KEYS + [key])


def test_a_request_that_the_api_rejects_raises_invalid(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [])
    for method, arguments, code, status in [
        ("predict", ("nothing", 7), "not_found", 404),
        ("lookup", ("nothing", []), "not_found", 404),
        ("model", ("nothing",), "not_found", 404),
        ("predict", (name, "seven"), "key_invalid", 422),
        ("predict", (name, {"other": 7}), "key_invalid", 422),
    ]:
        with pytest.raises(Invalid) as error:
            call(address(api.client), method, *arguments)
        assert (error.value.code, error.value.status, error.value.retry_after) == (code, status, None)


def test_answers_keep_the_order_and_duplicates_of_the_keys(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [(k, k) for k in range(100)], {"twice": "integer"})
    keys = [99, 3, 3, 1000, 0]
    answers = call(address(api.client), "lookup", name, [{"k": k} for k in keys])
    assert [answer.key["k"] for answer in answers] == keys
    assert [answer.found for answer in answers] == [True, True, True, False, True]
    assert call(address(api.client), "lookup", name, []) == []


def test_client_and_server_have_the_same_limits() -> None:
    assert MAX_KEYS == lookup.MAX_KEYS == MAX_ROWS
    assert parts.MAX_BYTES == LARGEST_BODY


def test_a_lookup_may_select_an_earlier_version(shelf: Shelf, client: httpx.Client, call: ClientCall) -> None:
    for version in (1, 2):
        publish(shelf, version)
    assert call(address(client), "predict", "m", 0)["score"] == 1.0
    assert call(address(client), "predict", "m", 0, version=1)["score"] == 0.5
    assert call(address(client), "predict", "m", k=0, version=1).version == 1
    assert [answer.version for answer in call(address(client), "lookup", "m", [{"k": 0}], version=1)] == [1]
    assert not call(address(client), "predict", "m", 7, version=1).found
    with pytest.raises(Invalid) as error:
        call(address(client), "predict", "m", 0, version=3)
    assert error.value.code == "not_found"


def test_predictions_older_than_the_requested_max_age_raise_too_old(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [(7, 0.1)], data_as_of=datetime.now(UTC) - timedelta(hours=2))
    assert call(address(api.client), "predict", name, 7, max_age=7260)["score"] == 0.1
    for method, key in (("predict", 7), ("predict", {"k": 7}), ("lookup", [{"k": 7}])):
        with pytest.raises(TooOld) as error:
            call(address(api.client), method, name, key, max_age=0.25)
        assert (error.value.code, error.value.status) == ("too_old", 503)


def test_a_lookup_may_select_outputs(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [(7, 0.5, 1, 2)], {"score": "real", "a b": "integer", "c": "integer"})
    assert call(address(api.client), "predict", name, 7, outputs=["c", "a b"]).prediction == {"a b": 1, "c": 2}
    assert call(address(api.client), "predict", name, k=7, outputs="score").prediction == {"score": 0.5}
    assert call(address(api.client), "lookup", name, [{"k": 7}], outputs=["c"])[0].prediction == {"c": 2}
    with pytest.raises(Invalid) as error:
        call(address(api.client), "predict", name, 7, outputs=["scores"])
    assert error.value.code == "request_invalid"


def test_a_model_is_described_with_its_columns_and_versions(api: Api, call: ClientCall) -> None:
    data_as_of = datetime.now(UTC) - timedelta(minutes=10)
    name = api.publish({"k": "uuid"}, [(ID, 0.5, "x")], passthrough={"plan": "text"}, data_as_of=data_as_of)
    model = call(address(api.client), "model", name)
    assert (model.model, model.version, model.rows, model.data_as_of) == (name, 1, 1, data_as_of)
    assert (model.max_age_seconds, model.stale, model.held) == (None, False, False)
    assert model.age_seconds >= 600
    assert model.key == (Column("k", "uuid", ""),)
    assert [(column.name, column.type, column.role) for column in model.outputs] == [
        ("score", "real", "output"),
        ("plan", "text", "passthrough"),
    ]
    assert model.versions == (Version(1, "published", data_as_of, model.published_at, 1),)
    models = {entry.model: entry for entry in call(address(api.client), "models")}
    assert (models[name].published_at, models[name].outputs, models[name].versions) == (model.published_at, (), ())


def test_a_model_has_the_values_of_the_response(api: Api) -> None:
    in_memory: Any = {"lookup": {"in_memory": True}, "freshness": {"max_age": "1h"}}
    name = api.publish({"k": "bigint"}, [(7, 0.5)], **in_memory)
    api.until_in_memory(name)
    api.shelf.try_out(name, {"k": "bigint"}, [(7, 0.5)], 0.25)
    with Client(address(api.client)) as client:
        model = client.model(name)
        (listed,) = (entry for entry in client.models() if entry.model == name)
    sent = api.client.get(f"/v1/models/{name}").json()
    assert (model.canary, listed.canary, listed.in_memory) == (Canary(2, 0.25), model.canary, model.in_memory)
    assert model.in_memory is not None
    assert _json(model) == sent | {"age_seconds": model.age_seconds, "key": [sent["key"][0] | {"role": "key"}]}


def _json(answer: Any) -> Any:
    """Return an object of the client as the API sends it."""
    return json.loads(json.dumps(asdict(answer), default=datetime.isoformat))


def test_the_client_has_every_field_that_the_api_sends() -> None:
    kinds = (Answer, Canary, Column, Feature, InMemory, Live, Model, Rejection, ScoreAnswer, Version)
    known = {kind.__name__: {field.name for field in fields(kind)} for kind in kinds}
    # The classes that stand for two schemas each.
    known |= {"Output": known["Column"], "Column": known["Column"] - {"role"}}
    known["ModelSummary"] = known["Model"] - {"live", "key", "outputs", "versions"}
    # Neither are requests answers, nor are errors, nor objects that hold nothing but a list of answers.
    others = {"Answers", "Error", "Health", "Keys", "Models", "ScoreAnswers", "ScoreRows"}
    sent = {name: set(schema["properties"]) for name, schema in SCHEMAS.items() if name not in others}
    assert known == sent


def test_ready_reports_whether_the_api_can_answer(api: Api, call: ClientCall) -> None:
    assert call(address(api.client), "ready") is True
    assert call("http://127.0.0.1:1", "ready") is False


def test_an_unreachable_database_raises_unavailable(call: ClientCall) -> None:
    with serving(build(Database(UNREACHABLE), ServerSettings(open_to_all=True, bounds=Bounds(0.2, 0.2, 2)))) as client:
        assert call(address(client), "ready") is False
        with pytest.raises(Unavailable) as error:
            call(address(client), "predict", "m", 7, settings={"retries": 0})
        assert (error.value.code, error.value.status) == ("database_unavailable", 503)
        assert error.value.retry_after is not None


def test_threads_can_share_a_client(api: Api) -> None:
    name = api.publish({"k": "bigint"}, [(k, k) for k in range(200)], {"place": "integer"})
    with Client(f"{address(api.client)}/", timeout=60) as client, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda k: client.predict(name, k)["place"], range(200))) == list(range(200))


def test_tasks_can_share_a_client(api: Api) -> None:
    name = api.publish({"k": "bigint"}, [(k, k) for k in range(200)], {"place": "integer"})

    async def look_up_concurrently() -> list[Answer]:
        async with AsyncClient(address(api.client), timeout=60) as client:
            return await asyncio.gather(*(client.predict(name, k) for k in range(200)))

    assert [answer["place"] for answer in asyncio.run(look_up_concurrently())] == list(range(200))


def _answers_have_their_types(client: Client, asynchronous: AsyncClient, frame: pd.DataFrame) -> None:
    """For mypy alone, which checks it as the code of an application."""
    keys = [{"carrier": "UA", "flight": 1545}, {"carrier": "AA", "flight": 1}]
    rows: list[ScoreRow] = [{"features": {"visits": 3, "plan": None}, "key": {"customer": 7}}, {"key": {"customer": 8}}]
    assert_type(client.predict("m", 7, version=1, max_age=60, outputs="score"), Answer)
    assert_type(client.lookup("m", keys, outputs=["score"]), list[Answer])
    assert_type(client.lookup("m", frame), pd.DataFrame)
    assert_type(client.score("m", rows, prefer="live"), list[ScoreAnswer])
    assert_type(client.score("m", frame, max_age=0.5), pd.DataFrame)
    assert_type(client.lookup_table("m", frame), pa.Table)
    assert_type(client.score_table("m", frame), pa.Table)
    assert_type(client.rows("m", page_size=1), Iterator[Answer])
    client.score("m", rows, prefer="lve")  # type: ignore[call-overload]
    client.lookup("m", keys, verison=1)  # type: ignore[call-overload]

    async def use() -> None:
        assert_type(await asynchronous.predict("m", k=7), Answer)
        assert_type(await asynchronous.lookup("m", keys), list[Answer])
        assert_type(await asynchronous.score("m", frame), pd.DataFrame)
        async for answer in asynchronous.rows("m"):
            assert_type(answer, Answer)


def test_both_clients_have_the_same_methods_and_signatures() -> None:
    methods = [name for name in vars(Client) if not name.startswith("_")]
    assert methods == [name for name in vars(AsyncClient) if not name.startswith("_")]
    for name in methods:
        blocking, asynchronous = [str(inspect.signature(getattr(kind, name))) for kind in (Client, AsyncClient)]
        assert blocking == asynchronous.replace("AsyncIterator", "Iterator")
