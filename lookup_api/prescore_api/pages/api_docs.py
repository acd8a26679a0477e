"""The page at /docs: every endpoint as OpenAPI describes it, as plain HTML that needs nothing from anywhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from dataclasses import dataclass
from shlex import quote
from typing import Any
from urllib.parse import quote as encoded
from urllib.parse import urlencode

from prescore_api.pages import status

_PREDICTIONS = "/v1/predictions/"


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
    open: bool
    parameters: list[Parameter]
    answers: list[tuple[str, str]]
    example: str


def html(openapi: dict[str, Any], base: str, open_paths: Set[str]) -> str:
    """The page; `base` is the server's URL as whoever asks knows it, `open_paths` need no API key."""
    entries = sorted(_entries(openapi, base, open_paths), key=_rank)
    return status.rendered("manual.html", entries=entries, version=openapi["info"]["version"])


def _rank(entry: Entry) -> tuple[bool, bool]:
    """Predictions first, and last what load balancers ask."""
    return entry.open, not entry.path.startswith(_PREDICTIONS)


def _entries(openapi: dict[str, Any], base: str, open_paths: Set[str]) -> Iterator[Entry]:
    for path, operations in openapi["paths"].items():
        for method, told in operations.items():
            parameters = told.get("parameters", [])
            yield Entry(
                name=told["operationId"],
                method=method.upper(),
                path=path,
                summary=told.get("description", told["summary"]),
                open=path in open_paths,
                parameters=[_parameter(one) for one in parameters],
                answers=sorted((status, answer["description"]) for status, answer in told["responses"].items()),
                example=_example(base.rstrip("/") + path, told, parameters, needs_key=path not in open_paths),
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
