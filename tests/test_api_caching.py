"""HTTP caching: what changes an ETag, when a 304 is allowed, and for how long an answer is fresh."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from fix_api import Api, Shelf, fresh_database, serving
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore_api.http.app import build

KEY = {"k": "bigint"}
ARROW = {"Accept": "application/vnd.apache.arrow.stream"}


def _fresh_for(response: httpx.Response) -> int:
    found = re.fullmatch(r"private, max-age=(\d+)", response.headers["cache-control"])
    assert found, response.headers["cache-control"]
    return int(found[1])


def test_an_unchanged_answer_is_304(api: Api) -> None:
    m = api.publish(KEY, [(1, 0.5)])
    path = f"/v1/predictions/{m}/1"
    first = api.client.get(path)
    for tag in (first.headers["etag"], f'"x", {first.headers["etag"]}', first.headers["etag"][2:], "*"):
        again = api.client.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert {"cache-control", "vary"} <= set(again.headers)
        assert "content-type" not in again.headers
    assert api.client.get(path, headers={"If-None-Match": 'W/"other"'}).status_code == 200


def test_an_unknown_key_is_never_304(api: Api) -> None:
    m = api.publish(KEY, [])
    first = api.client.get(f"/v1/predictions/{m}/1")
    again = api.client.get(f"/v1/predictions/{m}/1", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.json()["found"]) == (404, False)


def test_the_etag_changes_with_version_staleness_selection_and_form(shelf: Shelf, client: httpx.Client) -> None:
    soon = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=2)
    shelf.publish("m", KEY, [(1, 0.5)], {"score": "real"}, data_as_of=soon, freshness={"max_age": "1h"})
    tags = [
        client.get("/v1/predictions/m/1").headers["etag"],
        client.get("/v1/predictions/m/1?output=score").headers["etag"],
        client.get("/v1/predictions/m/1", headers=ARROW).headers["etag"],
    ]
    fresh = tags[0]
    until = time.monotonic() + 10
    while (stale := client.get("/v1/predictions/m/1", headers={"If-None-Match": fresh})).status_code == 304:
        assert time.monotonic() < until
    # A cached `stale: false` is never revalidated once it is wrong.
    assert (stale.status_code, stale.json()["stale"]) == (200, True)
    tags.append(stale.headers["etag"])
    shelf.publish("m", KEY, [(1, 0.5)])
    tags.append(client.get("/v1/predictions/m/1").headers["etag"])
    shelf.rollback("m")
    tags.append(client.get("/v1/predictions/m/1").headers["etag"])
    assert len(set(tags)) == len(tags)


def test_answers_are_revalidated_unless_the_spec_allows_caching(api: Api) -> None:
    m = api.publish(KEY, [(1, 0.5)])
    response = api.client.get(f"/v1/predictions/{m}/1")
    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["vary"] == "Accept, Accept-Encoding, Authorization"


def test_an_answer_is_fresh_for_as_long_as_spec_and_age_allow(api: Api) -> None:
    def published(hours: float, limit: str, **parameters: str) -> httpx.Response:
        clock = datetime.now(UTC) - timedelta(hours=hours)
        m = api.publish(KEY, [(1, 0.5)], data_as_of=clock, freshness={"max_age": limit}, lookup={"cache": "60s"})
        return api.client.get(f"/v1/predictions/{m}/1", params=parameters)

    assert _fresh_for(published(0, "1h")) == 60
    # The data exceeds its max age in 36 s.
    assert 0 < _fresh_for(published(0.99, "1h")) <= 36
    assert published(2, "1h").headers["cache-control"] == "private, no-cache"
    assert 0 < _fresh_for(published(0, "1h", max_age="30")) <= 30


def test_bulk_answers_and_errors_are_not_cached(api: Api) -> None:
    m = api.publish(KEY, [(1, 0.5)], lookup={"cache": "60s"})
    bulk = api.client.post(f"/v1/predictions/{m}/lookup", json={"keys": [{"k": 1}]})
    assert bulk.headers["cache-control"] == "no-store"
    assert "etag" not in bulk.headers
    assert "etag" not in api.client.get(f"/v1/predictions/{m}/x").headers


@pytest.mark.parametrize("key", ["full", "none"])
def test_a_shared_cache_keeps_nothing_that_needs_a_key(server: str, key: str) -> None:
    """Not even a response that says only that something is missing: RFC 9111 lets caches keep a 404 or 405, too."""
    paths = ["/", "/v1/models", "/v1/models/m", "/v1/models/none", "/metrics", "/v1/predictions/m/1", "/none"]
    paths += ["/v1/predictions/m/2", "/v1/predictions/m/x", "/v1/predictions/none/1", "/v1/predictions/m?max_age=x"]
    requests = [("GET", path) for path in paths] + [("HEAD", "/v1/models"), ("PUT", "/v1/models")]
    requests += [("POST", "/v1/predictions/m/lookup"), ("OPTIONS", "/v1/models")]
    with fresh_database(server) as database, serving(build(database)) as client:
        Shelf(database).publish("m", KEY, [(1, 0.5)], lookup={"cache": "60s"})
        with database.connect() as connection:
            full = api_keys.create(Catalog(connection), "full", None, None)
        headers = {"Authorization": f"Bearer {full}"} if key == "full" else {}
        statuses = set()
        for method, path in requests:
            response = client.request(method, path, headers=headers)
            statuses.add(response.status_code)
            assert re.fullmatch("no-store|private, max-age=60", response.headers["cache-control"]), path
            assert response.headers["vary"] == "Accept, Accept-Encoding, Authorization", path
        assert statuses == ({200, 404, 405, 422} if key == "full" else {401})
