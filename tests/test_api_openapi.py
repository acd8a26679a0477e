"""The OpenAPI document compared with the route table, and its statuses with those that the server returns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fix_api import Shelf, fresh_database, serving
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore_api.http import openapi
from prescore_api.http.app import ServerSettings, build
from prescore_api.http.routes import ROUTES, Route
from prescore_api.service.row_pages import Cursor
from prescore_api.tables.database import Bounds

DOCUMENTED = [route for route in ROUTES if route.documented]
LONG = {"X-Long": "a" * 40_000}
GONE = Cursor(7, "00000000-0000-0000-0000-000000000000", 1, ["1"])
STORE = Path("none")
SHORT = Bounds(connection_seconds=0.3, statement_seconds=0.2, connections=2)


def _path(route: Route) -> str:
    return route.path.replace("...", "")


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = openapi.document()["paths"][_path(route)][route.method.lower()]
    return operation


@pytest.fixture(scope="module")
def locked(server: str) -> Iterator[tuple[httpx.Client, str, str]]:
    """A server with authentication, a key for all models, and one for another model than m."""
    with fresh_database(server) as database, serving(build(database, ServerSettings(store=STORE))) as client:
        Shelf(database).publish("m", {"k": "bigint"}, [(1, 0.5)])
        with database.connect() as connection:
            catalog = Catalog(connection)
            full = api_keys.create(catalog, "full", None, None)
            limited = api_keys.create(catalog, "limited", ["other"], None)
        yield client, full, limited


@pytest.fixture(scope="module")
def away() -> Iterator[httpx.Client]:
    """A server with authentication whose database cannot be reached."""
    settings = ServerSettings(bounds=SHORT, store=STORE)
    with serving(build(Database("postgresql://postgres@127.0.0.1:1/none"), settings)) as client:
        yield client


def _send(client: httpx.Client, route: Route, key: str = "", **changes: Any) -> int:
    """Send a valid request to a route's endpoint, with changes, and return the status."""
    path = _path(route).replace("{model}", changes.get("model", "m")).replace("{key}", "1")
    query = changes.get("query", "?k=1" if route.name == "predict_by_name" else "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    bodies = {"predict_many": {"keys": [{"k": 1}]}, "score": {"rows": [{"key": {"k": 1}}]}}
    response = client.request(
        route.method, path + query, json=bodies.get(route.name), headers=headers | changes.get("headers", {})
    )
    return response.status_code


def test_the_document_has_every_documented_route_and_no_other() -> None:
    paths = openapi.document()["paths"]
    operations = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert operations == {(route.method, _path(route)) for route in DOCUMENTED}
    undocumented = {route.path for route in ROUTES if not route.documented}
    # The Open Inference Protocol has a document of its own.
    assert {path for path in undocumented if not path.startswith("/v2")} == {"/", "/docs", "/openapi.json"}


@pytest.mark.parametrize("route", DOCUMENTED, ids=lambda route: route.name)
def test_an_operation_says_what_its_route_says(route: Route) -> None:
    operation = _operation(route)
    assert operation["operationId"] == route.name
    assert (operation.get("security") == []) is route.open
    in_path = [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"]
    assert [f"{{{name}}}" for name in in_path] == [part for part in _path(route).split("/") if part.startswith("{")]


def test_open_metrics_are_documented_as_open() -> None:
    assert openapi.document(open_metrics=True)["paths"]["/metrics"]["get"]["security"] == []
    assert "security" not in openapi.document()["paths"]["/metrics"]["get"]


@pytest.mark.parametrize("route", DOCUMENTED, ids=lambda route: route.name)
def test_the_documented_statuses_are_those_of_the_server(
    locked: tuple[httpx.Client, str, str], away: httpx.Client, route: Route
) -> None:
    client, full, limited = locked
    statuses = {
        _send(client, route, full),
        _send(client, route),
        _send(client, route, limited),
        _send(client, route, full, model="none") if "{model}" in route.path else 200,
        _send(client, route, full, query="?unknown=1"),
        _send(client, route, full, headers=LONG),
        _send(client, route, full, headers={"If-None-Match": "*"}),
        _send(client, route, full, headers={"Accept": "image/png"}),
        _send(client, route, full, query=f"?after={GONE.serialize()}") if route.name == "read_rows" else 200,
        _send(client, route, full, headers={"Host": "a, b"}),
        _send(client, route, full, headers={"Content-Type": "image/png"}),
        _send(away, route, full),
    }
    documented = {int(status) for status in _operation(route)["responses"]}
    assert statuses == documented
