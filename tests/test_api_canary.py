"""Lookups over HTTP in a model with a canary: which keys it answers, in every form, and until when."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from fix_api import OPEN, Api, scraped, serving
from fix_client import ClientCall, InterleavingTransport, address
from prescore.catalog import canary as buckets
from prescore.catalog.database import Connection
from prescore.versions import canary
from prescore.versions.options import PublishOptions
from prescore_api.client import Client, parts
from prescore_api.formats.arrow import MEDIA_TYPE
from prescore_api.http.app import build

KEY = {"k": "bigint"}
KEYS = range(200)
SHARE = 0.3
PART = 100
OLD = [(key, 0.25) for key in KEYS]
NEW = [(key, 0.75) for key in KEYS]
ARROW = {"Accept": MEDIA_TYPE.decode()}


def _start(api: Api, share: float = SHARE, **more: Any) -> str:
    """Publish version 1 with OLD, try version 2 with NEW, and return the model."""
    model = api.publish(KEY, OLD, **more)
    api.shelf.try_out(model, KEY, NEW, share, **more)
    _read(api.client, model)
    return model


def _read(client: httpx.Client, model: str) -> dict[str, Any]:
    """Return the model; the server has read it from the catalog."""
    description: dict[str, Any] = client.get(f"/v1/models/{model}").json()
    return description


def _taken(model: str, share: float = SHARE) -> set[int]:
    return {key for key, is_taken in zip(KEYS, buckets.takes(model, share, [KEYS]), strict=True) if is_taken}


def _bulk(client: httpx.Client, model: str, keys: Any = KEYS, query: str = "") -> list[dict[str, Any]]:
    body = {"keys": [{"k": key} for key in keys]}
    answers: list[dict[str, Any]] = client.post(f"/v1/predictions/{model}/lookup{query}", json=body).json()["answers"]
    return answers


def _counted(api: Api, model: str) -> tuple[float, float]:
    """Return how many keys were looked up in a model, and how many the canary answered, so far."""
    keys = scraped(api.client, "prescore_lookup_keys_total", model=model)
    hits = scraped(api.client, "prescore_canary_keys_total", model=model, version="2", result="hit")
    return keys or 0, hits or 0


def test_a_canary_answers_its_keys_and_says_so(api: Api) -> None:
    clock = datetime.now(UTC) + timedelta(minutes=1)
    model = api.publish(KEY, OLD)
    api.shelf.try_out(model, KEY, NEW, SHARE, data_as_of=clock)
    assert _read(api.client, model)["canary"] == {"version": 2, "share": SHARE}
    taken = _taken(model)
    assert 30 < len(taken) < 90
    tags = set()
    counted = _counted(api, model)
    for key in KEYS:
        response = api.client.get(f"/v1/predictions/{model}/{key}")
        answer = response.json()
        expected = (2, {"score": 0.75}) if key in taken else (1, {"score": 0.25})
        assert (answer["version"], answer["prediction"]) == expected
        assert (answer["data_as_of"] == clock.isoformat(), answer["published_at"] is None) == (key in taken,) * 2
        tags.add((response.headers["etag"], key in taken))
    assert len(tags) == 2
    # Other tests in this process have counted models with the same name.
    assert _counted(api, model) == (counted[0] + len(KEYS), counted[1] + len(taken))
    assert scraped(api.client, "prescore_model_canary_version", model=model) == 2
    assert scraped(api.client, "prescore_model_canary_share", model=model) == SHARE
    assert f"Version 2 is the canary and answers {100 * SHARE:g}% of the keys." in api.client.get("/").text


def test_a_caller_can_pin_either_version(api: Api) -> None:
    model = _start(api)
    for version in (1, 2):
        for key in (min(_taken(model)), min(set(KEYS) - _taken(model))):
            assert api.client.get(f"/v1/predictions/{model}/{key}?version={version}").json()["version"] == version
        assert {answer["version"] for answer in _bulk(api.client, model, query=f"?version={version}")} == {version}


def test_a_caller_can_pin_the_canary_beside_its_version(api: Api) -> None:
    model = _start(api)
    url, body = f"/v1/predictions/{model}/lookup", {"keys": [{"k": key} for key in KEYS]}
    sent = api.client.post(url, json=body)
    pins = {"version": sent.headers["Prescore-Version"], "canary": sent.headers["Prescore-Canary"]}
    assert pins == {"version": "1", "canary": f"2:{SHARE}"}
    with api.shelf.database.connect() as connection:
        canary.promote(connection, model, PublishOptions())
    _read(api.client, model)
    again = api.client.post(url, json=body, params=pins)
    assert (again.headers["Prescore-Version"], again.headers["Prescore-Canary"]) == ("1", f"2:{SHARE}")
    versions = [[answer["version"] for answer in response.json()["answers"]] for response in (sent, again)]
    assert versions[0] == versions[1]
    headers = api.client.post(url, json=body).headers
    assert (headers["Prescore-Version"], headers["Prescore-Canary"]) == ("2", "none")
    again = api.client.post(url, json=body, params={"version": "1", "canary": "none"})
    assert {answer["version"] for answer in again.json()["answers"]} == {1}
    assert (again.headers["Prescore-Version"], again.headers["Prescore-Canary"]) == ("1", "none")
    assert "Prescore-Canary" not in api.client.post(url, json=body, params={"version": "1"}).headers
    api.shelf.publish(model, KEY, [(7, 0.5, True)], {"score": "real", "likely": "boolean"})
    for query, status, message in [
        ("canary=2:0.3", 422, "canary needs the version beside it"),
        ("canary=none", 422, "canary needs the version beside it"),
        ("version=1&canary=2:1.5", 422, "canary takes what the header Prescore-Canary has"),
        ("version=1&canary=2:9e-0", 422, "canary takes what the header Prescore-Canary has"),
        ("version=1&canary=2", 422, "canary takes what the header Prescore-Canary has"),
        ("version=1&canary=9:0.3", 404, "has no version 9"),
        ("version=3&canary=2:0.3", 422, f"{model} version 2 was no canary beside version 3"),
    ]:
        refused = api.client.post(f"{url}?{query}", json=body)
        assert (refused.status_code, message in refused.text) == (status, True), refused.text


def test_many_keys_are_answered_by_both_versions_in_their_order(api: Api) -> None:
    model = _start(api)
    taken = _taken(model)
    keys = [*reversed(KEYS), 999, 7, 7]
    answers = _bulk(api.client, model, keys)
    assert [answer["key"]["k"] for answer in answers] == keys
    for answer in answers:
        expected = 2 if answer["key"]["k"] in taken else 1
        if answer["found"]:
            assert (answer["version"], answer["prediction"]["score"]) == (expected, 0.25 if expected == 1 else 0.75)
    assert _bulk(api.client, model, []) == []
    one = api.client.get(f"/v1/predictions/{model}/999").json()
    assert (one["found"], one["version"]) == (False, answers[len(KEYS)]["version"])


def test_arrow_has_a_version_for_each_row_while_there_is_a_canary(api: Api) -> None:
    model = _start(api)
    taken = _taken(model)
    body = {"keys": [{"k": key} for key in [*KEYS, 999]]}
    url = f"/v1/predictions/{model}/lookup"
    table = pa.ipc.open_stream(api.client.post(url, json=body, headers=ARROW).content).read_all()
    assert table.column_names == ["key", "found", "prediction", "version", "data_as_of"]
    assert table.schema.metadata[b"version"] == b"1"
    assert [row["k"] for row in table.column("key").to_pylist()] == [*KEYS, 999]
    versions = table.column("version").to_pylist()
    assert versions[:-1] == [2 if key in taken else 1 for key in KEYS]
    scores = [prediction["score"] for prediction in table.column("prediction").to_pylist()[:-1]]
    assert scores == [0.75 if key in taken else 0.25 for key in KEYS]
    assert (table.column("found").to_pylist()[-1], table.column("prediction").to_pylist()[-1]) == (False, None)
    none = pa.ipc.open_stream(api.client.post(url, json={"keys": []}, headers=ARROW).content).read_all()
    assert (none.num_rows, none.column_names) == (0, table.column_names)
    pinned = api.client.post(f"{url}?version=2", json=body, headers=ARROW).content
    assert pa.ipc.open_stream(pinned).read_all().column_names == ["key", "found", "prediction"]


def _in_parts(taken: set[int]) -> list[int]:
    """Return keys of which the first part has none of the canary."""
    others = [key for key in KEYS if key not in taken]
    return [*(others * PART)[:PART], *KEYS]


def test_the_client_answers_each_of_many_keys_from_its_version(
    api: Api, call: ClientCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_KEYS", PART)
    model = _start(api)
    taken = _taken(model)
    keys = _in_parts(taken)
    expected = [2 if key in taken else 1 for key in keys]
    url = address(api.client)
    listed = call(url, "lookup", model, [{"k": key} for key in keys])
    frame = call(url, "lookup", model, pd.DataFrame({"k": keys}))
    pinned = call(url, "lookup", model, [{"k": key} for key in keys], version=1)
    assert {answer.version for answer in pinned} == {1}
    assert [answer.version for answer in listed] == expected
    assert frame["version"].tolist() == expected
    assert set(frame.groupby("version")["score"].unique().explode().items()) == {(1, 0.25), (2, 0.75)}
    assert (frame["data_as_of"].nunique(), frame.attrs["version"]) == (2, 1)


def test_all_parts_are_answered_by_the_versions_of_the_first_part(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_KEYS", PART)

    def end(connection: Connection, model: str) -> None:
        canary.promote(connection, model, PublishOptions())
        api.shelf.publish(model, KEY, OLD)

    for change in (canary.drop, end):
        model = _start(api)
        taken = _taken(model)
        keys = _in_parts(taken)

        def interfere(model: str = model, change: Callable[[Connection, str], Any] = change) -> None:
            with api.shelf.database.connect() as connection:
                change(connection, model)
            _read(api.client, model)

        with Client(address(api.client), transport=InterleavingTransport({1: interfere})) as client:
            answers = client.lookup(model, [{"k": key} for key in keys])
        assert [answer.version for answer in answers] == [2 if key in taken else 1 for key in keys]


def test_a_tombstone_of_the_canary_is_of_a_version_before_it(api: Api) -> None:
    tombstones: Any = {"vanished": {"policy": "tombstone"}}
    model = api.publish(KEY, OLD[:3], **tombstones)
    api.shelf.publish(model, KEY, OLD[:2], **tombstones)
    api.shelf.try_out(model, KEY, OLD[:1], 1, **tombstones)
    _read(api.client, model)
    answers = _bulk(api.client, model, range(4))
    assert [(answer["version"], answer.get("last_version")) for answer in answers] == [
        (3, n) for n in (None, 2, 1, None)
    ]


def test_every_server_and_a_restarted_one_answer_the_same_keys(api: Api) -> None:
    model = _start(api)
    answers = [answer["version"] for answer in _bulk(api.client, model)]
    for _ in range(2):
        with serving(build(api.shelf.database, OPEN)) as other:
            assert [answer["version"] for answer in _bulk(other, model)] == answers


def test_in_shadow_no_key_is_answered_by_the_canary(api: Api) -> None:
    model = _start(api, share=0)
    assert {answer["version"] for answer in _bulk(api.client, model)} == {1}
    assert _read(api.client, model)["canary"] == {"version": 2, "share": 0}
    assert "Version 2 is the canary and is tried in shadow." in api.client.get("/").text


def test_the_canary_of_a_model_in_memory_is_read_from_postgres(api: Api) -> None:
    model = api.publish(KEY, OLD, lookup={"in_memory": True})
    api.until_in_memory(model)
    api.shelf.try_out(model, KEY, NEW, SHARE, lookup={"in_memory": True})
    _read(api.client, model)
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    while (answered := {a["key"]["k"] for a in _bulk(api.client, model) if a["version"] == 2}) != _taken(model):
        assert datetime.now(UTC) < deadline, answered
    one = api.client.get(f"/v1/predictions/{model}/{min(answered)}").json()
    assert (one["version"], one["prediction"]) == (2, {"score": 0.75})


def test_a_stale_canary_is_refused_like_a_stale_published_version(api: Api) -> None:
    refuses: Any = {"freshness": {"max_age": "1h", "when_stale": "refuse"}}
    old = datetime.now(UTC) - timedelta(hours=2)
    model = api.publish(KEY, OLD, data_as_of=old - timedelta(minutes=1), **refuses)
    api.shelf.try_out(model, KEY, NEW, 1, data_as_of=old, **refuses)
    _read(api.client, model)
    assert api.client.get(f"/v1/predictions/{model}/7").json()["error"]["code"] == "too_old"
    assert api.client.get(f"/v1/predictions/{model}/7?version=2").json()["version"] == 2


def test_a_canary_that_is_gone_leaves_its_keys_to_the_published_version(api: Api) -> None:
    model = _start(api)
    with api.shelf.database.connect() as connection:
        canary.drop(connection, model)
        connection.execute("update prescore.versions set state = 'retired' where model = %s and version = 2", (model,))
    # Whether the server has read that or not.
    assert {api.client.get(f"/v1/predictions/{model}/{key}").json()["version"] for key in _taken(model)} == {1}
    assert {answer["version"] for answer in _bulk(api.client, model)} == {1}


def test_no_key_goes_back_while_canaries_are_promoted_and_dropped(api: Api) -> None:
    model = _start(api)
    taken, stop = min(_taken(model)), threading.Event()
    seen: list[dict[int, int]] = []
    failures: list[str] = []

    def read() -> None:
        with httpx.Client(base_url=api.client.base_url) as client:
            while not stop.is_set():
                answers = _bulk(client, model)
                seen.append({answer["key"]["k"]: answer["version"] for answer in answers})
                seen.append({taken: client.get(f"/v1/predictions/{model}/{taken}").json()["version"]})
                failures.extend(
                    f"{answer['key']} {answer['version']}: {answer['prediction']}"
                    for answer in answers
                    if answer["prediction"]["score"] != (0.25 if answer["version"] % 2 else 0.75)
                )

    reader = threading.Thread(target=read)
    reader.start()
    with api.shelf.database.connect() as connection:
        for number in range(3, 7):
            canary.promote(connection, model, PublishOptions())
            api.shelf.try_out(model, KEY, OLD if number % 2 else NEW, SHARE)
    _read(api.client, model)
    stop.set()
    reader.join()
    assert not failures
    for key in KEYS:
        versions = [answered[key] for answered in seen if key in answered]
        assert versions == sorted(versions), key
    assert {answer["version"] for answer in _bulk(api.client, model)} == {5, 6}


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_canary_of_a_key_of_several_columns(api: Api, share: float) -> None:
    key = {"shop": "text", "day": "date"}
    rows: list[Any] = [(shop, f"2026-01-{day:02}", 0.25) for shop in ("a/b", "ü") for day in range(1, 29)]
    model = api.publish(key, rows)
    api.shelf.try_out(model, key, [(*row[:2], 0.75) for row in rows], share)
    _read(api.client, model)
    columns = [[row[0] for row in rows], [row[1] for row in rows]]
    for row, is_taken in zip(rows, buckets.takes(model, share, columns), strict=True):
        query = httpx.QueryParams({"shop": row[0], "day": row[1]})
        answer = api.client.get(f"/v1/predictions/{model}?{query}").json()
        assert answer["version"] == (2 if is_taken else 1)
