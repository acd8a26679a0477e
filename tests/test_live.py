"""Live answers: rows of features that are scored on request, with the model file of the published version."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from fix_api import scoring_processes, scraped, serving, until_in_memory
from fix_client import ClientCall, InterleavingTransport, address
from fix_project import SPEC, Sandbox, customers, linear, model
from fix_store import S3
from prescore.arrow.types import arrow_types
from prescore.run import materialize
from prescore.scoring.session import RUNTIME
from prescore_api.client import Client, Invalid, column_types, parts
from prescore_api.client.arrow import serialize
from prescore_api.client.frames import from_scores
from prescore_api.http.app import ServerSettings, build
from prescore_api.http.dispatcher import Dispatcher
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.process import ScoringProcess
from prescore_api.live.scoring import open_live
from prescore_api.service.service import Service, ServiceSettings
from prescore_api.tables.loader_process import LoaderProcess

LIVE = SPEC + "\n[live]\nallowed = true\n"
WITHOUT_CHECKS = LIVE[: LIVE.index("[[checks]]")] + LIVE[LIVE.index("[freshness]") :]
PATH = "/v1/predictions/churn/score"
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}


def app(sandbox: Sandbox) -> Dispatcher:
    """Return the app of a server that was started with --live."""
    settings = ServerSettings(open_to_all=True, store=sandbox.root / ".prescore" / "store")
    return build(sandbox.database, settings)


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """The churn project, whose published version allows live answers; nothing waits for Great Expectations."""
    sandbox.spec(WITHOUT_CHECKS)
    assert materialize.run(sandbox.job()).published
    return sandbox


@pytest.fixture
def live(project: Sandbox) -> Iterator[httpx.Client]:
    """A client of a server that scores the project's rows."""
    with serving(app(project)) as client:
        yield client


def features(number: int) -> dict[str, float]:
    """Return the features of a customer as JSON has them: the shortest text of each float32."""
    row = customers().slice(number, 1)
    return {name: float(str(row.column(name).to_numpy()[0])) for name in ("visits", "spend")}


def score(client: httpx.Client, rows: list[dict[str, Any]], **parameters: str) -> list[dict[str, Any]]:
    """Score rows, and return the answers."""
    response = client.post(PATH, json={"rows": rows}, params=parameters)
    assert response.status_code == 200, response.text
    answers: list[dict[str, Any]] = response.json()["answers"]
    return answers


def test_rows_are_answered_from_the_table_or_live_with_the_same_numbers(project: Sandbox, live: httpx.Client) -> None:
    keyed = {"key": {"customer": 7}, "features": features(7)}
    unknown = {"key": {"customer": 70_000}, "features": features(7)}
    table, scored, without_key, nothing = score(
        live, [keyed, unknown, {"features": features(7)}, {"key": {"customer": -1}}]
    )
    assert (table["source"], table["version"], table["key"], table["rejected"]) == ("table", 1, {"customer": 7}, None)
    assert (scored["source"], scored["version"], scored["key"]) == ("live", 1, {"customer": 70_000})
    assert (without_key["source"], without_key["key"]) == ("live", None)
    ((stored,),) = project.rows("select score from predictions.churn where customer = 7")
    assert table["prediction"] == {"score": stored}
    assert scored["prediction"] == without_key["prediction"] == {"score": pytest.approx(stored, abs=1e-6)}
    assert (nothing["prediction"], "has no features to score" in nothing["rejected"]["reason"]) == (None, True)
    assert table["age_seconds"] > scored["age_seconds"] >= 0
    assert scored["published_at"] == table["published_at"]
    assert scored["data_as_of"] > table["data_as_of"]

    described = live.get("/v1/models/churn").json()["live"]
    listed = [{"name": name, "dtype": "float32", "nullable": False} for name in ("visits", "spend")]
    assert described == {"features": listed, "cache_seconds": 0, "runtime": RUNTIME, "server_runtime": RUNTIME}

    (preferred,) = score(live, [keyed], prefer="live")
    assert (preferred["source"], preferred["key"], preferred["prediction"]) == (
        "live",
        {"customer": 7},
        scored["prediction"],
    )
    fresh, refused = score(live, [keyed, {"key": {"customer": 8}}], max_age="0")
    assert (fresh["source"], fresh["rejected"]) == ("live", None)
    assert (refused["source"], refused["key"], refused["prediction"]) == ("table", {"customer": 8}, None)
    assert "churn version 1 is too old" in refused["rejected"]["reason"]
    assert (refused["data_as_of"], refused["version"]) == (table["data_as_of"], 1)
    # Without a row to score, a request is a lookup.
    too_old = live.post(PATH, json={"rows": [{"key": {"customer": 8}}]}, params={"max_age": "0"})
    assert (too_old.status_code, too_old.json()["error"]["code"]) == (503, "too_old")

    # A body of this size is parsed by the scoring process.
    rows: list[dict[str, Any]] = [keyed, {"key": {"customer": 8}}, {"key": {"customer": -1}}, unknown]
    for prefer in ("table", "live"):
        answers = score(live, rows * 100, prefer=prefer)
        assert [answer["source"] for answer in answers] == [prefer, "table", "table", "live"] * 100
        assert [answer["key"]["customer"] for answer in answers] == [7, 8, -1, 70_000] * 100
        assert [answer["rejected"] is None for answer in answers] == [True, True, False, True] * 100


