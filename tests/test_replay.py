"""Kept snapshots are scored again: `plan` says what a model file would change, `verify` proves a version."""

from __future__ import annotations

import json

import pytest

import prescore
from fix_project import SPEC, Sandbox, linear
from prescore.project.spec import Spec
from prescore.run import materialize

STATES = "select version, state from prescore.versions order by version"


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """A project with a published version; its checks need no Great Expectations of their own."""
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :])
    materialize.run(sandbox.job())
    return sandbox


def test_a_version_is_proven_by_its_snapshot_and_model_file(project: Sandbox) -> None:
    # The project has another model file, spec and data by now.
    project.onnx(linear([1.0, -0.5], 2.0))
    project.query("select customer, visits, spend from read_parquet('data/customers.parquet') where customer < 5")
    project.edit('comment = "from 0 to 1"', 'comment = "a chance"')
    done = project.cli("verify", "churn")
    assert done.code == 0, done.err
    assert done.out == (
        "churn version 1 is proven: its 1,000 rows equal what its snapshot and its model file give, bit by bit\n"
    )
    verification = json.loads(project.cli("verify", "churn", "1", "--json").out)
    assert (verification["verified"], verification["identical"], verification["differences"]) == (True, True, [])
    manifest = verification["manifest"]
    assert (manifest["version"], manifest["rows"], manifest["state"]) == (1, 1000, "published")
    assert len(manifest["model_fingerprint"]) == len(manifest["snapshot_fingerprint"]) == 64
    assert [event["event"] for event in manifest["history"]] == ["published", "checked"]
    assert manifest["spec"]["onnx"]["inputs"] == {"features": ["visits", "spend"]}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("update {} set score = 0.5 where customer = 7", "score: 1 row changed"),
        ("delete from {} where customer = 7", ""),
    ],
)
def test_a_table_that_was_changed_by_hand_is_found(project: Sandbox, change: str, difference: str) -> None:
    with project.database.connect() as connection:
        connection.execute(change.format("prescore_versions.churn_v1"))
    done = project.cli("verify", "churn")
    assert done.code in (2, 4)
    assert difference in done.err


def test_a_value_that_was_emptied_by_hand_is_found(project: Sandbox) -> None:
    project.edit("[onnx]\n", '[passthrough]\nspend = "real"\n[onnx]\n')
    materialize.run(project.job())
    assert project.cli("verify", "churn").code == 0
    with project.database.connect() as connection:
        connection.execute("update prescore_versions.churn_v2 set spend = null where customer = 7")
    done = project.cli("verify", "churn")
    assert (done.code, "spend: 1 row changed" in done.err) == (4, True)


def test_a_version_whose_snapshot_is_gone_cannot_be_verified(project: Sandbox) -> None:
    (snapshot,) = (project.root / ".prescore").rglob("*.parquet")
    snapshot.unlink()
    done = project.cli("verify", "churn")
    assert done.code == 2
    assert "The snapshot of churn version 1 is gone from the store, or was changed since" in done.err


def test_a_plan_says_what_a_model_file_would_change_and_makes_no_version(project: Sandbox) -> None:
    unchanged = json.loads(project.cli("plan", "churn", "--json").out)
    assert [night["comparison"]["keys"]["changed"] for night in unchanged["nights"]] == [0]
    project.onnx(linear([1.0, -0.5], 0.1))
    # Neither the domain nor its data are needed.
    project.query("this is not a query")
    planned = prescore.Project(project.root, progress=False).plan("churn")
    (night,) = planned.nights
    assert (night.version, night.comparison.keys.changed, night.outcome) == (1, 1000, "the spec has no limits for it")
    text = project.cli("plan", "churn").out
    summary = "churn version 1 (published), scored again: the spec has no limits for it"
    assert summary in text
    markdown = project.cli("plan", "churn", "--markdown").out
    assert f"**{summary}.**\n\n1,000 of 1,000 rows would change; 0 would be rejected.\n" in markdown
    movers = planned.comparisons()[0].tables()["rows that moved most"]
    assert "Rows that moved most:\n\n| column | key | from | to |\n|---|---|---|---|\n| score | " in markdown
    assert f"\n| score | {movers[0]['key']} | " in markdown
    assert ">score</td>" in planned._repr_html_()
    assert project.rows(STATES) == [(1, "published")]
    assert project.rows("select count(*) from pg_class where relpersistence = 't'") == [(0,)]


def test_a_plan_beyond_a_limit_fails_and_its_markdown_says_why(project: Sandbox) -> None:
    project.spec((project.root / "specs" / "churn.toml").read_text() + "[comparison.columns.score]\nks.refuse = 0.1\n")
    project.onnx(linear([1.0, -0.5], 2.0))
    done = project.cli("plan", "churn", "--markdown")
    assert done.code == 4
    assert "A version like churn version 1 would be refused" in done.err
    lines = done.out.splitlines()
    assert lines[0] == "### prescore plan: churn"
    assert lines[2] == "**churn version 1 (published), scored again: would be refused by 1 limit.**"
    assert "| column | changed | moved | mean | mean difference | largest | PSI | KS |" in lines
    assert any(line.startswith("| score | 1,000 | 1,000 | 0.") for line in lines)
    assert any(line.startswith("- refused: KS distance of score: observed 0.") for line in lines)


