"""The document as a whole: operations, schemas, and how clients authenticate."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from prescore_api.http.openapi.operations import OPERATIONS
from prescore_api.http.openapi.schemas import SCHEMAS, Node

_SECURITY_SCHEMES: Node = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key"},
    "basic": {"type": "http", "scheme": "basic", "description": "any user name, and an API key as the password"},
}


@cache
def document(*, open_metrics: bool = False) -> Node:
    """Return the document; `open_metrics` says that /metrics needs no API key."""
    paths = dict(OPERATIONS)
    if open_metrics:
        paths["/metrics"] = {"get": {**paths["/metrics"]["get"], "security": []}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "prescore",
            "summary": "Published predictions by key, with their age in every answer.",
            "version": version("prescore"),
        },
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": _SECURITY_SCHEMES},
        "security": [{"bearer": []}, {"basic": []}],
    }
