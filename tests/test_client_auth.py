"""API keys, through the Python client and the real API."""

from __future__ import annotations

import pytest

from fix_api import Shelf, serving
from fix_client import Asking, address
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore_api.client import NotAllowed
from prescore_api.http.app import build


def test_a_key_opens_its_models_and_no_others(shelf: Shelf, ask: Asking) -> None:
    for model in ("m", "other"):
        shelf.publish(model, {"k": "bigint"}, [(7, 0.5)])
    with shelf.database.connect() as connection:
        key = {"key": api_keys.create(Catalog(connection), "shop", ["m"])}
    with serving(build(shelf.database)) as client:
        url = address(client)
        assert ask(url, "predict", "m", 7, settings=key)["score"] == 0.5
        assert ask(url, "lookup", "m", [{"k": 7}], settings=key)[0].found
        assert [model.model for model in ask(url, "models", settings=key)] == ["m"]
        assert ask(url, "ready") is True
        for settings, code, status in [(key, "forbidden", 403), ({}, "unauthenticated", 401)]:
            with pytest.raises(NotAllowed) as failed:
                ask(url, "predict", "other", 7, settings=settings)
            assert (failed.value.code, failed.value.status) == (code, status)