WRONG = [
    ('{"rows": [{}]}', "", 422, "rows[0] must be an object with features, a key, or both"),
    ('{"rows": [{"features": 1}]}', "", 422, "rows[0].features must be an object"),
    ('{"rows": [{"feature": {}}]}', "", 422, "rows[0] has feature. A row has features and key"),
    ('{"keys": []}', "", 422, 'The body must be {"rows": [{"features": '),
    ('{"rows": [{"features": {"visits": 1, "visits": 2}}]}', "", 422, "has a name more than once: visits"),
    ('{"rows": [{"features": {}, "key": {"customer": "x"}}]}', "", 422, "rows[0]: customer must be a 64-bit"),
    ('{"rows": [], "prefer": "live"}', "", 422, "prefer. It takes rows. Parameters belong in the URL: ?prefer=live."),
    ('{"rows": [], "row": 1}', "", 422, "Unknown in the body: row. It takes rows."),
    ('{"rows": []}', "?prefer=both", 422, "prefer takes table or live"),
    ('{"rows": []}', "?prefers=live", 422, "Unknown parameters: prefers. This endpoint takes version, max_age, "),
    ('{"rows": [{"features": {}}]}', "?version=2", 404, "live answers come from the published version alone"),
    ('{"rows": [' + ",".join(['{"features":{}}'] * 10_001) + "]}", "", 413, "has 10,001 rows; the limit is 10,000"),
]


def test_a_row_that_cannot_be_scored_is_rejected_alone_and_a_wrong_request_as_a_whole(live: httpx.Client) -> None:
    rows: list[dict[str, Any]] = [
        {"visits": 1, "spend": 0.1},
        {"visits": None, "spend": 1},
        {"visits": "1", "spend": 1},
        {"visits": 1},
        {"visits": 16_777_217, "spend": 1},
        {"visits": 1 / 3, "spend": 1},
        {"visits": 1e300, "spend": 1},
        {"visits": 2.0, "spend": 1, "other": "is ignored"},
        {"visits": True, "spend": {"a": 1}},
        {"visits": 1, "spend": 16_777_217.0},
    ]
    answers = score(live, [{"features": row} for row in rows])
    advice = "Send a float to have it rounded, or let the spec name the feature in onnx.allow_precision_loss."
    reasons = [answer["rejected"] and answer["rejected"]["reason"] for answer in answers]
    assert reasons == [
        None,
        "Feature visits is null or NaN, which the model does not take.",
        "Feature visits must be a number (float32), not '1'.",
        "Feature spend is missing.",
        f"Feature visits is 16777217, and float32 holds whole numbers exactly up to 16,777,216. {advice}",
        None,
        "Feature visits is 1e+300, which is too large for float32.",
        None,
        "Feature spend must be a number (float32), not {'a': 1}.",
        None,
    ]
    assert [answer["rejected"]["column"] for answer in answers if answer["rejected"]][:3] == [
        "visits",
        "visits",
        "spend",
    ]
    expected = 1 / (1 + np.exp(-(1 - 0.5 * np.float32(0.1))))
    assert answers[0]["prediction"]["score"] == pytest.approx(expected, abs=1e-6)
    assert answers[5]["prediction"]["score"] == pytest.approx(1 / (1 + np.exp(1 / 6)), abs=1e-6)
    assert [answer["prediction"] for answer in answers if answer["rejected"]] == [None] * 6

    for content, parameters, status, message in WRONG:
        response = live.post(PATH + parameters, content=content, headers={"Content-Type": "application/json"})
        assert (response.status_code, message in response.json()["error"]["message"]) == (status, True), response.text


def test_a_model_answers_live_only_where_spec_and_server_allow_it(sandbox: Sandbox) -> None:
    sandbox.spec(WITHOUT_CHECKS.replace("allowed = true", "allowed = false"))
    assert materialize.run(sandbox.job()).published
    rows = {"rows": [{"features": features(1)}]}
    with serving(app(sandbox)) as client:
        refused = client.post(PATH, json=rows)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "not_allowed")
        assert "does not allow live answers" in refused.json()["error"]["message"]
    with serving(build(sandbox.database, ServerSettings(open_to_all=True))) as client:
        assert "prescore serve --live" in client.post(PATH, json=rows).json()["error"]["message"]


