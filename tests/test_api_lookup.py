"""Lookups over HTTP: keys of every type and form, and values in JSON."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest

from fix_api import Api, Shelf
from prescore_api.service.lookup import MAX_KEYS

ID = UUID("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d")
NOON = datetime.fromisoformat("2013-07-04T12:30:00")
FLIGHT = {"carrier": "text", "flight": "bigint", "day": "date"}
NASTY = [
    "", " ", "a/b", "a//b/", "/", "lookup", "a b", "50%", "%2F", "a+b", "a?b=c#d", "ä ö ü", "日本語", "🛫", "e\u0301",
    "line\nbreak\n", "\t", "\ufeff", "NULL", "{1,2}", 'quo"te', "quo'te", "back\\slash", "a,b",
]  # fmt: skip


def test_an_answer_contains_version_and_age(api: Api) -> None:
    clock = datetime.now(UTC) - timedelta(hours=2)
    m = api.publish({"customer": "bigint"}, [(7, 0.1)], data_as_of=clock, freshness={"max_age": "1h"})
    response = api.client.get(f"/v1/predictions/{m}/7")
    answer = response.json()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    published, age = datetime.fromisoformat(answer.pop("published_at")), answer.pop("age_seconds")
    assert answer == {
        "model": m,
        "version": 1,
        "key": {"customer": 7},
        "found": True,
        "prediction": {"score": 0.1},
        "data_as_of": clock.isoformat(),
        "stale": True,
    }
    assert timedelta() <= datetime.now(UTC) - published < timedelta(minutes=1)
    assert 7200 <= age < 7260


def test_an_unknown_key_is_answered_with_404(api: Api) -> None:
    m = api.publish({"customer": "bigint"}, [(7, 0.1)])
    for response in (api.client.get(f"/v1/predictions/{m}/8"), api.client.get(f"/v1/predictions/{m}?customer=8")):
        answer = response.json()
        assert response.status_code == 404
        assert (answer["found"], answer["prediction"], answer["key"], answer["version"], answer["stale"]) == (
            False,
            None,
            {"customer": 8},
            1,
            False,
        )


@pytest.mark.parametrize(
    ("kind", "stored", "keys_sent", "value"),
    [
        ("smallint", -32768, "-32768", -32768),
        ("integer", 2**31 - 1, "2147483647", 2**31 - 1),
        ("bigint", 2**63 - 1, str(2**63 - 1), 2**63 - 1),
        ("bigint", -(2**53) - 1, str(-(2**53) - 1), -(2**53) - 1),
        ("text", "N14228", "N14228", "N14228"),
        ("uuid", ID, str(ID).upper(), str(ID)),
        ("date", date(2013, 7, 4), "2013-07-04", "2013-07-04"),
        ("timestamp", NOON, "2013-07-04T12:30:00", "2013-07-04T12:30:00"),
        ("timestamptz", NOON.replace(tzinfo=UTC), "2013-07-04T12:30:00Z", "2013-07-04T12:30:00+00:00"),
        ("timestamptz", NOON.replace(tzinfo=UTC), "2013-07-05T11:30:00+23:00", "2013-07-04T12:30:00+00:00"),
    ],
)
def test_a_key_of_every_type_is_found(api: Api, kind: str, stored: Any, keys_sent: str, value: Any) -> None:
    m = api.publish({"k": kind}, [(stored, 0.5)])
    single = api.client.get(f"/v1/predictions/{m}/{quote(keys_sent, safe='')}")
    named = api.client.get(f"/v1/predictions/{m}", params={"k": keys_sent})
    bulk = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": [{"k": keys_sent}, {"k": value}]})
    answers = [single.json(), named.json(), *bulk.json()["answers"]]
    assert [(a["found"], a["key"]) for a in answers] == [(True, {"k": value})] * 4


def test_a_text_key_may_contain_anything(api: Api) -> None:
    m = api.publish({"k": "text"}, [(k, i) for i, k in enumerate(NASTY)], {"place": "integer"})
    bulk = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": [{"k": k} for k in NASTY]}).json()["answers"]
    assert [(a["key"]["k"], a["prediction"]["place"]) for a in bulk] == [(k, i) for i, k in enumerate(NASTY)]
    for i, k in enumerate(NASTY):
        for response in (
            api.client.get(f"/v1/predictions/{m}/{quote(k, safe='')}"),
            api.client.get(f"/v1/predictions/{m}", params={"k": k}),
        ):
            assert (response.status_code, response.json()["key"], response.json()["prediction"]) == (
                200,
                {"k": k},
                {"place": i},
            )


def test_slashes_need_no_escaping(api: Api) -> None:
    m = api.publish({"k": "text"}, [("a/b c", 0.5)])
    assert api.client.get(f"/v1/predictions/{m}/a/b c").json()["key"] == {"k": "a/b c"}


def test_composite_keys_are_given_by_column_name(api: Api) -> None:
    f = api.publish(FLIGHT, [("UA", 1545, date(2013, 1, 1), 0.25), ("UA", 1545, date(2013, 1, 2), 0.5)])
    keys_sent = {"day": "2013-01-02", "flight": "1545", "carrier": "UA"}
    assert api.client.get(f"/v1/predictions/{f}", params=keys_sent).json()["prediction"] == {"score": 0.5}
    bulk = api.client.post(
        f"/v1/predictions/{f}/lookup", json={"keys": [keys_sent, keys_sent | {"day": "2013-01-01"}]}
    ).json()
    assert [a["prediction"]["score"] for a in bulk["answers"]] == [0.5, 0.25]
    assert list(bulk["answers"][0]["key"]) == ["carrier", "flight", "day"]


def test_a_composite_key_in_the_path_is_refused_with_the_right_form(api: Api) -> None:
    f = api.publish(FLIGHT, [])
    response = api.client.get(f"/v1/predictions/{f}/UA")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "key_invalid")
    assert f"/v1/predictions/{f}?carrier=…&flight=…&day=…" in response.json()["error"]["message"]


def test_a_column_may_have_any_name(api: Api) -> None:
    key = {"position": "bigint", "key0": "bigint", "a b&c=d": "text", "100%": "text"}
    outputs = {"prediction": "real", "model": "text", "output0": "integer", 'quo"te': "boolean", "%(model)s": "text"}
    m = api.publish(key, [(1, 2, "x", "y", 0.5, "z", 3, True, "w")], outputs)
    response = api.client.get(f"/v1/predictions/{m}", params={"position": 1, "key0": 2, "a b&c=d": "x", "100%": "y"})
    assert response.json()["key"] == {"position": 1, "key0": 2, "a b&c=d": "x", "100%": "y"}
    assert response.json()["prediction"] == dict(zip(outputs, (0.5, "z", 3, True, "w"), strict=True))


def test_bulk_answers_keep_order_and_duplicates(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [(k, k) for k in range(100)], {"twice": "integer"})
    keys_sent = [99, 3, 3, 1000, 0, 99, -1, 42]
    response = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": [{"k": k} for k in keys_sent]})
    answers = response.json()["answers"]
    assert response.status_code == 200
    assert [a["key"]["k"] for a in answers] == keys_sent
    assert [a["found"] for a in answers] == [True, True, True, False, True, True, False, True]
    assert [a["prediction"] and a["prediction"]["twice"] for a in answers] == [99, 3, 3, None, 0, 99, None, 42]
    assert set(answers[0]) == set(api.client.get(f"/v1/predictions/{m}/1").json())


def test_no_keys_get_no_answers(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [])
    assert api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": []}).json() == {"answers": []}


def test_the_number_of_keys_is_limited(api: Api) -> None:
    m = api.publish({"k": "bigint"}, [(MAX_KEYS - 1, 0.5)])
    keys = [{"k": k} for k in range(MAX_KEYS + 1)]
    full = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": keys[:MAX_KEYS]}).json()["answers"]
    assert (len(full), [a["key"]["k"] for a in full if a["found"]]) == (MAX_KEYS, [MAX_KEYS - 1])
    over = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": keys})
    assert (over.status_code, over.json()["error"]["code"]) == (413, "too_large")
    assert f"{MAX_KEYS:,}" in over.json()["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", "abc"),
        ("bigint", "1.0"),
        ("bigint", " 7"),
        ("bigint", "1_000"),
        ("bigint", "٣"),
        ("bigint", ""),
        ("bigint", str(2**63)),
        ("smallint", "32768"),
        ("text", "\x00"),
        ("uuid", "8c5f0a3e"),
        ("uuid", f"urn:uuid:{ID}"),
        ("uuid", f"{{{ID}}}"),
        ("uuid", f"8c5f-0a3e-{ID.hex[8:]}"),
        ("date", "2013-13-01"),
        ("timestamp", "2013-07-04T12:30:00Z"),
        ("timestamp", "2013-07-04T12:30:00.1234567"),
        ("timestamptz", "2013-07-04T12:30:00"),
        ("timestamptz", "2013-07-04T12:30:00.0000001Z"),
        ("timestamptz", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_malformed_keys_are_refused(api: Api, kind: str, value: str) -> None:
    m = api.publish({"k": kind}, [])
    for response in (
        api.client.get(f"/v1/predictions/{m}/{quote(value, safe='')}"),
        api.client.get(f"/v1/predictions/{m}", params={"k": value}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (422, "key_invalid")
        assert response.json()["error"]["message"].startswith("k must be ")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", 1.0),
        ("bigint", True),
        ("bigint", None),
        ("bigint", 2**64),
        ("bigint", 10**30),
        ("bigint", [1]),
        ("text", 5),
        ("text", {"a": 1}),
        ("uuid", 5),
        ("date", 20130704),
        ("timestamptz", 1372941000),
    ],
)
def test_a_wrong_key_in_bulk_names_its_position(api: Api, kind: str, value: Any) -> None:
    m = api.publish({"k": kind}, [])
    good = {"text": "a", "bigint": 1, "uuid": str(ID), "date": "2013-07-04", "timestamptz": "2013-07-04T12:30:00Z"}[
        kind
    ]
    response = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": [{"k": good}, {"k": good}, {"k": value}]})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "key_invalid")
    assert response.json()["error"]["message"].startswith("keys[2]: k must be ")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({"carrier": "UA", "flight": 1}, "lacks day"),
        ({"carrier": "UA", "flight": 1, "day": "2013-01-01", "dest": "X"}, "has no column dest"),
        (["UA", 1, "2013-01-01"], "is not an object"),
    ],
)
def test_bulk_keys_have_exactly_their_columns(api: Api, key: Any, words: str) -> None:
    f = api.publish(FLIGHT, [])
    response = api.client.post(f"/v1/predictions/{f}/lookup", json={"keys": [key]})
    assert response.status_code == 422
    assert response.json()["error"]["message"].startswith("keys[0]")
    assert words in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("keys_sent", "words"),
    [
        ("?carrier=UA&day=2013-01-01", ["lacks flight"]),
        ("", ["lacks carrier, flight, day"]),
        ("?carrier=UA&flight=1&day=2013-01-01&dest=X", ["has no column dest"]),
        ("?carrier=UA&flight=1&day=2013-01-01&carrier=AA", ["more than once", "carrier"]),
        ("?carrier=UA&flight=1&day=2013-01-01&version=0", ["version takes"]),
        ("?carrier=UA&flight=1&day=2013-01-01&version=latest", ["version takes"]),
        ("?carrier=UA&flight=1&day=2013-01-01&max_age=-1", ["max_age takes"]),
        ("?carrier=UA&flight=1&day=2013-01-01&max_age=nan", ["max_age takes"]),
        ("?carrier=UA&flight=1&day=2013-01-01&max_age=1&max_age=1", ["more than once", "max_age"]),
        ("?carrier=UA&flight=1&day=2013-01-01&output=score&output=score", ["more than once", "output=score"]),
        ("?carrier=UA&flight=1&day=2013-01-01&output=none", ["no output none", "it has score"]),
        ("?carrier=UA&flight=+1&day=2013-01-01", ["not ' 1'", "Send a plus sign as %2B"]),
        ("?carrier=UA&flight=1&day=2013-01-01&output=", ["no output ''"]),
        ("/1?k=1", ["Unknown parameters: k"]),
        ("/%FF", ["not UTF-8"]),
        ("?carrier=%C3", ["not UTF-8"]),
    ],
)
def test_no_parameter_is_ignored(api: Api, keys_sent: str, words: list[str]) -> None:
    m = api.publish(FLIGHT, [])
    response = api.client.get(f"/v1/predictions/{m}{keys_sent}")
    assert response.status_code == 422
    assert [word for word in words if word not in response.json()["error"]["message"]] == []


def test_bulk_takes_no_other_parameters(api: Api) -> None:
    m = api.publish(FLIGHT, [])
    response = api.client.post(f"/v1/predictions/{m}/lookup?other=1", json={"keys": []})
    assert response.status_code == 422
    assert "other" in response.json()["error"]["message"]


def test_values_are_exact(api: Api) -> None:
    outputs = {
        "a": "real",
        "b": "double precision",
        "c": "bigint",
        "d": "boolean",
        "e": "text",
        "f": "real",
        "g": "real",
    }
    values = (0.1, 0.1 + 0.2, 2**53 + 1, False, 'ä"\n', 3.4028235e38, 16777216.0)
    m = api.publish({"k": "bigint"}, [(2**63 - 1, *values)], outputs)
    response = api.client.get(f"/v1/predictions/{m}/{2**63 - 1}")
    assert b'"key":{"k":9223372036854775807}' in response.content
    assert b'"a":0.1,"b":0.30000000000000004,"c":9007199254740993,"d":false' in response.content
    assert response.json()["prediction"] == dict(zip(outputs, values, strict=True))


def test_passthrough_values_are_rendered_as_json(api: Api) -> None:
    kinds = {
        "u": "uuid", "d": "date", "t": "timestamp", "z": "timestamptz",
        "nan": "double precision", "inf": "real", "none": "text",
    }  # fmt: skip
    row = (ID, date(2013, 7, 4), NOON, "2013-07-04T12:30:00.5+02:00", float("nan"), float("-inf"), None)
    m = api.publish({"k": "bigint"}, [(1, 0.5, *row)], passthrough=kinds)
    assert api.client.get(f"/v1/predictions/{m}/1").json()["prediction"] == {
        "score": 0.5,
        "u": str(ID),
        "d": "2013-07-04",
        "t": "2013-07-04T12:30:00",
        "z": "2013-07-04T10:30:00.500000+00:00",
        "nan": None,
        "inf": None,
        "none": None,
    }


def test_times_beyond_pythons_range_are_rendered_as_text(api: Api) -> None:
    kinds = {"d": "date", "t": "timestamp", "z": "timestamptz", "ok": "timestamptz"}
    rows = [
        (1, 0.5, "infinity", "-infinity", "infinity", "2013-07-04T12:30:00Z"),
        (2, 0.5, "10000-01-01", "12013-07-04T12:30:00", "12013-07-04T12:30:00Z", None),
    ]
    m = api.publish({"k": "bigint"}, rows, passthrough=kinds)
    first, second = (api.client.get(f"/v1/predictions/{m}/{k}").json()["prediction"] for k in (1, 2))
    assert [first[n] for n in kinds] == ["infinity", "-infinity", "infinity", "2013-07-04T12:30:00+00:00"]
    assert [second[n] for n in kinds] == ["10000-01-01", "12013-07-04T12:30:00", "12013-07-04T12:30:00+00", None]


def test_answers_do_not_depend_on_the_servers_settings(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "timestamptz"}, [(NOON.replace(tzinfo=UTC), 1 / 3)], {"score": "double precision"})
    for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "extra_float_digits = -3"):
        shelf.alter_database(setting)
    shelf.end_connections()
    answer = client.get("/v1/predictions/m/2013-07-04T12:30:00Z").json()
    assert (answer["key"]["k"], answer["prediction"]["score"]) == ("2013-07-04T12:30:00+00:00", 1 / 3)
    assert answer["data_as_of"].endswith("+00:00")
