"""The page at /docs: every endpoint of the OpenAPI document, as HTML that loads nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote
from typing import Any
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode

from prescore_api.pages import status


@dataclass(frozen=True)
class Parameter:
    """A parameter: `place` is `path` or `query`, `kind` its JSON type."""

    name: str
    place: str
    kind: str
    description: str


@dataclass(frozen=True)
class Endpoint:
    """An endpoint: its parameters, its responses by status, and an example for curl. `open` needs no API key."""

    name: str
    method: str
    path: str
    summary: str
    tag: str
    open: bool
    parameters: list[Parameter]
    responses: list[tuple[str, str]]
    example: str


def html(openapi: dict[str, Any], base: str) -> str:
    """Return the page. `base` is the server's URL as the browser sees it."""
    endpoints = sorted(_endpoints(openapi, base.rstrip("/")), key=_rank)
    version = openapi["info"]["version"]
    return status.render("api_docs.html", endpoints=endpoints, version=version)


def _rank(endpoint: Endpoint) -> tuple[bool, bool]:
    """Sort predictions to the top, and the endpoints for load balancers and monitoring to the bottom."""
    return endpoint.open, endpoint.tag != "predictions"


def _endpoints(openapi: dict[str, Any], base: str) -> Iterator[Endpoint]:
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            yield _endpoint(method, path, operation, base)


def _endpoint(method: str, path: str, operation: dict[str, Any], base: str) -> Endpoint:
    # An operation that needs no API key overrides the document's security requirements with none.
    is_open = operation.get("security") == []
    responses = []
    for code, response in sorted(operation["responses"].items()):
        responses.append((code, response["description"]))
    return Endpoint(
        name=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("description", operation["summary"]),
        tag=operation["tags"][0],
        open=is_open,
        parameters=[_parameter(parameter) for parameter in operation.get("parameters", [])],
        responses=responses,
        example=_example(base + path, operation, needs_key=not is_open),
    )


def _parameter(parameter: dict[str, Any]) -> Parameter:
    return Parameter(
        name=parameter["name"],
        place=parameter["in"],
        kind=parameter["schema"].get("type", "string"),
        description=parameter.get("description", ""),
    )


def _example(url: str, operation: dict[str, Any], *, needs_key: bool) -> str:
    """Return a curl command. Of the query parameters, it has the key, which is an object; all others are optional."""
    query = None
    for parameter in operation.get("parameters", []):
        value = _example_value(parameter)
        if parameter["in"] == "path":
            placeholder = f"{{{parameter['name']}}}"
            url = url.replace(placeholder, percent_encode(str(value), safe=""))
        elif isinstance(value, dict):
            query = value
    words = ["curl"]
    if needs_key:
        words.append('-H "Authorization: Bearer $API_KEY"')
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        words.append(f"--json {quote(json.dumps(content['example']))}")
    words.append(quote(f"{url}?{urlencode(query)}" if query else url))
    return " \\\n  ".join(words)


def _example_value(parameter: dict[str, Any]) -> Any:
    if parameter.get("example"):
        return parameter["example"]
    examples = parameter["schema"].get("examples", [])
    return examples[0] if examples else None