def _until_version(client: httpx.Client, row: dict[str, Any], version: int, scores: dict[int, float]) -> None:
    """Score a row until a version answers; whichever answers meanwhile has its own model's score."""
    for _ in range(10_000):
        (answer,) = score(client, [row])
        assert answer["prediction"]["score"] == pytest.approx(scores[answer["version"]], abs=1e-6)
        if answer["version"] == version:
            return
    raise AssertionError(f"version {version} does not answer")


def test_a_publication_and_a_rollback_change_model_and_version_together_also_while_memory_has_the_one_before(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_load, load = threading.Event(), LoaderProcess.load

    def load_later(*arguments: Any, **options: Any) -> pa.Table:
        may_load.wait()
        return load(*arguments, **options)

    monkeypatch.setattr(LoaderProcess, "load", load_later)
    may_load.set()
    sandbox.spec(WITHOUT_CHECKS + "[lookup]\nin_memory = true\n")
    assert materialize.run(sandbox.job()).published
    row = {"features": {"visits": 1, "spend": 0}}
    scores = {1: 1 / (1 + np.exp(-1.0)), 2: 1 / (1 + np.exp(2.0))}
    with serving(app(sandbox)) as client:
        until_in_memory(client, "churn")
        assert [answer["version"] for answer in score(client, [row])] == [1]
        sandbox.onnx(linear([-2.0, 0.5]))
        may_load.clear()
        try:
            assert materialize.run(sandbox.job()).published
            _require_scored_beside_memory(client)
        finally:
            may_load.set()
        _until_version(client, row, 2, scores)
        assert sandbox.cli("rollback", "churn", "--reason", "test").code == 0
        _until_version(client, row, 1, scores)


def _require_scored_beside_memory(client: httpx.Client) -> None:
    """Score rows with version 2, which is published, while memory has version 1."""
    described = client.get("/v1/models/churn").json()
    assert (described["version"], described["in_memory"]["version"]) == (2, 1)
    keyed, unknown = ({"key": {"customer": key}, "features": features(7)} for key in (7, 70_000))
    answers = score(client, [keyed, unknown])
    assert [(answer["source"], answer["version"]) for answer in answers] == [("table", 2), ("live", 2)]
    scores = [answer["prediction"]["score"] for answer in answers]
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)
    (row,) = customers().slice(7, 1).to_pylist()
    rows = pa.Table.from_pylist([row, {**row, "customer": 70_000}], customers().schema)
    streamed = _score_arrow(client, rows)
    assert (streamed["source"].to_pylist(), streamed.schema.metadata[b"version"]) == (["table", "live"], b"2")
    assert [row["score"] for row in streamed["prediction"].to_pylist()] == pytest.approx(scores, abs=1e-6)
    _require_keys_alone(client, version="1")
    assert client.get("/v1/predictions/churn/7").json()["version"] == 1


def test_the_client_scores_lists_and_frames(project: Sandbox, live: httpx.Client) -> None:
    for asynchronous in (False, True):
        _require_scores(project, ClientCall(asynchronous), address(live))


def _require_scores(project: Sandbox, call: ClientCall, url: str) -> None:
    rows = [
        {"key": {"customer": 3}, "features": features(3)},
        {"features": {"visits": np.float32(0.1), "spend": np.nan}},
    ]
    table, rejected = call(url, "score", "churn", rows)
    assert (table.source, table["score"], table.rejected) == ("table", table.prediction["score"], None)
    assert rejected.rejected.column == "spend"
    with pytest.raises(KeyError, match="Feature spend is null or NaN"):
        _ = rejected["score"]
    frame = customers(10_050).to_pandas().set_index("customer")
    # Columns that the model does not take are not sent.
    frame["seen"], frame["paid"] = pd.Timestamp("2026-11-30"), Decimal("9.50")
    scored = call(url, "score", "churn", frame, prefer="live", settings={"timeout": 60})
    assert (set(scored["source"]), set(scored["version"]), scored["rejected"].notna().sum()) == ({"live"}, {1}, 0)
    assert scored.index.equals(frame.index)
    stored = pd.DataFrame(project.rows("select customer, score from predictions.churn order by 1"), columns=["k", "s"])
    # The first thousand customers are those of the table.
    again = call(url, "score", "churn", customers().to_pandas(), prefer="live")
    assert np.allclose(again["score"], stored["s"], atol=1e-6)
    assert set(call(url, "score", "churn", customers().to_pandas())["source"]) == {"table"}
    _require_scored_table(call, url, again)
    (pinned,) = call(url, "score", "churn", rows[:1], version=1, prefer="live", outputs="score")
    assert (pinned.version, pinned.source, list(pinned.prediction)) == (1, "live", ["score"])
    with pytest.raises(Invalid, match="version 2 cannot score rows"):
        call(url, "score", "churn", rows[:1], version=2, prefer="live")
    sent = httpx.get(f"{url}/v1/models/churn").json()["live"]
    assert json.loads(json.dumps(asdict(call(url, "model", "churn").live))) == sent
    with pytest.raises(TypeError, match="rows\\[1\\]: pass each row as"):
        call(url, "score", "churn", [rows[0], {"visits": 1}])
    with pytest.raises(Invalid, match="rows\\[10000\\]: customer must be"):
        call(url, "score", "churn", [{"features": features(1)}] * 10_000 + [{"key": {"customer": "x"}}])


