"""The OpenAPI document is complete, and the server does what it says: no undocumented status, shape, or error 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from fix_api import OPEN, Shelf, fresh_database, serving
from fix_soak import SOAK
from prescore_api.http.app import build

# To OpenAPI, random bytes are a valid Arrow stream. And the server accepts more spellings of a value than its
# documented type has.
_EXCLUDED = ("negative_data_rejection", "positive_data_acceptance", "unsupported_method", "ignored_auth")


@pytest.fixture(scope="module")
def served(server: str) -> Iterator[httpx.Client]:
    with fresh_database(server) as database, serving(build(database, OPEN)) as client:
        shelf = Shelf(database)
        shelf.publish("m", {"k": "bigint"}, [(k, 0.5) for k in range(10)])
        shelf.publish("flights", {"carrier": "text", "day": "date"}, [("UA", "2013-01-01", 0.5)])
        yield client


@pytest.mark.parametrize("model", ["m", "flights", None])
def test_every_operation_conforms(served: httpx.Client, model: str | None) -> None:
    """`model` None leaves the name of the model to Hypothesis."""
    schema = schemathesis.openapi.from_url(f"{served.base_url}/openapi.json")
    excluded: Any = [check for check in CHECKS.get_all() if check.__name__ in _EXCLUDED]
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(max_examples=100 if SOAK else 10, database=None)
        @given(case=operation.as_strategy())
        def request(case: schemathesis.Case[Any]) -> None:
            if model and "model" in (case.path_parameters or {}):
                case.path_parameters["model"] = model
            response = case.call()
            # Data that is older than ?max_age= allows is a documented 503, not a failure of the server.
            if response.status_code != 503 or response.json()["error"]["code"] != "too_old":
                case.validate_response(response, excluded_checks=excluded)

        request()
