"""API keys with the Python client, against the real API."""

from __future__ import annotations

import pytest

from fix_api import Shelf, serving
from fix_client import ClientCall, address
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore_api.client import NotAllowed
from prescore_api.http.app import build


def test_an_api_key_allows_its_own_models_only(shelf: Shelf, call: ClientCall) -> None:
    for model in ("m", "other"):
        shelf.publish(model, {"k": "bigint"}, [(7, 0.5)])
    with shelf.database.connect() as connection:
        with_key = {"key": api_keys.create(Catalog(connection), "shop", ["m"])}
    with serving(build(shelf.database)) as client:
        url = address(client)
        assert call(url, "predict", "m", 7, settings=with_key)["score"] == 0.5
        assert call(url, "lookup", "m", [{"k": 7}], settings=with_key)[0].found
        assert [model.model for model in call(url, "models", settings=with_key)] == ["m"]
        assert call(url, "ready") is True
        for settings, code, status in [(with_key, "forbidden", 403), ({}, "unauthenticated", 401)]:
            with pytest.raises(NotAllowed) as error:
                call(url, "predict", "other", 7, settings=settings)
            assert (error.value.code, error.value.status) == (code, status)
