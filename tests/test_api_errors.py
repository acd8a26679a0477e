"""Error responses: one shape, the right status, and no details of the server's environment."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx
import orjson
import pytest

from fix_api import OPEN, Api, serving
from prescore import errors
from prescore.catalog.database import Database
from prescore_api.http.dispatcher import Dispatcher
from prescore_api.http.errors import STATUSES
from prescore_api.http.request import Request
from prescore_api.http.response import Response
from prescore_api.http.routes import ROUTES, Route
from prescore_api.service.service import Service

SECRET = "the password is swordfish"


async def crash(_: Request) -> Response:
    raise ValueError(SECRET)


async def fail(request: Request) -> Response:
    raise getattr(errors, request.path_values[0])(SECRET)


@pytest.fixture(scope="module")
def broken(server: str) -> Iterator[httpx.Client]:
    """A client of an app with endpoints that fail in ways that ours should not."""
    routes = (*ROUTES, Route("GET", "/crash", "crash", crash), Route("GET", "/fail/{error}", "fail", fail))
    with serving(Dispatcher(Service(Database(server), OPEN), routes=routes)) as client:
        yield client


def _error(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["message"]
    assert "Traceback" not in response.text
    return response.status_code, body["error"]["code"]


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/models/", "/v1/predictions", "/v1/predictions/", "/v3", "/v1/models/a/b", "/%C3%A4", "/docs/"]
)
def test_an_unknown_path_is_404(api: Api, path: str) -> None:
    assert _error(api.client.get(path)) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/m", "GET, HEAD"),
        ("PUT", "/v1/predictions/m/1", "GET, HEAD"),
        ("POST", "/v1/predictions/m", "GET, HEAD"),
        ("POST", "/v1/predictions/m/other", "GET, HEAD"),
        ("PUT", "/v1/predictions/m/lookup", "GET, HEAD, POST"),
        ("POST", "/health/live", "GET, HEAD"),
        ("OPTIONS", "/v1/models", "GET, HEAD"),
        ("OPTIONS", "/v1/predictions/m/lookup", "GET, HEAD, POST"),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(api: Api, method: str, path: str, allowed: str) -> None:
    response = api.client.request(method, path)
    assert _error(response) == (405, "method_not_allowed")
    assert response.headers["allow"] == allowed


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
def test_a_malformed_body_is_422(api: Api, body: bytes) -> None:
    m = api.publish({"k": "text"}, [])
    assert _error(api.client.post(f"/v1/predictions/{m}/lookup", content=body)) == (422, "request_invalid")


def test_a_message_about_a_body_is_short_and_in_plain_words(api: Api) -> None:
    m = api.publish({"k": "text"}, [])
    bodies = {
        b"": "The body is not valid JSON: it is empty.",
        b'{"keys": [], "version": 3, "output": ["score"]}': "It takes keys. Parameters belong in the URL: ?output=NAME",
        b'{"keys": [], "prefer": "live"}': "Unknown in the body: prefer. It takes keys.",
        gzip.compress(b"{}"): "The body is not valid JSON: it is not UTF-8 at byte 1.",
        orjson.dumps({"keys": [{f"x{i}": i for i in range(100_000)}]}): "x8, x9, and 99,990 more; the key column is k.",
        orjson.dumps(
            {"keys": [{"k": "a", "": 1, "b\n": 1, "c" * 1000: 1}]}
        ): f"has no column '', 'b\\n', '{'c' * 60}'; ",
        orjson.dumps({"keys": [{"k": "a"}] * 10_001}): "The request has 10,001 keys; the limit is 10,000",
    }
    for body, words in bodies.items():
        response = api.client.post(f"/v1/predictions/{m}/lookup", content=body)
        message = response.json()["error"]["message"]
        assert words in message
        assert len(message) < 500


def test_a_bug_reveals_nothing_but_the_request_id(broken: httpx.Client) -> None:
    response = broken.get("/crash", headers={"X-Request-Id": "mine"})
    assert _error(response) == (500, "internal")
    assert response.json()["error"]["message"] == "Internal error in prescore. See the server log, request id mine."
    assert SECRET not in response.text
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("name", "status", "code", "shows_message"),
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
def test_each_error_has_its_status(
    broken: httpx.Client, name: str, status: int, code: str, shows_message: bool
) -> None:
    response = broken.get(f"/fail/{name}")
    assert _error(response) == (status, code)
    assert (SECRET in response.text) is shows_message
    assert ("retry-after" in response.headers) is (status == 503)


def test_the_table_of_statuses_covers_every_error() -> None:
    assert STATUSES[-1][0] is errors.PrescoreError
