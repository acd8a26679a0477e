"""The public Python API: what `import prescore` offers, on a real project and a real database."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import prescore
from fix_project import Sandbox, customers, linear
from prescore import errors
from prescore.catalog.database import Connection
from prescore.versions import lease

SCRIPT = "<script>alert('x')</script>"
LAST_SCORE = "1 / (1 + exp(-(visits - 0.5 * spend)))"
EVERY_TYPE = """
select customer, visits, spend,
       case when customer > 0 then customer::smallint end as small,
       case when customer > 0 then 9007199254740993 + customer end as large,
       case when customer > 0 then customer % 2 = 0 end as even,
       case when customer = 1 then '' when customer > 0 then 'a, "b"' || chr(10) || 'c' || customer end as note,
       case when customer > 0 then '8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d' end as token,
       case when customer > 0 then date '2013-07-04' end as born,
       case when customer > 0 then timestamp '2013-07-04 17:30:00.000001' end as at_local,
       case when customer > 0 then timestamptz '2013-07-04 17:30:00.000001+02' end as at_moment,
       case when customer > 0 then 0.1 end::double as share
from read_parquet('data/customers.parquet')
"""
PASSTHROUGH = """
[passthrough]
small = "smallint"
large = "bigint"
even = "boolean"
note = "text"
token = "uuid"
born = "date"
at_local = "timestamp"
at_moment = "timestamptz"
share = "double precision"
[onnx]
"""


@pytest.fixture
def project(sandbox: Sandbox) -> prescore.Project:
    """The churn project."""
    return prescore.Project(sandbox.root)


@pytest.fixture
def two_versions(sandbox: Sandbox, project: prescore.Project) -> prescore.Project:
    """The churn project with versions 1 and 2, of different models; 2 is served."""
    project.run("churn")
    sandbox.onnx(linear([1.0, -0.5], 0.1))
    project.run("churn")
    return project


def test_every_public_name_can_be_imported_and_is_documented() -> None:
    for name in prescore.__all__:
        exported = getattr(prescore, name)
        assert inspect.isclass(exported) or inspect.isfunction(exported)
        assert exported.__doc__, f"prescore.{name} has no docstring"
    assert set(prescore.__all__) <= set(dir(prescore))


def test_every_public_method_has_a_docstring() -> None:
    exported = (getattr(prescore, name) for name in prescore.__all__)
    for kind in filter(inspect.isclass, exported):
        for name, member in vars(kind).items():
            if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{kind.__name__}.{name} has no docstring"


def test_errors_are_the_same_classes_as_inside() -> None:
    assert prescore.Refused is errors.Refused
    assert issubclass(prescore.NotFound, prescore.PrescoreError)


def test_the_package_has_its_version() -> None:
    assert prescore.__version__ == version("prescore")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Projekt'"):
        _ = prescore.Projekt  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("Scorer", "onnxruntime", "score"), ("RunReport", "pyarrow", "jobs")]
)
def test_a_missing_extra_says_what_to_install(name: str, package: str, extra: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from prescore import {name}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "prescore.errors.Mistake: " in done.stderr
    assert f"pip install 'prescore[{extra}]'" in done.stderr


def test_a_run_publishes_and_reports(project: prescore.Project, capsys: pytest.CaptureFixture[str]) -> None:
    report = project.run("churn")
    assert (report.model, report.version, report.state, report.published) == ("churn", 1, "published", True)
    assert (report.rows, report.rejected, report.chunks, report.resumed) == (1000, 0, 10, False)
    assert list(report.seconds) == ["snapshot", "score", "stage", "check", "publish", "total"]
    assert all(check["passed"] for check in report.checks)
    assert json.loads(json.dumps(report.as_dict(), default=str))["served"] == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_run_can_be_staged_and_published_later(project: prescore.Project) -> None:
    assert project.run("churn", publish=False).state == "checked"
    with pytest.raises(prescore.NotFound, match="churn has no published version here"):
        project.read("churn")
    published = project.publish("churn", 1)
    assert [(version.version, version.state) for version in published] == [(1, "published")]
    assert len(project.read("churn")) == 1000


def test_a_trial_reads_some_rows_and_is_not_published(project: prescore.Project) -> None:
    report = project.run("churn", trial_rows=150)
    assert (report.state, report.published, report.trial_rows) == ("checked", False, 150)
    assert "as a trial on at most 150 rows" in report.outcome()
    with pytest.raises(prescore.Mistake, match="trial_rows is 0"):
        project.run("churn", trial_rows=0)


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        (datetime(2026, 1, 31, 5), datetime(2026, 1, 31, 5, tzinfo=UTC)),  # noqa: DTZ001 - a time without a zone
        (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T05:00:00+01:00", datetime(2026, 1, 31, 4, tzinfo=UTC)),
    ],
)
def test_the_time_of_a_run_is_a_datetime_a_date_or_a_text(
    sandbox: Sandbox, project: prescore.Project, as_of: date | str, expected: datetime
) -> None:
    sandbox.query("select * from read_parquet('data/customers.parquet') where $as_of > timestamptz '2000-01-01'")
    assert project.run("churn", as_of=as_of).as_of == expected


@pytest.mark.parametrize("as_of", ["yesterday", 20260131])
def test_a_time_that_is_not_valid_is_a_mistake(project: prescore.Project, as_of: Any) -> None:
    with pytest.raises(prescore.Mistake, match="is not a valid time"):
        project.run("churn", as_of=as_of)


def test_a_refused_run_raises_and_can_be_inspected(sandbox: Sandbox, project: prescore.Project) -> None:
    project.run("churn")
    sandbox.onnx(linear([1.0, -0.5], add=1.0))
    with pytest.raises(prescore.Refused, match="Version 1 is still served") as refused:
        project.run("churn")
    assert [check["passed"] for check in refused.value.checks].count(False) == 1
    report = project.report("churn")
    assert (report.version, report.state, report.served) == (2, "refused", 1)
    assert "total" not in report.seconds
    assert project.read("churn", 2)["score"].min() > 1
    assert set(project.read("churn")["version"]) == {1}


def test_a_run_waits_for_another_one(
    sandbox: Sandbox, project: prescore.Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("churn")
    started, done = threading.Event(), threading.Event()

    def hold_lease() -> None:
        with lease.holding(sandbox.database, "churn"):
            started.set()
            done.wait(30)

    other = threading.Thread(target=hold_lease)
    other.start()
    started.wait(30)
    with pytest.raises(prescore.Busy):
        project.run("churn")
    threading.Timer(0.5, done.set).start()
    assert project.run("churn", wait=True).published
    other.join()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("Waiting for it.\n")


def test_reading_returns_the_columns_of_the_view_with_exact_types(sandbox: Sandbox, project: prescore.Project) -> None:
    sandbox.edit("[onnx]\n", PASSTHROUGH)
    sandbox.query(EVERY_TYPE)
    sandbox.data(customers(300))
    sandbox.settings("chunk_rows = 100\n[sources]\n")
    project.run("churn")
    frame = project.read("churn").sort_values("customer", ignore_index=True)
    names = sandbox.rows(
        "select attname from pg_attribute where attrelid = 'predictions.churn'::regclass and attnum > 0 order by attnum"
    )
    assert list(frame.columns) == [name for (name,) in names]
    assert {name: str(dtype) for name, dtype in frame.dtypes.items() if name not in ("note", "token", "born")} == {
        "customer": "int64",
        "version": "int32",
        "data_as_of": "datetime64[us, UTC]",
        "published_at": "datetime64[us, UTC]",
        "score": "float32",
        "small": "Int16",
        "large": "Int64",
        "even": "boolean",
        "at_local": "datetime64[us]",
        "at_moment": "datetime64[us, UTC]",
        "share": "float64",
    }
    null = frame.iloc[0]
    assert all(pd.isna(null[name]) for name in ("small", "large", "even", "note", "token", "born", "at_local", "share"))
    assert frame.loc[1, "note"] == ""
    last = frame.iloc[299]
    assert (last["small"], last["large"], last["even"]) == (299, 9007199254740993 + 299, False)
    assert last["note"] == 'a, "b"\nc299'
    assert (last["token"], last["born"]) == (UUID("8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d"), date(2013, 7, 4))
    assert last["at_local"] == pd.Timestamp("2013-07-04 17:30:00.000001")
    assert last["at_moment"] == pd.Timestamp("2013-07-04 15:30:00.000001", tz="UTC")
    assert last["share"] == 0.1


def test_reading_returns_the_values_that_were_stored(sandbox: Sandbox, project: prescore.Project) -> None:
    project.run("churn")
    frame = project.read("churn").sort_values("customer", ignore_index=True)
    rows = sandbox.rows("select customer, score, data_as_of, published_at from predictions.churn order by customer")
    assert frame["customer"].tolist() == [row[0] for row in rows]
    assert np.array_equal(frame["score"], np.array([row[1] for row in rows], np.float32))
    assert set(frame["data_as_of"]) == {pd.Timestamp(rows[0][2])}
    assert set(frame["published_at"]) == {pd.Timestamp(rows[0][3])}


def test_an_earlier_version_can_be_read_by_its_number(two_versions: prescore.Project) -> None:
    earlier = two_versions.read("churn", 1).set_index("customer").sort_index()
    served = two_versions.read("churn").set_index("customer").sort_index()
    assert (set(earlier["version"]), set(served["version"])) == ({1}, {2})
    assert (served["score"] > earlier["score"]).all()


def test_a_lookup_of_a_frame_says_how_to_merge(project: prescore.Project) -> None:
    with pytest.raises(prescore.KeyInvalid, match=r'frame\.merge\(project\.read\("churn"\), how="left"\)'):
        project.lookup("churn", pd.DataFrame({"customer": [1]}))


def test_some_columns_can_be_read(two_versions: prescore.Project) -> None:
    whole = two_versions.read("churn", 1)
    for names in (["score", "customer"], ["customer", "version"], ["published_at"]):
        pd.testing.assert_frame_equal(two_versions.read("churn", 1, columns=names), whole[names])
    with pytest.raises(prescore.Mistake, match=r"has no column Score\. Its columns are customer, score, version, "):
        two_versions.read("churn", columns=["Score"])


def test_a_version_without_a_table_cannot_be_read(two_versions: prescore.Project, connection: Connection) -> None:
    connection.execute("update prescore.versions set state = 'retired' where version = 1")
    with pytest.raises(prescore.NotAllowed, match="churn version 1 is retired: it has no table to read"):
        two_versions.read("churn", 1)
    with pytest.raises(prescore.NotFound, match="churn has no version 7"):
        two_versions.read("churn", 7)
    with pytest.raises(prescore.NotFound, match="upsell has no published version"):
        two_versions.read("upsell")


def test_a_time_that_pandas_cannot_hold_is_an_error(sandbox: Sandbox, project: prescore.Project) -> None:
    sandbox.edit("[onnx]\n", '[passthrough]\nuntil = "timestamptz"\n[onnx]\n')
    sandbox.query("select *, timestamptz '2026-01-31 00:00+00' as until from read_parquet('data/customers.parquet')")
    project.run("churn")
    with sandbox.database.connect() as connection:
        connection.execute("update prescore_versions.churn_v1 set until = 'infinity' where customer = 5")
    with pytest.raises(prescore.NotAllowed, match="such as an infinite time"):
        project.read("churn")


def test_versions_are_listed_newest_first(two_versions: prescore.Project) -> None:
    versions = two_versions.versions("churn")
    assert [(version.version, version.state, version.rows) for version in versions] == [
        (2, "published", 1000),
        (1, "superseded", 1000),
    ]
    assert isinstance(versions[0].data_as_of, datetime)
    assert (len(versions), versions[-1].version, [v.version for v in versions[:1]]) == (2, 1, [2])
    assert versions.as_dicts()[0]["table_name"] == "churn_v2"
    with pytest.raises(prescore.NotFound, match="Model 'upsell' has never been run"):
        two_versions.versions("upsell")


def test_two_versions_can_be_compared(two_versions: prescore.Project) -> None:
    comparison = two_versions.compare("churn", 1, 2)
    keys = comparison.keys
    assert (keys.added, keys.vanished, keys.common, keys.changed) == (0, 0, 1000, 1000)
    (column,) = comparison.columns
    assert column.column == "score"
    assert column.shift is not None
    assert column.shift.mean_difference is not None
    assert 0 < column.shift.mean_difference < 0.1
    assert comparison.as_dict()["keys"] == {"added": 0, "vanished": 0, "common": 1000, "changed": 1000}


def test_rollback_holds_the_model_until_it_is_released(two_versions: prescore.Project) -> None:
    version = two_versions.rollback("churn", reason="too high")
    assert (version.version, version.state) == (1, "published")
    assert two_versions.versions("churn")[0].withdrawn
    (status,) = two_versions.status()
    assert (status.version, status.held, status.hold_reason) == (1, True, "too high")
    assert set(two_versions.read("churn")["version"]) == {1}
    assert two_versions.release("churn") is None
    assert not two_versions.status()[0].held
    assert two_versions.history("churn")[0].event == "released"


def test_releasing_names_the_version_that_waits(project: prescore.Project) -> None:
    project.run("churn")
    project.hold("churn", "an audit")
    assert project.run("churn").published is False
    assert project.release("churn") == 2
    with pytest.raises(prescore.NotAllowed, match="not on hold"):
        project.release("churn")


def test_versions_of_several_models_are_published_together(sandbox: Sandbox, project: prescore.Project) -> None:
    sandbox.spec((sandbox.root / "specs/churn.toml").read_text(), "upsell")
    for name in ("churn", "upsell"):
        project.run(name, publish=False)
    published = project.publish({"upsell": 1, "churn": 1})
    assert [(version.model, version.state) for version in published] == [
        ("churn", "published"),
        ("upsell", "published"),
    ]
    with pytest.raises(prescore.NotAllowed, match="is already the published one"):
        project.publish("churn", 1)


def test_publishing_needs_a_version(project: prescore.Project) -> None:
    with pytest.raises(prescore.Mistake, match="Which version of churn"):
        project.publish("churn")  # type: ignore[call-overload]
    with pytest.raises(prescore.Mistake, match="takes no further version"):
        project.publish({"churn": 1}, 2)  # type: ignore[call-overload]


def test_pinned_versions_are_not_retired(sandbox: Sandbox, project: prescore.Project) -> None:
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    for _ in range(3):
        project.run("churn", publish=False)
        project.publish("churn", project.versions("churn")[0].version)
    project.pin("churn", 1, reason="the audit")
    assert project.versions("churn")[-1].pinned
    plan = project.retire("churn", dry_run=True)
    assert plan.retired == (2,)
    assert [(decision.version, decision.state, decision.reason) for decision in plan.decisions] == [
        (3, "published", "it is published"),
        (2, "superseded", None),
        (1, "superseded, pinned", "it is pinned"),
    ]
    assert project.retire("churn").retired == (2,)
    project.unpin("churn", 1)
    assert project.retire("churn").retired == (1,)


def test_a_key_is_looked_up_by_its_value(project: prescore.Project) -> None:
    project.run("churn")
    frame = project.read("churn").set_index("customer")
    for key in (7, np.int64(7), "7"):
        result = project.lookup("churn", key)
        assert result.found
        assert result.prediction == {"score": pytest.approx(frame["score"][7])}
    missing = project.lookup("churn", 4711)
    assert (missing.found, missing.prediction, missing.version) == (False, None, 1)
    with pytest.raises(prescore.KeyInvalid, match="customer must be a 64-bit integer"):
        project.lookup("churn", 7.5)
    with pytest.raises(prescore.KeyInvalid, match="Given: no value"):
        project.lookup("churn")
    with pytest.raises(prescore.KeyInvalid):
        project.lookup("churn", 7, 8)


def test_validation_returns_the_size_of_the_domain(project: prescore.Project, sandbox: Sandbox) -> None:
    result = project.validate("churn")
    assert (result.model, result.rows, result.rejected) == ("churn", 1000, 0)
    assert [warning[:25] for warning in result.warnings] == ["The spec has no examples,"]
    assert project.validate().as_dicts() == [result.as_dict()]
    assert project.models() == ["churn"]
    assert sandbox.rows("select model from prescore.models") == []


def test_validation_raises_the_first_fault(project: prescore.Project, sandbox: Sandbox) -> None:
    with pytest.raises(prescore.NotFound, match="Did you mean churn"):
        project.validate("chorn")
    sandbox.data(customers(0))
    with pytest.raises(prescore.Refused, match="empty"):
        project.validate("churn")
    sandbox.query("select customer, visits from read_parquet('data/customers.parquet')")
    with pytest.raises(prescore.DomainInvalid, match="spend"):
        project.validate()
    sandbox.onnx(b"")
    with pytest.raises(prescore.ModelInvalid, match="empty"):
        project.validate()
    sandbox.edit("[key]", "[keys]")
    with pytest.raises(prescore.SpecInvalid, match="did you mean key"):
        project.validate("churn")


def test_a_project_is_found_from_a_folder_below_it(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_PROJECT")
    project = prescore.Project(sandbox.root / "specs")
    assert project.root == sandbox.root
    assert project.database_url == sandbox.database.url
    assert repr(project) == f"Project({str(sandbox.root)!r})"
    monkeypatch.chdir(sandbox.root / "specs")
    assert prescore.Project().root == sandbox.root


def test_a_path_that_is_not_a_folder_is_a_mistake(sandbox: Sandbox) -> None:
    with pytest.raises(prescore.Mistake, match="nowhere is not a folder"):
        prescore.Project(sandbox.root / "nowhere")


@pytest.mark.usefixtures("two_versions")
def test_without_a_project_the_database_can_still_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("PRESCORE_PROJECT", str(elsewhere))
    project = prescore.Project()
    assert project.status()[0].version == 2
    assert len(project.read("churn")) == 1000
    assert repr(project) == "Project()"
    with pytest.raises(prescore.Mistake, match=r"no prescore\.toml"):
        project.run("churn")
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    with pytest.raises(prescore.Mistake, match=r"no prescore\.toml"):
        prescore.Project()


def test_reading_does_not_migrate(project: prescore.Project, sandbox: Sandbox, connection: Connection) -> None:
    connection.execute("drop schema prescore cascade")
    with pytest.raises(prescore.DatabaseRefused, match="has no prescore catalog"):
        project.status()
    assert sandbox.rows("select to_regclass('prescore.models') is null") == [(True,)]


def test_a_scorer_predicts_what_the_run_stored(project: prescore.Project, sandbox: Sandbox) -> None:
    project.run("churn")
    stored = project.read("churn").set_index("customer")["score"]
    frame = customers().to_pandas().set_index("customer", drop=False).sample(frac=1.0, random_state=0)
    for source in (None, project, sandbox.root):
        scorer = prescore.Scorer.from_project("churn", source)
        predictions = scorer.score(frame)
        assert list(predictions.columns) == ["score"]
        assert predictions["score"].dtype == np.float32
        assert np.allclose(predictions["score"], stored.loc[frame.index], atol=1e-6)
    batch = customers().to_batches()[0]
    assert prescore.Scorer.from_project("churn").score(batch).schema.field("score").type == pa.float32()
    with pytest.raises(prescore.DomainInvalid, match="spend"):
        scorer.score(frame.drop(columns="spend"))
    for rows in ([1.0], "visits", frame["visits"], None):
        with pytest.raises(TypeError, match="takes a pandas DataFrame, an Arrow table, a numpy array, a list of dicts"):
            scorer.score(rows)


def test_a_scorer_of_a_version_predicts_in_every_form_what_the_version_holds(
    project: prescore.Project, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.run("churn")
    stored = project.read("churn").sort_values("customer")["score"].to_numpy()
    table = customers()
    frame = table.to_pandas()
    sandbox.onnx(linear([-3.0, 1.0]))
    project.run("churn")
    (sandbox.root / "specs" / "churn.toml").unlink()
    scorer = prescore.Scorer.from_version("churn", 1, project)
    assert np.allclose(scorer.score(frame)["score"], stored, atol=1e-6)
    assert np.allclose(scorer.score(table.select(["spend", "visits"]))["score"], stored, atol=1e-6)
    assert np.allclose(scorer.score(frame[list(scorer.features)].to_numpy())["score"], stored, atol=1e-6)
    objects = frame[list(scorer.features)].astype(object).to_numpy()
    assert np.allclose(scorer.score(objects)["score"], stored, atol=1e-6)
    rows: Any = frame[["visits", "spend"]].to_dict("records")
    predictions = scorer.score(rows)
    assert np.allclose([prediction["score"] for prediction in predictions], stored, atol=1e-6)
    assert scorer.score(rows[3]) == {"score": pytest.approx(stored[3], abs=1e-6)}
    assert scorer.score([]) == []
    assert scorer.score(frame.iloc[:0]).empty
    for wrong, message in [
        ({"visits": 1}, "Row 0: Feature spend is missing"),
        ([rows[0], {"visits": None, "spend": 1}], "Row 1: Feature visits is null"),
        (np.zeros((3, 1), np.float32), "the model takes rows of 2 features: visits, spend"),
        (np.zeros((3, 2)), "Feature visits is double, and the model takes float32. Cast it first"),
    ]:
        with pytest.raises(prescore.DomainInvalid, match=message):
            scorer.score(wrong)
    with pytest.raises(prescore.ModelFailed, match="Row 1: Prediction score is NaN or infinite"):
        scorer.score(np.array([[0, 0], [np.inf, np.inf]], np.float32))

    # An application has no project: the environment names database and store.
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.delenv("PRESCORE_PROJECT")
    with monkeypatch.context() as unset:
        unset.delenv("PRESCORE_DATABASE_URL")
        with pytest.raises(prescore.Mistake, match=r"without a project, .* set PRESCORE_DATABASE_URL"):
            prescore.Scorer.from_version("churn")
    with pytest.raises(prescore.Mistake, match="PRESCORE_STORE names no store"):
        prescore.Scorer.from_version("churn")
    monkeypatch.setenv("PRESCORE_STORE", str(sandbox.root / ".prescore" / "store"))
    expected = 1 / (1 + np.exp(3.0 - 2.0))
    assert prescore.Scorer.from_version("churn").score({"visits": 1, "spend": 2})["score"] == pytest.approx(expected)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: np.allclose(scorer.score(frame)["score"], stored, atol=1e-6), range(50)))

    sandbox.rows("update prescore.versions set runtime = 'ONNX Runtime 1.0.0' where version = 1 returning true")
    with pytest.warns(prescore.RuntimeDiffers, match="^churn version 1 was scored with ONNX Runtime 1.0.0, "):
        prescore.Scorer.from_version("churn", 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.array([0.1, 0.2]),
            "visits is float64, not float32. Convert them: frame.astype({'visits': 'float32'})",
        ),
        (["1", "2"], "not float32. Convert them: frame.astype({'visits': 'float32'})"),
        (np.array([1, np.nan], np.float32), "has missing values"),
    ],
)
def test_a_scorer_says_how_to_convert_a_frame(project: prescore.Project, values: Any, message: str) -> None:
    scorer = prescore.Scorer.from_project("churn", project)
    frame = pd.DataFrame({"visits": values, "spend": np.array([1, 2], np.float32)})
    with pytest.raises(prescore.DomainInvalid) as raised:
        scorer.score(frame)
    assert message in str(raised.value)
    assert "query" not in str(raised.value)


def test_html_escapes_the_users_text(project: prescore.Project, sandbox: Sandbox) -> None:
    sandbox.edit("scores are probabilities", f"{SCRIPT}")
    report = project.run("churn")
    project.hold("churn", SCRIPT)
    held = project.run("churn")
    results: list[Any] = [
        report,
        held,
        project.status(),
        project.history("churn"),
        project.history("churn")[0],
        project.versions("churn"),
        project.lookup("churn", 7),
        project.compare("churn", 1, 2),
        project.validate(),
        project.retire("churn", dry_run=True),
    ]
    pages = [result._repr_html_() for result in results]
    for page in pages:
        assert page.startswith("<table>")
        assert "<script" not in page
    assert "loading, validating and waiting" in report._repr_html_()
    assert " UTC</td>" in project.versions("churn")._repr_html_()
    assert "&lt;script&gt;" in report._repr_html_()
    assert "&lt;script&gt;" in project.history("churn")._repr_html_()


def test_an_empty_list_has_html_too(project: prescore.Project) -> None:
    assert project.status()._repr_html_() == "<p>none</p>"
