"""Content negotiation: types and codings of bodies, in both directions, and pages of other origins."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpx
import pyarrow as pa
import pytest

from fix_api import Shelf, fresh_database, serving
from prescore_api.http import compression
from prescore_api.http.app import ServerSettings, build

ARROW = "application/vnd.apache.arrow.stream"
LOOKUP = "/v1/predictions/m/lookup"
KEYS = {"keys": [{"k": k} for k in range(100)]}
APP = "https://app.example.org"


@pytest.fixture(scope="module")
def served(server: str) -> Iterator[httpx.Client]:
    settings = ServerSettings(open_to_all=True, origins=(APP, "http://localhost:3000"))
    with fresh_database(server) as database, serving(build(database, settings)) as client:
        shelf = Shelf(database)
        shelf.publish("m", {"k": "bigint"}, [(k, k / 4) for k in range(100)])
        shelf.publish("texts", {"a": "text", "b": "text"}, [("x:y", 'q"', 0.5)])
        yield client


def _code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/*;q=0.2", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        (f"{ARROW}, */*", ARROW),
        (f"{ARROW};q=0.5, */*", "application/json"),
        (f"application/json;q=0.1, {ARROW};q=0.2", ARROW),
        (f"application/json;q=0, {ARROW};q=0.1", ARROW),
        ("application/json;charset=utf-8", "application/json"),
        ("APPLICATION/JSON", "application/json"),
        ("", "application/json"),
    ],
)
def test_the_client_chooses_among_the_media_types(served: httpx.Client, accept: str, content_type: str) -> None:
    for response in (
        served.get("/v1/predictions/m/1", headers={"Accept": accept}),
        served.post(LOOKUP, json=KEYS, headers={"Accept": accept}),
    ):
        assert (response.status_code, response.headers["content-type"]) == (200, content_type)


@pytest.mark.parametrize("accept", ["text/csv", "application/xml, text/*", "*/*;q=0", "application/json;q=0", "json"])
def test_an_accept_header_that_cannot_be_satisfied_is_406_and_names_what_can(served: httpx.Client, accept: str) -> None:
    for response in (
        served.get("/v1/predictions/m/1", headers={"Accept": accept}),
        served.get("/v1/predictions/m?k=1", headers={"Accept": accept}),
        served.post(LOOKUP, json=KEYS, headers={"Accept": accept}),
    ):
        assert _code(response) == (406, "not_acceptable")
        assert f"It returns application/json, {ARROW}." in response.json()["error"]["message"]
    for path in ("/v1/models", "/v1/models/m"):
        response = served.get(path, headers={"Accept": accept})
        assert _code(response) == (406, "not_acceptable")
        assert "It returns application/json." in response.json()["error"]["message"]
    # Probes and scrapers need an answer more than they need a type.
    assert served.get("/health/ready", headers={"Accept": accept}).status_code == 200
    assert served.get("/metrics", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json; charset=UTF-8", "application/problem+json", "application/x-www-form-urlencoded",
     "text/plain", "application/json; charset=\"utf-8\""],
)  # fmt: skip
def test_json_is_read_whatever_clients_call_it(served: httpx.Client, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = served.post(LOOKUP, content=json.dumps(KEYS), headers=headers)
    assert len(response.json()["answers"]) == 100


@pytest.mark.parametrize(
    "content_type",
    ["text/csv", "application/xml", "multipart/form-data; boundary=x", "application/vnd.apache.arrow.file",
     "application/json; charset=utf-16", "application/octet-stream", "\xff"],
)  # fmt: skip
def test_another_type_of_body_is_415(served: httpx.Client, content_type: str) -> None:
    headers = [(b"Content-Type", content_type.encode("latin-1"))]
    response = served.post(LOOKUP, content=json.dumps(KEYS), headers=headers)
    assert _code(response) == (415, "unsupported_media_type")
    assert f"Send application/json in UTF-8, or {ARROW}." in response.json()["error"]["message"]


@pytest.mark.parametrize("coding", ["gzip", "br, gzip"])
def test_a_compressed_body_is_415(served: httpx.Client, coding: str) -> None:
    body = gzip.compress(json.dumps(KEYS).encode())
    response = served.post(LOOKUP, content=body, headers={"Content-Encoding": coding})
    assert _code(response) == (415, "unsupported_media_type")
    assert "Send it without compression." in response.json()["error"]["message"]
    plain = served.post(LOOKUP, content=json.dumps(KEYS), headers={"Content-Encoding": "identity"})
    assert plain.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        '{"keys":[{"k":1,"k":2}]}',
        '{"keys":[{"k":1}],"keys":[{"k":2}]}',
        '{"keys":[{"k":1},{"k":2,"k":2}]}',
        '{"keys":[{"k":1,"\\u006b":2}]}',
        '{"keys":[{"k":"1","k":":"}]}',
        '{"keys":[{"k":"a\\"b","k":":"}]}',
        '{"keys":[{"k":{"x":1,"x":2}}]}',
    ],
)
def test_a_name_that_stands_twice_in_an_object_is_refused(served: httpx.Client, body: str) -> None:
    response = served.post(LOOKUP, content=body)
    assert _code(response) == (422, "request_invalid")
    assert "has a name more than once" in response.json()["error"]["message"]


def test_names_and_values_may_contain_anything(served: httpx.Client) -> None:
    for key in ({"a": "x:y", "b": 'q"'}, {"a": "::", "b": "\\"}, {"a": '"a":"b"', "b": "b"}):
        answer = served.post("/v1/predictions/texts/lookup", json={"keys": [key]}).json()["answers"][0]
        assert answer["found"] is (key == {"a": "x:y", "b": 'q"'})
    # A value of a wrong type is reported as such, not as a duplicate.
    for value in ([1], {"x": ":"}, None, True):
        response = served.post(LOOKUP, content=json.dumps({"keys": [{"k": value}]}))
        assert _code(response) == (422, "key_invalid")
    for body in ('{"keys":[":"]}', '{"keys":[":",7]}', '{"keys":[{"k":":' + "1" * 5000 + '"}]}'):
        assert _code(served.post(LOOKUP, content=body)) == (422, "key_invalid")
    nested = '{"keys":[{"k":":","x":' + "[" * 1000 + "]" * 1000 + "}]}"
    assert served.post(LOOKUP, content=nested).status_code == 422


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip", "gzip"),
        ("*", "zstd"),
        ("br, identity", None),
        ("identity, gzip;q=0.5", None),
        ("gzip;q=0", None),
        ("", None),
    ],
)
def test_large_answers_are_compressed_as_the_client_accepts(
    served: httpx.Client, accepted: str, coding: str | None
) -> None:
    plain = served.post(LOOKUP, json=KEYS, headers={"Accept-Encoding": "identity"})
    with served.stream("POST", LOOKUP, json=KEYS, headers={"Accept-Encoding": accepted}) as response:
        sent = b"".join(response.iter_raw())
    assert response.headers.get("content-encoding") == coding
    assert int(response.headers["content-length"]) == len(sent)
    assert "Accept-Encoding" in response.headers["vary"]
    received = pa.CompressedInputStream(pa.BufferReader(sent), coding).read() if coding else sent
    answers, expected = json.loads(received)["answers"], plain.json()["answers"]
    assert [answer["prediction"] for answer in answers] == [answer["prediction"] for answer in expected]
    assert coding is None or len(sent) < len(plain.content) / 5


def test_small_answers_stay_uncompressed(served: httpx.Client) -> None:
    response = served.get("/v1/predictions/m/1", headers={"Accept-Encoding": "gzip, zstd"})
    assert len(response.content) < compression.SMALLEST
    assert "content-encoding" not in response.headers


def test_very_large_answers_pages_and_arrow_are_compressed(served: httpx.Client) -> None:
    many = {"keys": [{"k": k % 100} for k in range(10_000)]}
    answers = served.post(LOOKUP, json=many, headers={"Accept-Encoding": "gzip"})
    assert (answers.headers["content-encoding"], len(answers.json()["answers"])) == ("gzip", 10_000)
    arrow = served.post(LOOKUP, json=many, headers={"Accept-Encoding": "gzip", "Accept": ARROW})
    assert arrow.headers["content-encoding"] == "gzip"
    assert pa.ipc.open_stream(arrow.content).read_all().num_rows == 10_000
    page = served.get("/docs", headers={"Accept-Encoding": "gzip"})
    assert (page.headers["content-encoding"], "<h1>" in page.text) == ("gzip", True)
    head = served.head("/docs", headers={"Accept-Encoding": "gzip"})
    assert (head.headers["content-encoding"], head.content) == ("gzip", b"")


def test_a_page_of_an_allowed_origin_may_read_answers_and_errors(served: httpx.Client) -> None:
    for path in ("/v1/predictions/m/1", "/v1/predictions/m/x", "/v1/none"):
        response = served.get(path, headers={"Origin": APP})
        assert response.headers["access-control-allow-origin"] == APP
        assert "ETag" in response.headers["access-control-expose-headers"]
        assert "Origin" in response.headers.get_list("vary", split_commas=True)
        other = served.get(path, headers={"Origin": "https://evil.example.org"})
        assert "access-control-allow-origin" not in other.headers
        assert "Origin" in other.headers.get_list("vary", split_commas=True)


def test_a_preflight_needs_no_key(server: str) -> None:
    """A browser sends it without one, and then the request itself with the key."""
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, sentry-trace",
    }
    with fresh_database(server) as database:
        with serving(build(database, ServerSettings(origins=(APP,)))) as client:
            response = client.options(LOOKUP, headers={"Origin": APP, **preflight})
            assert (response.status_code, response.content) == (204, b"")
            assert "content-length" not in response.headers
            assert response.headers["access-control-allow-origin"] == APP
            assert "POST" in response.headers["access-control-allow-methods"]
            varies = response.headers.get_list("vary", split_commas=True)
            assert (varies.count("Origin"), len(set(varies))) == (1, len(varies))
            allowed = response.headers["access-control-allow-headers"]
            assert allowed == "authorization, sentry-trace"
            other = client.options(LOOKUP, headers={"Origin": "https://evil.example.org", **preflight})
            assert "access-control-allow-origin" not in other.headers
            refused = client.post(LOOKUP, json=KEYS, headers={"Origin": APP})
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, APP)
            assert client.options(LOOKUP, headers={"Origin": APP}).status_code == 401
        with serving(build(database, ServerSettings(origins=("*",)))) as client:
            response = client.get("/health/live", headers={"Origin": "null"})
            assert response.headers["access-control-allow-origin"] == "*"
        with serving(build(database)) as client:
            response = client.options(LOOKUP, headers={"Origin": APP, **preflight})
            assert response.status_code == 401
            assert "access-control-allow-origin" not in response.headers
