"""What the API tells of models, of itself and of its health."""

from __future__ import annotations

import html
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from fix_api import Shelf
from prescore.catalog.database import Connection
from prescore_api.service.lookup import MAX_KEYS

PATHS = {
    "/v1/models": ["get"],
    "/v1/models/{model}": ["get"],
    "/v1/predictions/{model}": ["get"],
    "/v1/predictions/{model}/{key}": ["get"],
    "/v1/predictions/{model}/lookup": ["post"],
    "/health/live": ["get"],
    "/health/ready": ["get"],
    "/metrics": ["get"],
}


def test_models_are_listed_by_name_with_their_clocks(shelf: Shelf, client: httpx.Client) -> None:
    assert client.get("/v1/models").json() == {"models": []}
    old = datetime.now(UTC) - timedelta(days=2)
    shelf.publish("zebra", {"k": "bigint"}, [(1, 0.5)], description="Stripes.")
    shelf.publish("ape", {"k": "bigint"}, [], data_as_of=old, freshness={"max_age": "1d"})
    ape, zebra = client.get("/v1/models").json()["models"]
    assert (ape["model"], ape["stale"], ape["max_age_seconds"], ape["rows"]) == ("ape", True, 86400, 0)
    assert ape["data_as_of"] == old.isoformat()
    assert (zebra["model"], zebra["stale"], zebra["max_age_seconds"], zebra["rows"]) == ("zebra", False, None, 1)
    assert (zebra["description"], zebra["version"], zebra["held"]) == ("Stripes.", 1, False)


def test_a_model_tells_its_columns(shelf: Shelf, client: httpx.Client) -> None:
    comments = {"day": "local day", "dest": "airport"}
    shelf.publish("f", {"carrier": "text", "day": "date"}, [], {"score": "real"}, {"dest": "text"}, comments=comments)
    told = client.get("/v1/models/f").json()
    assert told["key"] == [
        {"name": "carrier", "type": "text", "comment": ""},
        {"name": "day", "type": "date", "comment": "local day"},
    ]
    assert told["outputs"] == [
        {"name": "score", "type": "real", "comment": "the score", "role": "output"},
        {"name": "dest", "type": "text", "comment": "airport", "role": "passthrough"},
    ]
    assert set(told) - {"key", "outputs", "versions"} == set(client.get("/v1/models").json()["models"][0])


def test_models_take_no_parameters_and_health_takes_what_comes(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [])
    for path in ("/v1/models?x=1", "/v1/models/m?verbose=yes", "/metrics?x=1"):
        reply = client.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "request_invalid")
    for path in ("/health/live?x=1", "/health/ready?x=1"):
        assert client.get(path).status_code == 200


def test_a_rolled_back_model_is_told_as_held(shelf: Shelf, client: httpx.Client) -> None:
    for _ in range(2):
        shelf.publish("m", {"k": "bigint"}, [])
    assert [client.get("/v1/models/m").json()[n] for n in ("version", "held")] == [2, False]
    shelf.rollback("m")
    assert [client.get("/v1/models/m").json()[n] for n in ("version", "held")] == [1, True]


def test_a_model_that_was_never_published_is_unknown(connection: Connection, client: httpx.Client) -> None:
    connection.execute("insert into prescore.models (model) values ('draft')")
    for path in ("/v1/models/draft", "/v1/predictions/draft/1", "/v1/models/none", "/v1/predictions/none/1"):
        reply = client.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    for path in ("/v1/models/m%00", "/v1/predictions/m%00/1", "/v1/predictions/m%00?k=1"):
        reply = client.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    reply = client.post("/v1/predictions/none/lookup", json={"keys": []})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_a_new_model_is_served_at_once(shelf: Shelf, client: httpx.Client) -> None:
    assert client.get("/v1/predictions/m/1").status_code == 404
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    assert client.get("/v1/predictions/m/1").json()["found"] is True


def test_a_catalog_made_anew_is_followed(shelf: Shelf, connection: Connection, client: httpx.Client) -> None:
    """Version 1 of another life has other keys; what is remembered of the first is not trusted for long."""
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    assert client.get("/v1/predictions/m/1").status_code == 200
    connection.execute(
        "truncate prescore.models, prescore.publications, prescore.versions, prescore.chunks, prescore.rejects;"
        "drop view predictions.m; drop table prescore_versions.m"
    )
    shelf.publish("m", {"name": "text"}, [("a/b", 0.25)])
    until = time.monotonic() + 10
    while (reply := client.get("/v1/predictions/m/a/b")).status_code != 200:
        assert time.monotonic() < until
    assert reply.json()["prediction"] == {"score": 0.25}


def test_healthy(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert (client.get("/health/ready").status_code, client.get("/health/ready").json()) == (200, {"status": "ready"})


def test_not_ready_without_a_catalog(shelf: Shelf, connection: Connection, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    connection.execute("drop schema predictions cascade")
    for path in ("/health/ready", "/v1/predictions/m/1"):
        deadline = time.monotonic() + 10
        # Readiness is as of a second ago.
        while (reply := client.get(path)).status_code == 200:
            assert time.monotonic() < deadline
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "database_refused")
        assert "predictions" not in reply.text
    assert client.get("/health/live").status_code == 200


def test_openapi_lists_every_path(client: httpx.Client) -> None:
    page = client.get("/openapi.json").json()
    assert {path: sorted(operations) for path, operations in page["paths"].items()} == PATHS
    for reference in _references(page):
        assert reference.removeprefix("#/components/schemas/") in page["components"]["schemas"]


def test_docs_are_the_same_for_people_and_load_nothing(client: httpx.Client) -> None:
    reply = client.get("/docs")
    assert reply.status_code == 200
    text = html.unescape(reply.text)
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}</a>" in text
    assert f"{client.base_url}/v1/predictions/churn/42" in text
    assert not re.search("<script|<link[^>]*href=.http|src=", reply.text)
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_openapi_tells_bounds_and_errors(client: httpx.Client) -> None:
    page = client.get("/openapi.json").json()
    paths = page["paths"]
    bulk = paths["/v1/predictions/{model}/lookup"]["post"]
    body = bulk["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Keys"}
    assert page["components"]["schemas"]["Keys"]["properties"]["keys"]["maxItems"] == MAX_KEYS
    for path, operations in paths.items():
        for operation in operations.values():
            assert operation["operationId"]
            needed = {"/health/live": {"200"}, "/health/ready": {"200", "503"}}.get(path, {"200", "401", "503"})
            assert needed <= set(operation["responses"])
            assert "HTTPValidationError" not in json.dumps(operation)


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for child in node for reference in _references(child)]
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [reference for child in node.values() for reference in _references(child)]
    return []
