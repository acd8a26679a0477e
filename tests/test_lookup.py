"""Lookups by key: the query plan that makes them fast, and the age and errors that answers report."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import RawCursor
from psycopg.rows import dict_row

from fix_api import Shelf
from fix_project import Sandbox, customers, linear
from prescore.catalog import lookup_statements
from prescore.catalog.catalog import Catalog
from prescore.run import materialize


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def test_a_lookup_uses_the_primary_key_and_touches_one_version(sandbox: Sandbox) -> None:
    sandbox.settings("chunk_rows = 20000\n")
    sandbox.data(customers(50_000))
    for bias in (0.1, 0.2, 0.3):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    with sandbox.database.connect() as connection:
        published = Catalog(connection).one("lookup_version", model="churn", version=None)
        statement = lookup_statements.published_statement(published).as_string(connection)
        values = lookup_statements.parameters([range(0, 50_000, 5_000)])
        cursor = RawCursor(connection, row_factory=dict_row)
        explained = cursor.execute(f"explain (analyze, format json) {statement}".encode(), values).fetchone()
    assert explained is not None
    scans = [n for n in _nodes(explained["QUERY PLAN"][0]["Plan"]) if n.get("Relation Name", "").startswith("churn_v")]
    executed = [node for node in scans if node["Actual Loops"] > 0]
    assert {node["Relation Name"] for node in executed} == {"churn_v3"}
    assert {node["Node Type"] for node in executed} == {"Index Scan"}


def test_the_answer_for_a_missing_key_has_an_age(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    missing = sandbox.cli("lookup", "churn", "4711000", "--json")
    assert missing.code == 2
    answer = json.loads(missing.out)
    assert (answer["found"], answer["prediction"], answer["version"]) == (False, None, 1)
    assert 0 <= answer["age_seconds"] < 3600
    assert answer["stale"] is False


def test_a_prediction_older_than_its_max_age_is_stale(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    with sandbox.database.connect() as connection:
        connection.execute("update prescore.versions set data_as_of = data_as_of - interval '27 hours'")
    answer = json.loads(sandbox.cli("lookup", "churn", "7", "--json").out)
    assert answer["stale"] is True
    assert answer["age_seconds"] > 27 * 3600
    assert sandbox.rows("select stale from predictions.freshness") == [(True,)]
    assert "older than its max age" in sandbox.cli("lookup", "churn", "7").out


def test_data_as_of_comes_from_the_column_or_query_of_the_spec(sandbox: Sandbox) -> None:
    sandbox.edit("[key]", "[domain.data_as_of]\ncolumn = 'seen'\n[key]")
    sandbox.query(
        "select customer, visits, spend, timestamp '2024-05-01' + interval (customer % 24) hour as seen"
        " from read_parquet('data/customers.parquet')"
    )
    sandbox.cli("run", "churn")
    assert sandbox.rows("select distinct data_as_of::text as t from predictions.churn") == [("2024-05-01 23:00:00+00",)]
    sandbox.edit("column = 'seen'", "query = \"select date '2024-06-02' as day\"")
    sandbox.cli("run", "churn", "--full")
    assert sandbox.rows("select distinct data_as_of::text as t from predictions.churn") == [("2024-06-02 00:00:00+00",)]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (["seven"], "customer must be a 64-bit integer, not 'seven'"),
        (["9223372036854775808"], "customer must be a 64-bit integer"),
        (["1", "2"], "The key of churn is customer: one value for each column, in this order. Given: 1 2."),
    ],
)
def test_a_malformed_key_is_refused(sandbox: Sandbox, key: list[str], message: str) -> None:
    sandbox.cli("run", "churn")
    result = sandbox.cli("lookup", "churn", *key)
    assert result.code == 2
    assert message in result.err


def test_values_outside_the_range_of_json_and_python_are_shown(sandbox: Sandbox, shelf: Shelf) -> None:
    types = {"nan": "double precision", "inf": "real", "d": "date", "t": "timestamp", "z": "timestamptz"}
    rows = [(1, 0.5, float("nan"), float("-inf"), "0044-03-15 BC", "12013-07-04T12:30:00", "infinity")]
    for _ in range(2):
        shelf.publish("odd", {"k": "bigint"}, rows, passthrough=types)
    result = sandbox.cli("lookup", "odd", "1", "--json")
    assert result.code == 0, result.err
    texts = ["0044-03-15 BC", "12013-07-04T12:30:00", "infinity"]
    assert json.loads(result.out)["prediction"] == dict(zip(["score", *types], [0.5, None, None, *texts], strict=True))
    assert "d      0044-03-15 BC" in sandbox.cli("lookup", "odd", "1").out
    changes = json.loads(sandbox.cli("compare", "odd", "1", "2", "--json").out)["columns"]
    assert {row["column"]: row["changed"] for row in changes} == dict.fromkeys(["score", *types], 0)
    assert [row["shift"]["mean_difference"] for row in changes[:3]] == [0, None, None]


def test_digits_beyond_microseconds_make_a_key_invalid(sandbox: Sandbox, shelf: Shelf) -> None:
    shelf.publish("seen", {"k": "timestamp"}, [("2013-07-04T12:30:00.123456", 0.5)])
    assert sandbox.cli("lookup", "seen", "2013-07-04T12:30:00.123456").code == 0
    finer = sandbox.cli("lookup", "seen", "2013-07-04T12:30:00.1234567", "--json")
    assert (finer.code, json.loads(finer.out)["error"]["code"]) == (2, "key_invalid")
