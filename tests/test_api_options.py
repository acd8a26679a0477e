"""Lookup options: versions by number, the maximum age, selected outputs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from fix_api import Api, Shelf
from prescore.catalog.database import Connection

KEY = {"k": "bigint"}
WIDE = {"score": "real", "lift": "integer", "why": "text"}


def _ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def test_an_earlier_version_is_selected_by_number(shelf: Shelf, client: httpx.Client) -> None:
    for version in (1, 2, 3):
        shelf.publish("m", KEY, [(1, version / 2)], data_as_of=_ago(10 - version))
    for version in (1, 2, 3):
        one = client.get(f"/v1/predictions/m/1?version={version}").json()
        named = client.get(f"/v1/predictions/m?k=1&version={version}").json()
        bulk = client.post(f"/v1/predictions/m/lookup?version={version}", json={"keys": [{"k": 1}, {"k": 2}]}).json()
        for answer in (one, named, bulk["answers"][0]):
            assert (answer["version"], answer["prediction"]) == (version, {"score": version / 2})
            assert abs(answer["age_seconds"] - (10 - version) * 3600) < 60
        assert (bulk["answers"][1]["found"], bulk["answers"][1]["version"]) == (False, version)


def test_a_detached_version_is_still_served(shelf: Shelf, client: httpx.Client, connection: Connection) -> None:
    """Retirement and other versions leave it detached, with its own columns."""
    shelf.publish("m", KEY, [(1, 0.5)])
    shelf.publish("m", KEY, [(1, 0.25, 3, "so")], WIDE)
    connection.execute("alter table prescore_versions.m detach partition prescore_versions.m_v1")
    assert client.get("/v1/predictions/m/1?version=1").json()["prediction"] == {"score": 0.5}
    assert client.get("/v1/predictions/m/1").json()["prediction"] == {"score": 0.25, "lift": 3, "why": "so"}


def test_only_versions_that_can_be_looked_up_are_listed(
    shelf: Shelf, client: httpx.Client, connection: Connection
) -> None:
    for _ in range(3):
        shelf.publish("m", KEY, [(1, 0.5)])
    versions = client.get("/v1/models/m").json()["versions"]
    assert [(v["version"], v["state"], v["rows"]) for v in versions] == [
        (3, "published", 1), (2, "superseded", 1), (1, "superseded", 1)
    ]  # fmt: skip
    connection.execute("update prescore.versions set state = 'refused' where version = 2")
    connection.execute("update prescore.versions set state = 'checked', trial_rows = 5 where version = 1")
    assert [v["version"] for v in client.get("/v1/models/m").json()["versions"]] == [3]


@pytest.mark.parametrize("state", ["building", "staged", "refused", "failed", "retired"])
def test_a_version_that_passed_no_check_is_not_served(
    shelf: Shelf, client: httpx.Client, connection: Connection, state: str
) -> None:
    for _ in range(2):
        shelf.publish("m", KEY, [(1, 0.5)])
    connection.execute("update prescore.versions set state = %s where version = 1", (state,))
    response = client.get("/v1/predictions/m/1?version=1")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert "m has no version 1" in response.json()["error"]["message"]
    assert client.get("/v1/predictions/m/1?version=2").status_code == 200


def test_unknown_versions_and_models_are_404(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(1, 0.5)])
    response = client.get("/v1/predictions/m/1?version=7")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert "at /v1/models/m, over HTTP." in response.json()["error"]["message"]
    assert "No model 'none'" in client.get("/v1/predictions/none/1?version=7").json()["error"]["message"]


def test_a_version_retired_between_two_requests_is_404(
    shelf: Shelf, client: httpx.Client, connection: Connection
) -> None:
    """The version is still cached, but its table is gone: that is a 404, not an outage."""
    for _ in range(3):
        shelf.publish("m", KEY, [(1, 0.5)])
    assert client.get("/v1/predictions/m/1?version=1").status_code == 200
    connection.execute("update prescore.versions set state = 'retired', attached_at = null where version = 1")
    connection.execute("drop table prescore_versions.m_v1")
    response = client.get("/v1/predictions/m/1?version=1")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_an_age_in_seconds_is_given_once(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(1, 0.5)], data_as_of=_ago(0.02))
    message = client.get("/v1/predictions/m/1?max_age=1").json()["error"]["message"]
    assert re.search(r"its data is \d+ s old, and max_age=1 allows 1 s", message), message


@pytest.mark.parametrize("query", ["/1?max_age=3600", "?k=1&max_age=3600.5"])
def test_data_older_than_the_requested_max_age_is_refused(shelf: Shelf, client: httpx.Client, query: str) -> None:
    shelf.publish("m", KEY, [(1, 0.5)], data_as_of=_ago(2))
    response = client.get(f"/v1/predictions/m{query}")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "too_old")
    assert "m version 1 is too old: its data is 2 h old (7" in response.json()["error"]["message"]
    assert int(response.headers["retry-after"]) > 0
    bulk = client.post("/v1/predictions/m/lookup?max_age=3600", json={"keys": [{"k": 1}]})
    assert (bulk.status_code, bulk.json()["error"]["code"]) == (503, "too_old")
    assert client.get("/v1/predictions/m/1?max_age=7300").json()["stale"] is False
    shelf.publish("m", KEY, [(1, 0.75)])
    assert client.get(f"/v1/predictions/m{query}").json()["prediction"] == {"score": 0.75}  # at once


def test_the_spec_decides_whether_stale_data_is_served(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("serve", KEY, [(1, 0.5)], data_as_of=_ago(2), freshness={"max_age": "1h"})
    shelf.publish("refuse", KEY, [(1, 0.5)], data_as_of=_ago(2), freshness={"max_age": "1h", "when_stale": "refuse"})
    shelf.publish("fresh", KEY, [(1, 0.5)], data_as_of=_ago(2), freshness={"max_age": "3h", "when_stale": "refuse"})
    served = client.get("/v1/predictions/serve/1")
    assert (served.status_code, served.json()["stale"]) == (200, True)
    refused = client.get("/v1/predictions/refuse/1")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_old")
    assert "the model's max age is 3600 s" in refused.json()["error"]["message"]
    assert client.post("/v1/predictions/refuse/lookup", json={"keys": [{"k": 1}]}).status_code == 503
    assert client.get("/v1/predictions/fresh/1").json()["stale"] is False
    # A request for a version by number accepts its age.
    assert client.get("/v1/predictions/refuse/1?version=1").json()["stale"] is True


def test_outputs_are_selected(api: Api) -> None:
    m = api.publish(KEY, [(1, 0.5, 3, "so")], WIDE)

    def query(query: str) -> dict[str, Any]:
        prediction: dict[str, Any] = api.client.get(f"/v1/predictions/{m}/1?{query}").json()["prediction"]
        return prediction

    assert query("output=lift") == {"lift": 3}
    assert list(query("output=why&output=score").items()) == [("why", "so"), ("score", 0.5)]
    bulk = api.client.post(f"/v1/predictions/{m}/lookup?output=score", json={"keys": [{"k": 1}, {"k": 2}]}).json()
    assert [answer["prediction"] for answer in bulk["answers"]] == [{"score": 0.5}, None]


def test_an_output_may_have_any_name(api: Api) -> None:
    m = api.publish(KEY, [(1, 0.5, 3)], {"output": "real", "a,b&c": "integer"})
    response = api.client.get(f"/v1/predictions/{m}/1", params={"output": "a,b&c"})
    assert response.json()["prediction"] == {"a,b&c": 3}
