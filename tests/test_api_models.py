"""The endpoints for models and health, the OpenAPI document, and the page rendered from it."""

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
    "/v1/predictions/{model}/rows": ["get"],
    "/v1/predictions/{model}/lookup": ["post"],
    "/v1/predictions/{model}/score": ["post"],
    "/health/live": ["get"],
    "/health/ready": ["get"],
    "/metrics": ["get"],
}


def test_models_are_listed_by_name_with_their_ages(shelf: Shelf, client: httpx.Client) -> None:
    assert client.get("/v1/models").json() == {"models": []}
    old = datetime.now(UTC) - timedelta(days=2)
    shelf.publish("zebra", {"k": "bigint"}, [(1, 0.5)], description="Stripes.")
    shelf.publish("ape", {"k": "bigint"}, [], data_as_of=old, freshness={"max_age": "1d"})
    ape, zebra = client.get("/v1/models").json()["models"]
    assert (ape["model"], ape["stale"], ape["max_age_seconds"], ape["rows"]) == ("ape", True, 86400, 0)
    assert ape["data_as_of"] == old.isoformat()
    assert (zebra["model"], zebra["stale"], zebra["max_age_seconds"], zebra["rows"]) == ("zebra", False, None, 1)
    assert (zebra["description"], zebra["version"], zebra["held"]) == ("Stripes.", 1, False)


def test_a_model_is_described_with_its_columns(shelf: Shelf, client: httpx.Client) -> None:
    comments = {"day": "local day", "dest": "airport"}
    shelf.publish("f", {"carrier": "text", "day": "date"}, [], {"score": "real"}, {"dest": "text"}, comments=comments)
    description = client.get("/v1/models/f").json()
    assert description["key"] == [
        {"name": "carrier", "type": "text", "comment": ""},
        {"name": "day", "type": "date", "comment": "local day"},
    ]
    assert description["outputs"] == [
        {"name": "score", "type": "real", "comment": "the score", "role": "output"},
        {"name": "dest", "type": "text", "comment": "airport", "role": "passthrough"},
    ]
    assert set(description) - {"key", "outputs", "live", "versions"} == set(
        client.get("/v1/models").json()["models"][0]
    )


def test_models_refuse_parameters_and_health_ignores_them(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [])
    for path in ("/v1/models?x=1", "/v1/models/m?verbose=yes", "/metrics?x=1"):
        response = client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "request_invalid")
    for path in ("/health/live?x=1", "/health/ready?x=1"):
        assert client.get(path).status_code == 200


def test_a_rolled_back_model_is_held(shelf: Shelf, client: httpx.Client) -> None:
    for _ in range(2):
        shelf.publish("m", {"k": "bigint"}, [])
    assert [client.get("/v1/models/m").json()[n] for n in ("version", "held")] == [2, False]
    shelf.rollback("m")
    assert [client.get("/v1/models/m").json()[n] for n in ("version", "held")] == [1, True]


def test_a_model_that_was_never_published_is_unknown(connection: Connection, client: httpx.Client) -> None:
    connection.execute("insert into prescore.models (model) values ('draft')")
    for path in ("/v1/models/draft", "/v1/predictions/draft/1", "/v1/models/none", "/v1/predictions/none/1"):
        response = client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    for path in ("/v1/models/m%00", "/v1/predictions/m%00/1", "/v1/predictions/m%00?k=1"):
        response = client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    response = client.post("/v1/predictions/none/lookup", json={"keys": []})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_a_new_model_is_served_at_once(shelf: Shelf, client: httpx.Client) -> None:
    assert client.get("/v1/predictions/m/1").status_code == 404
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    assert client.get("/v1/predictions/m/1").json()["found"] is True


def test_a_catalog_that_is_created_again_is_followed(
    shelf: Shelf, connection: Connection, client: httpx.Client
) -> None:
    """Version 1 of the new catalog has other keys; what was cached of the first one is not trusted for long."""
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    assert client.get("/v1/predictions/m/1").status_code == 200
    connection.execute(
        "truncate prescore.models, prescore.publications, prescore.versions, prescore.chunks, prescore.rejects, "
        "prescore.profiles;"
        "drop view predictions.m; drop table prescore_versions.m"
    )
    shelf.publish("m", {"name": "text"}, [("a/b", 0.25)])
    until = time.monotonic() + 10
    while (response := client.get("/v1/predictions/m/a/b")).status_code != 200:
        assert time.monotonic() < until
    assert response.json()["prediction"] == {"score": 0.25}


def test_a_server_with_a_catalog_is_live_and_ready(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert (client.get("/health/ready").status_code, client.get("/health/ready").json()) == (200, {"status": "ready"})


def test_a_server_without_a_catalog_is_not_ready(shelf: Shelf, connection: Connection, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    connection.execute("drop schema predictions cascade")
    deadline = time.monotonic() + 10
    # Readiness may be a second old.
    while (response := client.get("/health/ready")).status_code == 200:
        assert time.monotonic() < deadline
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_refused")
    assert "predictions" not in response.text
    assert client.get("/health/live").status_code == 200
    # Lookups do not read the view.
    assert client.get("/v1/predictions/m/1").json()["found"] is True


def test_openapi_lists_every_path(client: httpx.Client) -> None:
    page = client.get("/openapi.json").json()
    assert {path: sorted(operations) for path, operations in page["paths"].items()} == PATHS
    for reference in _references(page):
        assert reference.removeprefix("#/components/schemas/") in page["components"]["schemas"]


def test_the_docs_page_lists_every_endpoint_and_loads_nothing(client: httpx.Client) -> None:
    response = client.get("/docs")
    assert response.status_code == 200
    text = html.unescape(response.text)
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}</a>" in text
    assert f"{client.base_url}/v1/predictions/churn/42" in text
    assert not re.search("<script|<link[^>]*href=.http|src=", response.text)
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_openapi_documents_limits_and_errors(client: httpx.Client) -> None:
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
