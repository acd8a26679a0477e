"""Lookups in a delta: over HTTP by key and in pages, on the command line, and when a table was changed by hand."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fix_api import OPEN, serving, until_in_memory
from fix_incremental import Nights
from prescore.versions import pointer
from prescore.versions.options import RunOptions
from prescore_api.http.app import build

PATH = "/v1/predictions/churn"
GONE = [5, 6, 11, 9999]
"""Keys of the base that the delta hides, one that it rejected, and one that never existed."""


@pytest.fixture
def delta(nights: Nights) -> Nights:
    """A delta, version 2, and version 3, for which nothing has changed."""
    frame = nights.frame
    frame.loc[3, "spend"] += 1
    frame.loc[4, "note"] = "by phone"
    frame.loc[11, "spend"] = np.nan
    nights.frame = pd.concat([frame.drop(index=[5, 6]), frame.loc[[7]].rename(index={7: 5000})])
    assert nights.changes() == (995, 3, 1, 2)
    assert (nights.run().changes or {})["unchanged_since"] == 2
    return nights


def _bulk(client: httpx.Client, keys: list[int], query: str = "") -> dict[int, Any]:
    body = {"keys": [{"customer": key} for key in keys]}
    answers = client.post(f"{PATH}/lookup{query}", json=body).json()["answers"]
    return {answer["key"]["customer"]: answer["prediction"] for answer in answers}


def _pages(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    url: str | None = f"{PATH}/rows?limit=301{query}"
    while url:
        page = client.get(url, headers={"Accept": "application/x-ndjson"})
        assert page.status_code == 200, page.text
        rows += [json.loads(line) for line in page.text.splitlines()]
        following = page.links.get("next")
        url = str(page.url.join(following["url"])) if following else None
    return rows


def test_a_delta_is_looked_up_as_a_whole_version(delta: Nights) -> None:
    expected = {key: {"score": score, "note": note} for key, score, note in delta.expected()}
    with serving(build(delta.project.database, OPEN)) as client:
        for query in ("", "?version=2", "?version=3"):
            assert _bulk(client, [*expected, *GONE], query) == expected | dict.fromkeys(GONE)
        for key in (3, 4, 7, 5000):
            assert client.get(f"{PATH}/{key}").json()["prediction"] == expected[key]
        assert [client.get(f"{PATH}/{key}").status_code for key in GONE] == [404] * len(GONE)
        for query in ("", "&version=2"):
            rows = _pages(client, query)
            assert [(row["key"]["customer"], *row["prediction"].values()) for row in rows] == delta.expected()
    assert "by phone" in delta.project.cli("lookup", "churn", "4").out
    assert "has no customer=5" in delta.project.cli("lookup", "churn", "5").out


@pytest.mark.parametrize("change", [
    "truncate prescore_versions.\"churn_v2_DELTA\"", "truncate prescore_versions.churn_v1",
    "alter table prescore_versions.churn detach partition prescore_versions.churn_v1",
])  # fmt: skip
def test_a_key_is_never_answered_from_half_a_delta(delta: Nights, change: str) -> None:
    with serving(build(delta.project.database, OPEN)) as client:
        assert client.get(f"{PATH}/7").status_code == 200
        with delta.project.database.connect() as connection:
            connection.execute(change.encode())
        # Keys 3 and 5 would be found in the base without the delta's rows.
        replies = [client.get(f"{PATH}/{key}") for key in (5, 7, 9999)] if "churn_v1" not in change else []
        replies += [client.get(f"{PATH}/7"), client.post(f"{PATH}/lookup", json={"keys": [{"customer": 7}]})]
        if "detach" not in change:
            replies += [client.get(f"{PATH}/7?version=2"), client.get(f"{PATH}/rows?version=2")]
    assert {reply.status_code for reply in replies} == {503}, [reply.text for reply in replies]
    looked_up = delta.project.cli("lookup", "churn", "7")
    assert (looked_up.code, "not all of them can be read" in looked_up.err or "and 0" in looked_up.err) == (2, True)


def test_only_the_delta_is_loaded_into_memory(nights: Nights) -> None:
    project = nights.project
    project.spec((project.root / "specs/churn.toml").read_text() + "[lookup]\nin_memory = true\n")
    nights.run()
    with serving(build(project.database, OPEN)) as client:
        until_in_memory(client, "churn", 2)
        frame = nights.frame
        frame.loc[3, "spend"] += 1
        frame.loc[4, "note"] = "by phone"
        frame.loc[11, "spend"] = np.nan
        nights.frame = pd.concat([frame.drop(index=[5, 6]), frame.loc[[7]].rename(index={7: 5000})])
        version = nights.run(RunOptions(publish=False)).version
        read = "select pg_stat_get_tuples_returned('prescore_versions.churn_v1'::regclass)"
        before = project.rows(read)
        with project.database.connect() as connection:
            pointer.publish(connection, "churn", version)
        until_in_memory(client, "churn", version)
        expected = {key: {"score": score, "note": note} for key, score, note in nights.expected()}
        assert _bulk(client, [*expected, *GONE]) == expected | dict.fromkeys(GONE)
        # Keys of the base alone, and of the delta alone.
        for keys in ([7, 8], [3, 5000], GONE):
            assert _bulk(client, keys) == {key: expected.get(key) for key in keys}
        for key in (3, 4, 7, 5000):
            assert client.get(f"{PATH}/{key}").json()["prediction"] == expected[key]
        assert [client.get(f"{PATH}/{key}").status_code for key in GONE] == [404] * len(GONE)
        reply = client.post(
            f"{PATH}/lookup",
            json={"keys": [{"customer": key} for key in (3, 7, 5)]},
            headers={"Accept": "application/vnd.apache.arrow.stream"},
        )
        rows = pa.ipc.open_stream(reply.content).read_all().to_pylist()
        assert [row["prediction"] for row in rows] == [expected[3], expected[7], None]
        assert project.rows(read) == before
