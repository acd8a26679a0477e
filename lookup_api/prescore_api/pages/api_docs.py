"""The page at /docs: every endpoint as OpenAPI describes it, as plain HTML that needs nothing from anywhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote
from typing import Any
from urllib.parse import quote as encoded
from urllib.parse import urlencode

from prescore_api.pages import status


@dataclass(frozen=True)
class Parameter:
    """What an endpoint takes, where, and of which JSON type."""

    name: str
    place: str
    kind: str
    description: str


@dataclass(frozen=True)
class Entry:
    """An endpoint: what it takes and answers, and how curl asks it."""

    name: str
    method: str
    path: str
    summary: str
    tag: str
    open: bool
    parameters: list[Parameter]
    answers: list[tuple[str, str]]
    example: str


def html(openapi: dict[str, Any], base: str) -> str:
    """Render the page; `base` is the server's URL as the client sees it."""
    entries = sorted(_entries(openapi, base), key=_rank)
    return status.rendered("manual.html", entries=entries, version=openapi["info"]["version"])


def _rank(entry: Entry) -> tuple[bool, bool]:
    """Order entries: predictions come first, endpoints that need no API key last."""
    return entry.open, entry.tag != "predictions"


def _entries(openapi: dict[str, Any], base: str) -> Iterator[Entry]:
    for path, operations in openapi["paths"].items():
        for method, told in operations.items():
            parameters = told.get("parameters", [])
            # An operation that needs no API key overrides the document's security requirements with none.
            is_open = told.get("security") == []
            yield Entry(
                name=told["operationId"],
                method=method.upper(),
                path=path,
                summary=told.get("description", told["summary"]),
                tag=told["tags"][0],
                open=is_open,
                parameters=[_parameter(one) for one in parameters],
                answers=sorted((status, answer["description"]) for status, answer in told["responses"].items()),
                example=_example(base.rstrip("/") + path, told, parameters, needs_key=not is_open),
            )


def _parameter(told: dict[str, Any]) -> Parameter:
    kind = told["schema"].get("type", "string")
    return Parameter(told["name"], told["in"], kind, told.get("description", ""))


def _example(url: str, told: dict[str, Any], parameters: list[dict[str, Any]], *, needs_key: bool) -> str:
    given = {one["name"]: _given(one) for one in parameters}
    for name in [one["name"] for one in parameters if one["in"] == "path"]:
        url = url.replace(f"{{{name}}}", encoded(str(given[name]), safe=""))
    asked = next((given[one["name"]] for one in parameters if one["in"] == "query" and given[one["name"]]), None)
    words = ["curl"]
    if needs_key:
        words.append('-H "Authorization: Bearer $API_KEY"')
    if "requestBody" in told:
        words.append(f"--json {quote(json.dumps(told['requestBody']['content']['application/json']['example']))}")
    return " \\\n  ".join([*words, quote(f"{url}?{urlencode(asked)}" if asked else url)])


def _given(parameter: dict[str, Any]) -> Any:
    return parameter.get("example") or next(iter(parameter["schema"].get("examples", [])), None)
