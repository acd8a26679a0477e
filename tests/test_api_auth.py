"""Authentication over HTTP: every endpoint, with every kind of key."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from fix_api import SCORE, Shelf, serving
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore_api.http.app import ServerSettings, build
from prescore_api.service.poller import Poller

KEY = {"k": "bigint"}
OPEN = ["/health/live", "/health/ready", "/docs", "/openapi.json"]
CLOSED = ["/v1/models", "/v1/models/m", "/v1/predictions/m/1", "/v1/predictions/m?k=1", "/metrics", "/none"]


def _key(database: Database, name: str, models: list[str] | None = None, expires: timedelta | None = None) -> str:
    with database.connect() as connection:
        return api_keys.create(Catalog(connection), name, models, expires)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def closed(shelf: Shelf) -> Iterator[httpx.Client]:
    """A server that requires keys, with two models."""
    for model in ("m", "other"):
        shelf.publish(model, KEY, [(1, 0.5)], SCORE)
    with serving(build(shelf.database)) as client:
        yield client


def _code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_nothing_can_be_read_without_a_key(closed: httpx.Client) -> None:
    for path in CLOSED:
        response = closed.get(path)
        assert _code(response) == (401, "unauthenticated")
        assert [scheme.split()[0] for scheme in response.headers.get_list("www-authenticate")] == ["Bearer", "Basic"]
        assert "prescore keys create" in response.json()["error"]["message"]
    assert _code(closed.post("/v1/predictions/m/lookup", json={"keys": [{"k": 1}]})) == (401, "unauthenticated")
    for path in OPEN:
        assert closed.get(path).status_code == 200


def test_a_key_for_all_models_opens_everything(shelf: Shelf, closed: httpx.Client) -> None:
    # The key was created after the server started, and works at once.
    key = _key(shelf.database, "shop")
    for path in CLOSED:
        assert closed.get(path, headers=_bearer(key)).status_code == (404 if path == "/none" else 200)
    bulk = closed.post("/v1/predictions/m/lookup", json={"keys": [{"k": 1}]}, headers=_bearer(key))
    assert bulk.json()["answers"][0]["found"] is True


def test_a_browser_sends_the_key_as_the_password(shelf: Shelf, closed: httpx.Client) -> None:
    key = _key(shelf.database, "me")
    assert closed.get("/v1/models", auth=("any user", key)).status_code == 200
    assert closed.get("/v1/models", auth=(key, "")).status_code == 401


def test_a_key_for_some_models_opens_no_others(shelf: Shelf, closed: httpx.Client) -> None:
    key = _bearer(_key(shelf.database, "shop", ["m", "later"]))
    assert closed.get("/v1/predictions/m/1", headers=key).status_code == 200
    assert [model["model"] for model in closed.get("/v1/models", headers=key).json()["models"]] == ["m"]
    for path in ("/v1/predictions/other/1", "/v1/predictions/other?k=1", "/v1/models/other", "/metrics"):
        assert _code(closed.get(path, headers=key)) == (403, "forbidden")
    assert _code(closed.post("/v1/predictions/other/lookup", json={"keys": []}, headers=key)) == (403, "forbidden")
    # Whether such a model exists stays hidden, too.
    there, not_there = (closed.get(f"/v1/predictions/{model}/1", headers=key) for model in ("other", "none"))
    assert _code(there) == _code(not_there) == (403, "forbidden")
    assert _code(closed.get("/v1/predictions/later/1", headers=key)) == (404, "not_found")


@pytest.mark.parametrize(
    "header",
    ["", "psk_x", "Bearer", "Bearer psk_", "Basic", "Basic !!", "Digest x", "Bearer psk_0123456789ab_"],
)
def test_malformed_headers_are_refused(closed: httpx.Client, header: str) -> None:
    assert _code(closed.get("/v1/models", headers={"Authorization": header})) == (401, "unauthenticated")


def test_a_wrong_secret_is_refused(shelf: Shelf, closed: httpx.Client) -> None:
    key = _key(shelf.database, "shop")
    other = _key(shelf.database, "other")
    mixed = key[:17] + other[17:]
    assert _code(closed.get("/v1/models", headers=_bearer(mixed))) == (401, "unauthenticated")
    assert closed.get("/v1/models", headers=_bearer(key)).status_code == 200
    token = base64.b64encode(f"x:{mixed}".encode()).decode()
    assert closed.get("/v1/models", headers={"Authorization": f"Basic {token}"}).status_code == 401


def test_a_revoked_key_soon_stops_working(shelf: Shelf, closed: httpx.Client) -> None:
    key, kept = _key(shelf.database, "shop"), _key(shelf.database, "kept")
    assert closed.get("/v1/predictions/m/1", headers=_bearer(key)).status_code == 200
    with shelf.database.connect() as connection:
        api_keys.revoke(Catalog(connection), "shop")
    deadline = time.monotonic() + 10
    while closed.get("/v1/predictions/m/1", headers=_bearer(key)).status_code != 401:
        assert time.monotonic() < deadline
    assert closed.get("/v1/predictions/m/1", headers=_bearer(kept)).status_code == 200


def test_an_expired_key_says_so(shelf: Shelf, closed: httpx.Client) -> None:
    key = _key(shelf.database, "shop", expires=timedelta(seconds=3))
    deadline = time.monotonic() + 10
    while (response := closed.get("/v1/predictions/m/1", headers=_bearer(key))).status_code == 200:
        assert time.monotonic() < deadline
    assert _code(response) == (401, "unauthenticated")
    assert "expired on" in response.json()["error"]["message"]


def test_keys_work_while_postgres_is_away(shelf: Shelf, closed: httpx.Client) -> None:
    key = _key(shelf.database, "shop")
    assert closed.get("/v1/predictions/m/1", headers=_bearer(key)).status_code == 200
    with shelf.database.connect() as connection, connection.transaction():
        connection.execute("lock table prescore.api_keys in access exclusive mode")
        assert closed.get("/v1/predictions/m/1", headers=_bearer(key)).status_code == 200


def test_metrics_can_be_open_alone(shelf: Shelf) -> None:
    with serving(build(shelf.database, ServerSettings(open_metrics=True))) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/v1/models").status_code == 401


def test_no_response_contains_a_secret(shelf: Shelf, closed: httpx.Client) -> None:
    key = _key(shelf.database, "shop")
    secret = key[17:]
    responses = [closed.get(path, headers=_bearer(key)) for path in CLOSED]
    responses += [closed.get(path, headers=_bearer(key + "x")) for path in CLOSED]
    assert [response.url for response in responses if secret in response.text or secret in str(response.headers)] == []


def test_an_unreadable_model_does_not_keep_a_revoked_key_alive(shelf: Shelf, closed: httpx.Client) -> None:
    key, kept = _key(shelf.database, "shop"), _key(shelf.database, "kept")
    assert closed.get("/v1/predictions/m/1", headers=_bearer(key)).status_code == 200
    with shelf.database.connect() as connection:
        connection.execute("update prescore.versions set key_columns = '[{\"name\": 7}]' where model = 'other'")
        api_keys.revoke(Catalog(connection), "shop")
    deadline = time.monotonic() + 10
    while closed.get("/v1/predictions/m/1", headers=_bearer(key)).status_code != 401:
        assert time.monotonic() < deadline
    assert closed.get("/v1/predictions/m/1", headers=_bearer(kept)).status_code == 200


def test_only_what_may_be_a_key_makes_the_server_read_the_keys(
    closed: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them takes up to a quarter of a second, which a client with a malformed header need not wait for."""
    reads = []

    async def read(_: Poller) -> None:
        reads.append(1)

    monkeypatch.setattr(Poller, "_read_keys_soon", read)
    for header in ("Bearer x", "Basic !", "Digest x", "Bearer psk_0123456789ab_tooshort"):
        assert closed.get("/v1/models", headers={"Authorization": header}).status_code == 401
    assert reads == []
    assert closed.get("/v1/models", headers=_bearer(f"psk_0123456789ab_{'a' * 43}")).status_code == 401
    assert reads == [1]
