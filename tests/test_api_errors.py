"""Errors over HTTP: one shape, the right status, and nothing of our insides."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from fix_api import OPEN, Api, serving
from prescore import errors
from prescore.catalog.database import Database
from prescore_api.http.app import build
from prescore_api.http.errors import STATUSES

SECRET = "the password is swordfish"


@pytest.fixture(scope="module")
def broken(server: str) -> Iterator[httpx.Client]:
    """A client of an app with endpoints that fail in ways ours should not."""
    front = build(Database(server), OPEN)
    app: FastAPI = front.pages

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError(SECRET)

    @app.get("/number/{number}")
    async def number(number: int) -> int:
        return number

    @app.get("/ours/{name}")
    async def ours(name: str) -> None:
        raise getattr(errors, name)(SECRET)

    with serving(front) as client:
        yield client


def _error(reply: httpx.Response) -> tuple[int, str]:
    body = reply.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["message"]
    assert "Traceback" not in reply.text
    return reply.status_code, body["error"]["code"]


@pytest.mark.parametrize("path", ["/v1", "/v1/models/", "/v1/predictions", "/v2", "/v1/models/a/b", "/%C3%A4"])
def test_unknown_paths(api: Api, path: str) -> None:
    assert _error(api.client.get(path)) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models/m"),
        ("PUT", "/v1/predictions/m/1"),
        ("POST", "/v1/predictions/m/other"),
        ("POST", "/health/live"),
    ],
)
def test_wrong_methods(api: Api, method: str, path: str) -> None:
    reply = api.client.request(method, path)
    assert _error(reply) == (405, "method_not_allowed")
    assert reply.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"keys": [NaN]}',
        b'{"keys": ["\\ud800"]}',
        b'{"keys": [], "version": 3}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_bodies_that_are_no_request(api: Api, body: bytes) -> None:
    m = api.publish({"k": "text"}, [])
    assert _error(api.client.post(f"/v1/predictions/{m}/lookup", content=body)) == (422, "request_invalid")


def test_the_frameworks_own_errors_have_our_shape(broken: httpx.Client) -> None:
    reply = broken.get("/number/one")
    assert _error(reply) == (422, "request_invalid")
    assert "path.number" in reply.json()["error"]["message"]


def test_a_bug_of_ours_tells_nothing(broken: httpx.Client) -> None:
    reply = broken.get("/broken")
    assert _error(reply) == (500, "internal")
    assert SECRET not in reply.text
    assert reply.headers["connection"] == "close"  # uvicorn closes it


@pytest.mark.parametrize(
    ("name", "status", "code", "told"),
    [
        ("NotFound", 404, "not_found", True),
        ("KeyInvalid", 422, "key_invalid", True),
        ("Mistake", 422, "mistake", True),
        ("DatabaseUnavailable", 503, "database_unavailable", False),
        ("DatabaseRefused", 503, "database_refused", False),
        ("Transient", 503, "transient", False),
        ("LeaseLost", 500, "lease_lost", False),
    ],
)
def test_the_table_of_statuses(broken: httpx.Client, name: str, status: int, code: str, told: bool) -> None:
    reply = broken.get(f"/ours/{name}")
    assert _error(reply) == (status, code)
    assert (SECRET in reply.text) is told
    assert ("retry-after" in reply.headers) is (status == 503)


def test_every_error_of_ours_has_a_status() -> None:
    assert STATUSES[-1][0] is errors.PrescoreError