# The other types that columns have: a value of each, whose text in JSON differs from the value.
PASSTHROUGH = {
    "a": ("smallint", "7::smallint"),
    "b": ("integer", "7::integer"),
    "c": ("bigint", "9007199254740993"),
    "d": ("double precision", "0.1::double"),
    "e": ("boolean", "true"),
    "f": ("text", "'t'"),
    "g": ("uuid", "'8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d'"),
    "h": ("date", "date '2026-01-31'"),
    "i": ("timestamp", "timestamp '2026-01-31 12:30:00.5'"),
    "j": ("timestamptz", "timestamptz '2026-01-31 12:30:00+02'"),
}


def test_a_scored_frame_has_the_columns_and_dtypes_of_a_lookup_whatever_its_rows(sandbox: Sandbox) -> None:
    kinds = "".join(f'{name} = "{kind}"\n' for name, (kind, _) in PASSTHROUGH.items())
    sandbox.spec(WITHOUT_CHECKS.replace("[onnx]", f"[passthrough]\n{kinds}[onnx]"))
    values = "".join(f", {value} as {name}" for name, (_, value) in PASSTHROUGH.items())
    sandbox.query(f"select customer, visits, spend{values} from read_parquet('data/customers.parquet')")
    assert materialize.run(sandbox.job()).published
    known = customers(2).to_pandas()
    wrong = known.assign(spend=[np.nan, 1.0])
    with serving(app(sandbox)) as server, Client(address(server)) as client:
        stored = client.lookup("churn", known)[["score", *PASSTHROUGH]]
        scored = client.score("churn", known)
        pd.testing.assert_frame_equal(scored[stored.columns], stored)
        dtypes = {**stored.dtypes, "source": scored["source"].dtype, "version": "int32", "rejected": "object"}
        for rows in (known, wrong, wrong[:1], known[:0], known.drop(columns="spend")):
            answers = client.score("churn", rows, prefer="live")
            assert (list(answers.columns), dict(answers.dtypes)) == (list(dtypes), dtypes)
            assert answers.index.equals(rows.index)
        assert client.score("churn", wrong, prefer="live")["rejected"].tolist() == [
            "Feature spend is null or NaN, which the model does not take.",
            None,
        ]
        selected = client.score("churn", wrong[:1], prefer="live", outputs=["h", "score"])
        assert list(selected.columns) == ["h", "score", "source", "version", "rejected"]
        # A version that is published between the two requests may have another output.
        rows = [{"key": {"customer": 0}}, {"features": {"visits": 1}}]
        other = [replace(answer, prediction=answer.prediction and {"new": 7}) for answer in client.score("churn", rows)]
    assert from_scores(known, (), other)["new"].tolist() == [7, pd.NA]
    assert {name: column_types.arrow_type(name) for name in arrow_types()} == arrow_types()


def _require_scored_table(call: ClientCall, url: str, expected: pd.DataFrame) -> None:
    """Score Arrow tables, which have the answers that a DataFrame has."""
    sent = pa.concat_tables([customers(), customers().slice(0, 9_050)])
    scored = call(url, "score_table", "churn", sent, prefer="live", settings={"timeout": 60})
    assert scored.column_names == ["customer", "score", "source", "rejected", "version", "data_as_of"]
    assert scored["customer"].equals(sent["customer"])
    assert np.allclose(scored["score"].slice(0, len(expected)), expected["score"], atol=1e-6)
    assert (set(scored["source"].to_pylist()), set(scored["version"].to_pylist())) == ({"live"}, {1})
    assert (scored["rejected"].null_count, scored.schema.metadata[b"version"]) == (len(sent), b"1")
    assert set(call(url, "score_table", "churn", customers())["source"].to_pylist()) == {"table"}
    spend = pa.array([None, 1], pa.float32())
    rows = pa.table({"visits": pa.array([1, 2], pa.float32()), "spend": spend, "segment": ["a", "b"]})
    rejected, other = call(url, "score_table", "churn", rows, outputs="score").to_pylist()
    assert list(other) == ["score", "source", "rejected", "version", "data_as_of"]
    assert (rejected["score"], rejected["rejected"]["column"], other["rejected"]) == (None, "spend", None)
    assert call(url, "score_table", "churn", customers().slice(0, 0)).num_rows == 0
    with pytest.raises(
        TypeError, match=r"score_table takes a pyarrow table, not list. .* or a list of mappings to score"
    ):
        call(url, "score_table", "churn", [])
    with pytest.raises(TypeError, match="Pass other tables to score_table"):
        call(url, "score", "churn", customers())
    with pytest.raises(ValueError, match=r"rows\[1\]: feature spend is infinite, which JSON does not have"):
        call(url, "score", "churn", [{"features": features(1)}, {"features": {"spend": np.float32("inf")}}])
    with pytest.raises(TypeError, match=r"rows\[0\]: feature spend must be a number, .*, not date"):
        call(url, "score", "churn", [{"features": {"spend": date(2026, 1, 1)}}])