def test_a_plan_does_not_count_the_last_digits_of_numbers(project: Sandbox) -> None:
    limit = "[comparison.columns.score]\nchanged.refuse = 0\n"
    project.spec((project.root / "specs" / "churn.toml").read_text() + limit)
    with project.database.connect() as connection:
        connection.execute("update prescore_versions.churn_v1 set score = score + 2e-7")
    planned = json.loads(project.cli("plan", "churn", "--json").out)
    (column,) = planned["nights"][0]["comparison"]["columns"]
    assert planned["nights"][0]["outcome"] == "within the limits"
    assert (planned["nights"][0]["comparison"]["keys"]["changed"], column["changed"]) == (0, 0)
    assert 1e-7 < column["shift"]["largest_difference"] < 1e-6
    assert column["shift"]["movers"] == []
    with project.database.connect() as connection:
        connection.execute("update prescore_versions.churn_v1 set score = score + 2e-6 where customer = 7")
    done = project.cli("plan", "churn", "--markdown")
    assert (done.code, "1 of 1,000 rows would change" in done.out) == (4, True)


def test_a_backtest_scores_earlier_nights_too(project: Sandbox) -> None:
    for customers in (900, 800):
        project.query(f"select * from read_parquet('data/customers.parquet') where customer < {customers}")
        materialize.run(project.job())
    project.onnx(linear([1.0, -0.5], 0.1))
    nights = json.loads(project.cli("plan", "churn", "--backtest", "5", "--json").out)["nights"]
    assert [(night["version"], night["comparison"]["keys"]["common"]) for night in nights] == [
        (3, 800),
        (2, 900),
        (1, 1000),
    ]
    project.spec((project.root / "specs" / "churn.toml").read_text() + "[comparison.columns.score]\nks.refuse = 0.01\n")
    refused = project.cli("plan", "churn", "--backtest", "2")
    assert (refused.code, refused.out.count("\n  refused: KS distance of score: observed 0.")) == (4, 3)
    assert refused.err.endswith("\n  So would versions 2, 1.\n")

    # One that is damaged does not stop the others.
    with project.database.connect() as connection:
        connection.execute("delete from prescore_versions.churn_v2 where customer < 100")
    (snapshot,) = (project.root / ".prescore").rglob("snapshots/churn/1.*.parquet")
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    lost = (
        "churn version 2 (superseded), not available: churn version 2 has 900 rows according to the catalog, and 800 "
        "can be read from prescore_versions.churn_v2. Was the table truncated, detached or changed by hand? The "
        "version is superseded: do not publish it, and do not roll back to it.\n"
    )
    damaged = "churn version 1 (superseded), not available: The snapshot of churn version 1 is gone from the store, or"
    for option in ("--no-progress", "--markdown"):
        done = project.cli("plan", "churn", "--backtest", "2", option)
        assert (done.code, lost in done.out, damaged in done.out) == (4, True, True)
        assert "churn version 3" in done.out
    planned = json.loads(project.cli("plan", "churn", "--backtest", "2", "--json").out)
    assert [night["version"] for night in planned["nights"]] == [3]
    assert [(night["version"], night["state"]) for night in planned["unavailable"]] == [
        (2, "superseded"),
        (1, "superseded"),
    ]


def test_a_plan_needs_the_columns_of_the_snapshot(project: Sandbox) -> None:
    project.edit('features = ["visits", "spend"]', 'features = ["visits", "age"]')
    done = project.cli("plan", "churn")
    assert done.code == 2
    assert "The snapshot of churn version 1 does not have the column age, which the spec needs now" in done.err
    assert "prescore run churn --no-publish" in done.err


def test_a_plan_needs_a_published_version(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn", "--no-publish")
    for command in ("plan", "verify"):
        done = sandbox.cli(command, "churn")
        assert (done.code, "churn has no published version" in done.err) == (2, True)


@pytest.mark.parametrize("inputs", ['"by name"', '["visits", "spend"]', '{ x = ["visits"], y = "spend" }'])
def test_the_catalog_keeps_a_spec_as_it_was(sandbox: Sandbox, inputs: str) -> None:
    sandbox.edit('[onnx.inputs]\nfeatures = ["visits", "spend"]\n', f'inputs = {inputs}\nnullable = ["visits"]\n')
    spec = sandbox.job().spec
    kept = Spec.from_content("churn", json.loads(json.dumps(spec.content)))
    assert kept.fingerprint == spec.fingerprint
    assert kept.content == spec.content
