"""The API does what its OpenAPI says, whatever it is asked: no 5xx, no status and no shape that is not documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from fix_api import OPEN, Shelf, fresh_database, serving
from prescore_api.http.app import build

# Random bytes are a valid body of an Arrow stream as far as OpenAPI can say; and the server takes what it documents as
# one type in more spellings than that type has.
_EXCLUDED = ("negative_data_rejection", "positive_data_acceptance", "unsupported_method", "ignored_auth")


@pytest.fixture(scope="module")
def served(server: str) -> Iterator[httpx.Client]:
    with fresh_database(server) as database, serving(build(database, OPEN)) as client:
        shelf = Shelf(database)
        shelf.publish("m", {"k": "bigint"}, [(k, 0.5) for k in range(10)])
        shelf.publish("flights", {"carrier": "text", "day": "date"}, [("UA", "2013-01-01", 0.5)])
        yield client


@pytest.mark.parametrize("model", ["m", "flights", None])
def test_every_operation(served: httpx.Client, model: str | None) -> None:
    """`model` None: whatever comes to Hypothesis' mind."""
    schema = schemathesis.openapi.from_url(f"{served.base_url}/openapi.json")
    excluded: Any = [check for check in CHECKS.get_all() if check.__name__ in _EXCLUDED]
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            if model and "model" in (case.path_parameters or {}):
                case.path_parameters["model"] = model
            reply = case.call()
            # What is older than ?max_age= allows is a 503 as documented, and no fault of the server's.
            if reply.status_code != 503 or reply.json()["error"]["code"] != "too_old":
                case.validate_response(reply, excluded_checks=excluded)

        ask()