def test_arrow_rows_have_the_answers_that_json_has(live: httpx.Client) -> None:
    known = customers().slice(0, 3).to_pylist()
    rows = [*known, {**known[0], "customer": 70_000}, {**known[0], "customer": 70_001, "spend": None}]
    table = pa.Table.from_pylist(rows, customers().schema)
    as_json = [
        {"key": {"customer": row["customer"]}, "features": {name: _shortest(row[name]) for name in ("visits", "spend")}}
        for row in rows
    ]
    for parameters in ({}, {"prefer": "live"}, {"max_age": "0"}, {"output": "score"}):
        scored = _score_arrow(live, table, **parameters)
        for row, answer in zip(scored.to_pylist(), score(live, as_json, **parameters), strict=True):
            assert (row["key"], row["source"], row["rejected"]) == (answer["key"], answer["source"], answer["rejected"])
            assert row["prediction"] == answer["prediction"] or pytest.approx(answer["prediction"]) == row["prediction"]
            from_table = answer["source"] == "table"
            assert (row["data_as_of"].isoformat() == answer["data_as_of"]) is from_table
        assert scored.schema.metadata[b"version"] == b"1"
    assert [row["source"] for row in _score_arrow(live, table).to_pylist()] == ["table"] * 3 + ["live"] * 2

    features_alone = _score_arrow(live, table.drop_columns(["customer"]).slice(0, 3))
    assert features_alone.column_names == ["prediction", "source", "rejected", "data_as_of"]
    assert set(features_alone["source"].to_pylist()) == {"live"}
    for parameters in ({}, {"prefer": "live"}):
        keys_alone = _score_arrow(live, table.select(["customer"]), **parameters).to_pylist()
        assert [row["prediction"] is None for row in keys_alone] == [False] * 3 + [True] * 2
        assert "has no features to score" in keys_alone[3]["rejected"]["reason"]
    assert _score_arrow(live, table.slice(0, 0)).num_rows == 0
    _require_refusals(live, table.slice(0, 2))


def _require_refusals(live: httpx.Client, table: pa.Table) -> None:
    """Send wrong variants of a table, each of which is refused with its reason."""
    spend = table.column("spend").cast("double")
    for wrong, message in [
        (table.drop_columns(["spend"]), "has no column spend, which the model takes"),
        (table.set_column(2, "spend", spend), "Feature spend is double, and the model takes float32. Cast it first."),
        (table.set_column(2, "spend", pa.array(["1", "2"])), "Feature spend is string, and the model takes float32."),
        (table.append_column("list", pa.array([[1], [2]])), "Column list has the type list<item: int64>, which no"),
        (table.set_column(0, "customer", pa.array(["x", "y"])), "customer takes whole numbers"),
        (table.append_column("spend", spend), "has a column more than once"),
        (table.select([]), "has neither the features of churn nor its key"),
    ]:
        response = live.post(PATH, content=serialize(wrong), headers=ARROW, params={"prefer": "live"})
        assert (response.status_code, message in response.text) == (422, True), response.text
    large = table.set_column(1, "visits", pa.array([1, 16_777_217])).set_column(2, "spend", pa.array([1, 1]))
    exact, rejected = _score_arrow(live, large, prefer="live").to_pylist()
    assert (exact["rejected"], "Feature visits is 16777217" in rejected["rejected"]["reason"]) == (None, True)
    refused = live.post(PATH, content=serialize(table), headers={**ARROW, "Accept": "application/json"})
    assert refused.status_code == 406


def _shortest(value: float | None) -> float | None:
    return None if value is None else float(str(np.float32(value)))


def _score_arrow(client: httpx.Client, table: pa.Table, **parameters: str) -> pa.Table:
    response = client.post(PATH, content=serialize(table), headers=ARROW, params=parameters)
    assert (response.status_code, response.headers["Content-Type"]) == (200, ARROW["Content-Type"]), response.text
    return pa.ipc.open_stream(response.content).read_all()


def _model_file(project: Sandbox) -> Path:
    (file,) = (project.root / ".prescore" / "store" / "models").glob("*.onnx")
    return file


