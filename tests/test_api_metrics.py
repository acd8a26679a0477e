"""The metrics that Prometheus scrapes, and the access log."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from fix_api import OPEN, Shelf, scraped, serving, until_scraped
from fix_server import served, workers_of
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore_api.http.app import ServerSettings, build

KEY = {"k": "bigint"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _counted(client: httpx.Client, name: str, **labels: str) -> float:
    return scraped(client, name, **labels) or 0.0


def test_freshness_can_be_scraped(shelf: Shelf, client: httpx.Client) -> None:
    old = datetime.now(UTC) - timedelta(days=2)
    shelf.publish("ape", KEY, [(1, 0.5)], data_as_of=old, freshness={"max_age": "1d"})
    shelf.publish("zebra", KEY, [])
    shelf.publish("zebra", KEY, [])
    shelf.rollback("zebra")
    until_scraped(client, "prescore_model_held", 1, model="zebra")
    response = client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 2 * 86400 <= _counted(client, "prescore_model_age_seconds", model="ape") < 2 * 86400 + 60
    assert 0 <= _counted(client, "prescore_model_age_seconds", model="zebra") < 60
    assert 0 <= _counted(client, "prescore_model_published_seconds", model="zebra") < 60
    expected = {
        ("ape", "max_age_seconds"): 86400,
        ("zebra", "max_age_seconds"): None,
        ("ape", "stale"): 1,
        ("zebra", "stale"): 0,
        ("ape", "held"): 0,
        ("ape", "version"): 1,
        ("zebra", "version"): 1,
        ("ape", "rows"): 1,
        ("zebra", "rows"): 0,
    }
    assert {of: scraped(client, f"prescore_model_{of[1]}", model=of[0]) for of in expected} == expected
    assert response.text.count("# TYPE prescore_model_stale gauge") == 1


def test_requests_hits_and_misses_are_counted(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, [(k, 0.5) for k in range(10)])
    of = [
        ("prescore_http_requests_total", {"route": "predict", "method": "GET", "status": "200"}),
        ("prescore_http_requests_total", {"route": "predict", "method": "GET", "status": "404"}),
        ("prescore_http_requests_total", {"route": "predict_many", "method": "POST", "status": "200"}),
        ("prescore_http_requests_total", {"route": "list_models", "method": "GET", "status": "200"}),
        ("prescore_http_request_seconds_count", {"route": "predict"}),
        ("prescore_lookup_keys_total", {"model": "m", "result": "hit"}),
        ("prescore_lookup_keys_total", {"model": "m", "result": "miss"}),
    ]
    before = [_counted(client, name, **labels) for name, labels in of]
    for k in (1, 2, 3, 99):
        client.get(f"/v1/predictions/m/{k}")
    client.get("/v1/predictions/none/1")
    client.post("/v1/predictions/m/lookup", json={"keys": [{"k": k} for k in (1, 1, 50)]})
    client.get("/v1/models")
    after = [_counted(client, name, **labels) for name, labels in of]
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 2, 1, 1, 5, 5, 2]
    # Clients cannot create labels.
    assert scraped(client, "prescore_lookup_keys_total", model="none") is None


def test_the_pool_and_the_database_are_measured(client: httpx.Client) -> None:
    until_scraped(client, "prescore_database_up", 1)
    assert _counted(client, "prescore_pool_connections", state="open") >= 1
    assert scraped(client, "prescore_pool_waiting") == 0


def test_several_workers_add_up(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    shelf.publish("m", KEY, [(1, 0.5)])
    with served("--port", "0", "--no-auth", "--workers", "2", "--no-access-log") as (process, url):

        def ask(_: int) -> int:
            # Each request opens its own connection.
            return httpx.get(f"{url}/v1/predictions/m/1").status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(200))) == {200}
        with httpx.Client(base_url=url) as client:
            # Any worker reports the totals of all.
            for _ in range(5):
                assert scraped(client, "prescore_lookup_keys_total", model="m", result="hit") == 200
            assert scraped(client, "prescore_model_version", model="m") == 1
            before = _counted(client, "prescore_pool_connections", state="open")
        first = workers_of(process)
        first[0].kill()
        until = time.monotonic() + 30
        while len(now := {worker.pid for worker in workers_of(process)}) < 2 or first[0].pid in now:
            assert time.monotonic() < until
        # Another worker replaces the first, whose connections no longer count.
        with httpx.Client(base_url=url) as client:
            until_scraped(client, "prescore_database_up", 1)
            assert _counted(client, "prescore_pool_connections", state="open") <= before
            assert scraped(client, "prescore_lookup_keys_total", model="m", result="hit") == 200


def _lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_the_access_log_has_a_line_of_json_for_each_request(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    Shelf(database).publish("m", {"k": "text"}, [("secret customer", 0.5)])
    with serving(build(database, ServerSettings(open_to_all=True, access_log=True))) as client:
        response = client.get(
            "/v1/predictions/m/secret customer", headers={"traceparent": TRACE, "X-Request-Id": "mine"}
        )
        assert response.headers["x-request-id"] == "mine"
        other = client.post("/v1/predictions/m/lookup", json={"keys": [{"k": "x"}, {"k": "secret customer"}]})
        client.get("/health/live", headers={"X-Request-Id": "no\tgood", "traceparent": "00-zz"})
    out = capfd.readouterr().out
    one, many, health = _lines(out)
    assert {n: one[n] for n in ("request_id", "method", "route", "model", "version", "keys", "found", "status")} == {
        "request_id": "mine", "method": "GET", "route": "predict", "model": "m", "version": 1, "keys": 1, "found": 1,
        "status": 200,
    }  # fmt: skip
    assert (one["trace_id"], one["parent_id"]) == (TRACE[3:35], TRACE[36:52])
    assert one["bytes"] == len(response.content)
    assert one["client"] == "127.0.0.1"
    assert 0 < one["ms"] < 60_000
    assert (many["route"], many["keys"], many["found"]) == ("predict_many", 2, 1)
    assert many["request_id"] == other.headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{20}", health["request_id"])
    assert "trace_id" not in health
    # The log contains no keys.
    assert "secret customer" not in out


def test_the_access_log_names_key_and_model_of_refused_requests(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """An operator has to find the client that still uses a revoked key."""
    for model in ("m", "other"):
        Shelf(database).publish(model, {"k": "bigint"}, [(1, 0.5)])
    with database.connect() as connection:
        catalog = Catalog(connection)
        limited, revoked = (api_keys.create(catalog, name, ["m"]) for name in ("limited", "revoked"))
        api_keys.revoke(catalog, "revoked")
    with serving(build(database, ServerSettings(access_log=True))) as client:
        for key in (revoked, revoked[:-1] + "!", "none"):
            client.get("/v1/predictions/m/1", headers={"Authorization": f"Bearer {key}"})
        for path in ("predictions/other/1", "predictions/other?k=1", "predictions/other/rows", "models/other"):
            client.get(f"/v1/{path}", headers={"Authorization": f"Bearer {limited}"})
    out = capfd.readouterr().out
    lines = [(line["status"], line["api_key"], line["model"]) for line in _lines(out)]
    assert lines == [(401, revoked[4:16], None), *[(401, None, None)] * 2, *[(403, limited[4:16], "other")] * 4]
    assert revoked[17:] not in out


def test_request_ids_are_unique(client: httpx.Client) -> None:
    ids = {client.get("/health/live").headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


def test_an_error_is_logged_with_its_request_id(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    app = build(database, OPEN)
    with serving(app) as client:
        app.service.canary_lookup = None  # type: ignore[assignment] # a bug of ours
        response = client.get("/v1/predictions/m/1")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert response.headers["x-request-id"] in caplog.text
    assert "Traceback" not in response.text


def test_a_scrape_can_select_metrics_by_name(shelf: Shelf, client: httpx.Client) -> None:
    """With the parameter `name[]`, as Prometheus' federation and many exporters take it."""
    shelf.publish("m", KEY, [(1, 0.5)])
    until_scraped(client, "prescore_model_version", 1, model="m")
    names = ["prescore_model_version", "prescore_http_request_seconds_count", "prescore_http_requests_total", "none"]
    text = client.get("/metrics", params={"name[]": names}).text
    series = {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert series == set(names) - {"none"}
    assert client.get("/metrics", params={"name[]": "none"}).text == ""
    refused = client.get("/metrics?name=prescore_model_version")
    assert (refused.status_code, "takes name[]" in refused.text) == (422, True)