def test_without_its_model_file_a_model_is_refused_until_the_file_is_back(
    project: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is served all the while, and a model that was loaded answers without the store.

    The log says once that another release of ONNX Runtime scored the table.
    """
    older = "ONNX Runtime 1.0.0"
    project.rows(f"update prescore.versions set runtime = '{older}' returning true")
    file, row = _model_file(project), {"features": features(1)}
    content = file.read_bytes()
    file.write_bytes(linear([9.0, 9.0]))
    with serving(app(project)) as client:
        refused = client.post(PATH, json={"rows": [row]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "live_unavailable")
        message = "The model file of churn version 1 cannot be loaded. The server's log gives the reason."
        assert refused.json()["error"]["message"] == message
        assert refused.headers["Retry-After"]
        assert client.get("/v1/models/churn").json()["live"]["server_runtime"] is None
        file.unlink()
        refusals = 1
        # A load that fails for another reason is logged again, and once.
        while "does not have the whole model" not in caplog.text:
            assert client.post(PATH, json={"rows": [row]}).status_code == 503
            refusals += 1
            assert refusals < 10_000
        (table,) = score(client, [{"key": {"customer": 1}, **row}])
        assert table["source"] == "table"
        _require_keys_alone(client)
        assert scraped(client, "prescore_live_refused_total", model="churn", reason="unavailable") == refusals
        file.write_bytes(content)
        answer = _until_status(client, row, 200).json()["answers"][0]
        assert answer["prediction"]["score"] == pytest.approx(table["prediction"]["score"], abs=1e-6)
        file.unlink()
        assert score(client, [row])[0]["source"] == "live"
        described = client.get("/v1/models/churn").json()["live"]
        assert (described["runtime"], described["server_runtime"]) == (older, RUNTIME)
    assert caplog.text.count("does not have the whole model") == 1
    assert caplog.text.count(f"churn version 1 was scored with {older}, and is scored here with {RUNTIME}") == 1


def _require_keys_alone(client: httpx.Client, **parameters: str) -> None:
    """Send rows that have only keys, one of them unknown, as JSON and as Arrow: neither needs the model."""
    keys = pa.table({"customer": [1, -2]})
    for prefer in ("table", "live"):
        answers = score(client, [{"key": key} for key in keys.to_pylist()], prefer=prefer, **parameters)
        streamed = _score_arrow(client, keys, prefer=prefer, **parameters).to_pylist()
        for row, answer in zip(streamed, answers, strict=True):
            assert (row["key"], row["source"], row["rejected"]) == (answer["key"], answer["source"], answer["rejected"])
            assert (row["prediction"] is None) is (answer["prediction"] is None)


def test_a_store_that_hangs_delays_neither_lookups_nor_the_refusal_and_is_read_again_also_by_the_next_process(
    project: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    file = _model_file(project)
    content = file.read_bytes()
    file.unlink()
    # Opening it waits for a writer.
    os.mkfifo(file)
    bounds = LiveBounds(0.2, 60, 60, queue_rows=800, stuck_seconds=60, reload_seconds=0.5)
    store = project.root / ".prescore" / "store"
    service = Service(project.database, ServiceSettings(open_to_all=True), open_live(store, bounds))
    with serving(Dispatcher(service)) as client:
        for _ in range(3):
            refused = client.post(PATH, json={"rows": [{"features": features(1)}]})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "live_unavailable")
            assert client.get("/v1/predictions/churn/1").json()["found"]
        _require_bounded_parsing(client)
        # The thread that waits for the pipe waits forever.
        file.unlink()
        file.write_bytes(content)
        row = {"features": features(1)}
        killed = _require_replaced(client, row, [row], kill=True)
        _until_status(client, row, 200)
    assert f"scoring process {killed.pid} ended with status -9; another replaces it" in caplog.text


def _require_bounded_parsing(client: httpx.Client) -> None:
    """Send bodies that the scoring process parses, while it is stopped: two at most wait, others are refused."""
    (process,) = scoring_processes(psutil.Process())
    process.suspend()
    rows = [{"key": {"customer": number}} for number in range(800)]
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(client.post, PATH, json={"rows": rows}) for _ in range(4)]
        done = as_completed(sent)
        for refused in [next(done).result(), next(done).result()]:
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded"), refused.text
            assert "More keys of rows for churn arrive than the server can read: 800 rows are waiting" in refused.text
            assert refused.headers["Retry-After"]
        # They do not wait to be scored.
        assert not scraped(client, "prescore_live_queue_rows", model="churn")
        process.resume()
        assert 200 in [request.result().status_code for request in sent]


def test_answers_are_repeated_for_as_long_as_the_spec_says_and_not_for_another_version(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.spec(WITHOUT_CHECKS + 'cache = "1h"\n')
    assert materialize.run(sandbox.job()).published
    row, other = {"features": {"visits": 1, "spend": 0.5}}, {"features": {"visits": 2, "spend": 0.5}}
    with serving(app(sandbox)) as client:
        (first,) = score(client, [row])
        turned = {"features": {"spend": 0.5, "visits": 1}}
        new, again, same, rejected = score(client, [other, row, turned, {"features": {}}])
        assert first["data_as_of"] == again["data_as_of"] == same["data_as_of"] < new["data_as_of"]
        assert again["prediction"] == same["prediction"] == first["prediction"] != new["prediction"]
        between = datetime.fromisoformat(new["data_as_of"]) - datetime.fromisoformat(again["data_as_of"])
        older = again["age_seconds"] - new["age_seconds"]
        assert older == pytest.approx(between.total_seconds(), abs=0.002)
        assert rejected["rejected"]["reason"] == "Feature visits is missing."
        assert score(client, [{"features": {"visits": "1", "spend": 0.5}}])[0]["rejected"]
        assert scraped(client, "prescore_live_rows_total", model="churn", result="cached") == 2
        sandbox.onnx(linear([-2.0, 0.5]))

        def publish() -> None:
            assert materialize.run(sandbox.job()).published
            client.get("/v1/models/churn")

        # A version that was published between two requests of a call answers all of its rows.
        monkeypatch.setattr(parts, "MAX_KEYS", 1)
        with Client(address(client), transport=InterleavingTransport({1: publish}), timeout=60) as python_client:
            scored = python_client.score("churn", [{"features": row["features"]}] * 2)
        assert [(answer.version, answer["score"]) for answer in scored] == [
            (2, pytest.approx(1 / (1 + np.exp(1.75))))
        ] * 2


def test_rows_on_which_the_model_fails_are_rejected_alone(sandbox: Sandbox) -> None:
    """ONNX Runtime fails for a whole call when one of its rows has a text that is not a number."""
    cast = helper.make_node("Cast", ["visits"], ["score"], to=TensorProto.FLOAT)
    sandbox.onnx(model([cast], [("visits", TensorProto.STRING, [None])], [("score", TensorProto.FLOAT, [None])]))
    spec = WITHOUT_CHECKS.replace('features = ["visits", "spend"]', 'visits = "visits"')
    sandbox.spec(spec.replace('customer = "bigint"', 'visits = "text"'))
    sandbox.data(pa.table({"customer": range(100), "visits": [f"{n / 100}" for n in range(100)], "spend": [0.0] * 100}))
    assert materialize.run(sandbox.job()).published
    with serving(app(sandbox)) as client:
        rows = [{"features": {"visits": text}} for text in ("1.5", "many", "0.25", "NaN")]
        answers = score(client, rows)
        predictions = [answer["prediction"] and answer["prediction"]["score"] for answer in answers]
        assert predictions == [1.5, None, 0.25, None]
        assert "failed in ONNX Runtime" in answers[1]["rejected"]["reason"]
        assert answers[3]["rejected"] == {"column": "score", "reason": "Prediction score is NaN or infinite."}
        # The feature is the key, too: a key that is unknown has what the model takes.
        streamed = _score_arrow(client, pa.table({"visits": ["0.25", "1.5"]}))
        assert streamed["source"].to_pylist() == ["table", "live"]
        assert streamed["prediction"].to_pylist() == [{"score": 0.25}, {"score": 1.5}]


def _refused(client: httpx.Client) -> float:
    return scraped(client, "prescore_live_refused_total", model="churn", reason="unavailable") or 0


def _arrived(client: httpx.Client) -> float:
    """Return how many rows have arrived to be scored."""
    names = ("prescore_live_queue_rows", "prescore_live_batch_rows_sum")
    return sum(scraped(client, name, model="churn") or 0 for name in names)


def _until_status(client: httpx.Client, row: dict[str, Any], status: int) -> httpx.Response:
    """Score a row until the server answers with a status."""
    for _ in range(10_000):
        response = client.post(PATH, json={"rows": [row]})
        if response.status_code == status:
            return response
    raise AssertionError(f"{response.status_code} {response.text}")


def _endless() -> bytes:
    """Return a model that never returns for visits above 1000: a loop has no end then."""
    state = helper.make_tensor_value_info("next", TensorProto.FLOAT, [None, 1])
    inputs = [
        helper.make_tensor_value_info("number", TensorProto.INT64, []),
        helper.make_tensor_value_info("running", TensorProto.BOOL, []),
        helper.make_tensor_value_info("last", TensorProto.FLOAT, [None, 1]),
    ]
    body = [
        helper.make_node("Identity", ["running"], ["still"]),
        helper.make_node("Sigmoid", ["last"], ["next"]),
    ]
    still = helper.make_tensor_value_info("still", TensorProto.BOOL, [])
    nodes = [
        helper.make_node("Gemm", ["features", "weights"], ["sum"]),
        helper.make_node("ReduceMax", ["features"], ["highest"], keepdims=0),
        helper.make_node("Greater", ["highest", "limit"], ["endless"]),
        helper.make_node(
            "Loop", ["", "endless", "sum"], ["looped"], body=helper.make_graph(body, "body", inputs, [still, state])
        ),
        helper.make_node("Sigmoid", ["looped"], ["score"]),
    ]
    constants = {"weights": np.array([[1.0], [-0.5]], np.float32), "limit": np.array(1000.0, np.float32)}
    features, score = ("features", TensorProto.FLOAT, [None, 2]), ("score", TensorProto.FLOAT, [None, 1])
    return model(nodes, [features], [score], constants)


def test_a_scoring_process_that_is_stuck_is_replaced_and_fails_its_requests_and_no_others(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.spec(WITHOUT_CHECKS)
    sandbox.onnx(_endless())
    assert materialize.run(sandbox.job()).published
    store, bounds = sandbox.root / ".prescore" / "store", LiveBounds(60, 60, 60, stuck_seconds=2)
    service = Service(sandbox.database, ServiceSettings(open_to_all=True), open_live(store, bounds))
    row, endless = ({"features": {"visits": visits, "spend": 0}} for visits in (1, 2000))
    with serving(Dispatcher(service)) as client:
        # Rows of this number are parsed by the scoring process.
        stopped = _require_replaced(client, row, [{"key": {"customer": -1}, **row}] * 400)
        _until_status(client, row, 200)
        refused = client.post(PATH, json={"rows": [endless]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "live_unavailable")
        message = "churn version 1 has not scored the rows within 2 s. The process that scores rows is being replaced. "
        assert refused.json()["error"]["message"] == message + "Try again, with fewer rows."
        answer = _until_status(client, row, 200).json()["answers"][0]
        assert answer["prediction"]["score"] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)
    assert f"scoring process {stopped.pid} is killed: it has not responded for 2 s" in caplog.text
    assert "is killed: churn version 1 has computed for 2 s" in caplog.text


def test_a_scoring_process_that_never_starts_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        process = ScoringProcess(lambda: None, LiveBounds(start_seconds=3))
        starting = asyncio.create_task(process.start())
        while not (started := scoring_processes(psutil.Process())):
            await asyncio.sleep(0)
        started[0].suspend()
        await asyncio.wait_for(process.ready(), 60)
        await process.call("ping")
        await starting
        await process.stop()
        assert f"scoring process {started[0].pid} is killed: it has not responded for 3 s" in caplog.text

    asyncio.run(main())


def _require_replaced(
    client: httpx.Client, row: dict[str, Any], rows: list[dict[str, Any]], *, kill: bool = False
) -> psutil.Process:
    """Stop the scoring process by a signal, and maybe kill it, while rows are being scored; return it."""
    _until_status(client, row, 200)
    (process,) = scoring_processes(psutil.Process())
    arrived, refused_before = _arrived(client), _refused(client)
    process.suspend()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.post, PATH, json={"rows": rows}) for _ in range(3)]
        assert client.get("/v1/predictions/churn/1").json()["found"]
        if kill:
            while _arrived(client) < arrived + 3 * len(rows):
                assert not waiting[0].done()
            process.kill()
        responses = [request.result() for request in waiting]
        # Rows that were not being read yet are read by the next process.
        failed = [response for response in responses if response.status_code != 200]
        assert len(failed) == 3 if kill else failed
        for refused in failed:
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "live_unavailable")
            assert refused.json()["error"]["message"].startswith("The process that scores rows has ended")
            assert refused.headers["Retry-After"]
        assert _refused(client) == refused_before + len(failed)
    assert score(client, [{"key": {"customer": 1}, **row}])[0]["source"] == "table"
    return process


def test_the_store_may_be_at_a_url(sandbox: Sandbox, s3: S3) -> None:
    sandbox.settings(f'store = "{s3.url}"\n')
    sandbox.spec(WITHOUT_CHECKS)
    assert materialize.run(sandbox.job()).published
    (name,) = [name for name in s3.objects() if name.endswith(".onnx")]
    content = s3.get(name)
    s3.remove(name)
    s3.requests()
    with serving(build(sandbox.database, ServerSettings(open_to_all=True, store=s3.url))) as client:
        row = {"features": features(5)}
        refused = client.post(PATH, json={"rows": [row]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "live_unavailable")
        # A server only reads.
        assert {request.split()[0] for request in s3.requests()} <= {"GET", "HEAD"}
        s3.put(name, content)
        answer = _until_status(client, row, 200).json()["answers"][0]
    ((stored,),) = sandbox.rows("select score from predictions.churn where customer = 5")
    assert answer["prediction"]["score"] == pytest.approx(stored, abs=1e-6)


def test_a_server_needs_to_know_the_store(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    result = sandbox.cli("serve", "--live", "--port", "0")
    assert (result.code, "PRESCORE_STORE names none" in result.err) == (2, True)
    monkeypatch.setenv("PRESCORE_STORE", "elsewhere/store")
    result = sandbox.cli("serve", "--live", "--port", "0")
    assert (result.code, "elsewhere/store, which is not a folder" in result.err) == (2, True)
    monkeypatch.setenv("PRESCORE_STORE", "s3:/bucket")
    assert "PRESCORE_STORE is 's3:/bucket': it must be a path, or a URL" in sandbox.cli("serve", "--live").err
