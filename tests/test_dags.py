"""The DAGs as Airflow loads and runs them. Airflow runs in processes of its own: see fix_airflow.py."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from fix_airflow import Airflow, start_airflow
from fix_postgres import recreate
from fix_project import SPEC, Sandbox, customers, linear
from fix_soak import soak
from prescore.catalog import migrations
from prescore.catalog.database import Database
from prescore.errors import Busy
from prescore.run import registration
from prescore.versions import lease

REPO = Path(__file__).parents[1]
HEAVY = {"pyarrow", "onnxruntime", "onnx", "great_expectations", "duckdb", "pandas", "numpy", "pgpq", "sklearn"}
UPKEEP = {"prescore_watch", "prescore_retire"}
SERVED = "select distinct version from predictions.churn"
STATES = "select version, state from prescore.versions order by version"
LEASES = "select count(*) from prescore.leases where expires_at >= now()"


def test_reading_the_dag_files_opens_only_specs_and_imports_nothing_heavy(
    airflow_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL", raising=False)
    monkeypatch.delenv("PRESCORE_PROJECT", raising=False)
    with start_airflow(airflow_home) as fresh:
        loaded = fresh.load(REPO / "dags")
    assert loaded["errors"] == {}
    assert set(loaded["dags"]) == {f"prescore_{path.stem}" for path in (REPO / "specs").glob("*.toml")} | UPKEEP
    assert not HEAVY & set(loaded["imported"])
    files_in_repo = {
        Path(name)
        for name in loaded["opened"]
        if name.startswith(f"{REPO}/") and not {".venv", "__pycache__"} & set(Path(name).parts)
    }
    assert {path for path in files_in_repo if path.suffix not in (".py", ".pyc")} == {
        REPO / "dags/.airflowignore",
        *(REPO / "specs").glob("*.toml"),
    }


def test_a_dag_has_the_schedule_of_its_spec(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_PROJECT", raising=False)
    dag = airflow.load(REPO / "dags")["dags"]["prescore_flight_delay"]
    # 05:00 in New York, before and after the change to summer time.
    assert dag["runs"] == [f"2026-03-{time}:00:00+00:00" for time in ("07T10", "08T09", "09T09")]
    assert (dag["catchup"], dag["tags"]) == (False, ["prescore"])
    assert set(dag["retries"].values()) == {3}
    assert dag["tasks"] == {
        "snapshot": ["score", "stage"],
        "score": ["outcome", "release_lease", "stage"],
        "stage": ["check", "outcome"],
        "check": ["approve", "outcome", "publish"],
        "approve": ["outcome", "publish"],
        "publish": ["outcome", "release_lease"],
        "release_lease": ["outcome"],
        "outcome": [],
    }


def test_a_dag_can_be_scheduled_by_assets(airflow: Airflow, sandbox: Sandbox) -> None:
    for name, schedule in {
        "cron_and_assets": 'cron = "0 5 * * *"\nassets = ["orders"]',
        "assets_only": 'assets = ["orders", "s3://b/x"]',
    }.items():
        sandbox.spec(SPEC + f"[schedule]\n{schedule}\n", name)
    loaded = airflow.load()
    assert loaded["errors"] == {}
    cron_and_assets = loaded["dags"]["prescore_cron_and_assets"]
    assert (cron_and_assets["assets"], len(cron_and_assets["runs"])) == (["orders"], 3)
    assets_only = loaded["dags"]["prescore_assets_only"]
    assert (assets_only["assets"], assets_only["runs"]) == (["orders", "s3://b/x"], [])


def test_a_run_publishes_every_row(airflow: Airflow, sandbox: Sandbox) -> None:
    result = airflow.run()
    steps = ["snapshot", "score[0]", "score[1]", "stage", "check", "approve", "publish"]
    assert result["states"] == dict.fromkeys(sorted([*steps, "release_lease", "outcome"]), "success")
    assert result["titles"] == ["chunks 0 to 4", "chunks 5 to 9"]
    assert sandbox.rows("select version, count(*) from predictions.churn group by 1") == [(1, 1000)]
    assert sandbox.rows("select count(*) from prescore.chunks") == [(10,)]
    assert sandbox.rows(LEASES) == [(0,)]
    # Cleared as a whole, the same run builds another version.
    assert airflow.run()["state"] == "success"
    assert sandbox.rows(STATES) == [(1, "superseded"), (2, "published")]


def test_only_a_publication_updates_the_asset(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    kept = airflow.run(when_checked="keep for later")
    assert (kept["state"], kept["states"]["publish"], kept["events"]) == ("success", "skipped", [])
    assert "kept for later, as the trigger form requested. Publish it with `prescore publish churn 1`." in airflow.log()
    assert sandbox.rows(STATES) == [(1, "checked")]
    published = airflow.run()
    (event,) = published["events"]
    assert (event["version"], event["rows"]) == (2, 1000)
    (times,) = sandbox.rows("select data_as_of::text, published_at::text from prescore.versions where version = 2")
    assert [event["data_as_of"][:19], event["published_at"][:19]] == [time[:19] for time in times]


def test_the_watch_fails_while_a_model_is_older_than_its_max_age(airflow: Airflow, sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    assert airflow.run("prescore_watch")["state"] == "success"
    sandbox.rows("update prescore.versions set data_as_of = data_as_of - interval '27 hours' returning version")
    late = airflow.run("prescore_watch")
    assert (late["state"], late["tries"]["freshness"]) == ("failed", 1)
    assert "Beyond their max age: churn version 1 has data as of " in airflow.log()


def test_the_watch_fails_when_a_model_was_not_published_in_time(airflow: Airflow, sandbox: Sandbox) -> None:
    sandbox.edit("[freshness]", '[schedule]\ncron = "0 5 * * *"\npublished_by = 06:00:00\n[freshness]')
    assert sandbox.cli("run", "churn").code == 0
    assert airflow.run("prescore_watch")["state"] == "success"
    sandbox.rows("update prescore.events set at = at - interval '2 days' returning id")
    late = airflow.run("prescore_watch")
    assert (late["states"]["deadlines"], late["tries"]["deadlines"]) == ("failed", 1)
    assert "Not published in time: churn was due by " in airflow.log()


def test_an_unreadable_schedule_does_not_hide_the_deadlines_of_other_models(airflow: Airflow, sandbox: Sandbox) -> None:
    for name, cron in {"broken": "99 5 * * *", "late": "@daily"}.items():
        sandbox.spec(SPEC + f'[schedule]\ncron = "{cron}"\npublished_by = 06:00:00\n', name)
        os.utime(sandbox.root / f"specs/{name}.toml", (0, 0))
    assert sandbox.cli("run", "churn").code == 0
    assert airflow.run("prescore_watch")["states"]["deadlines"] == "failed"
    log = airflow.log()
    assert "broken has a deadline that cannot be computed (schedule.cron: Airflow cannot read" in log
    assert "late was due by" in log


def test_versions_beyond_the_retention_are_retired_every_night(airflow: Airflow, sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "1d"')
    for _ in range(2):
        assert sandbox.cli("run", "churn").code == 0
    sandbox.edit('grace = "1d"', 'grace = "0s"')
    result = airflow.run("prescore_retire")
    assert result["states"] == {"retire[0]": "success"}
    assert sandbox.rows(STATES) == [(1, "retired"), (2, "published")]


def test_a_trial_scores_a_few_rows_and_is_never_published(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    result = airflow.run(trial_rows=150)
    assert (result["state"], result["states"]["publish"], result["events"]) == ("success", "skipped", [])
    assert "churn version 1 is a trial and is never published" in airflow.log()
    assert sandbox.rows("select rows, state from prescore.versions") == [(150, "checked")]


def test_a_run_can_start_from_scratch(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    with lease.holding(sandbox.database, "churn") as churn_lease:
        version = registration.begin(sandbox.job(), churn_lease)
    result = airflow.run(full=True)
    assert result["state"] == "success"
    assert sandbox.rows(STATES) == [(version, "failed"), (version + 1, "published")]


def test_a_retry_resumes_what_its_run_started_from_scratch(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    started = "select version from prescore.events where event = 'started from scratch'"
    assert airflow.run(full=True, when_checked="keep for later")["state"] == "success"
    assert sandbox.rows(started) == [(1,)]
    # As if the run had been killed before it decided about the publication.
    sandbox.rows("update prescore.versions set to_publish = true returning version")
    assert airflow.run_task("snapshot")["states"]["snapshot"] == "success"
    assert sandbox.rows(started) == [(1,)]
    assert sandbox.rows(STATES) == [(1, "checked")]


def test_a_backfill_reads_the_domain_as_of_its_time_and_is_kept_unpublished(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    source = "read_parquet('data/customers.parquet')"
    sandbox.query(f"select customer, visits, spend from {source} where customer < date_part('day', $as_of)")
    assert airflow.run(as_of="2026-01-07T00:00:00+00:00")["state"] == "success"
    assert sandbox.rows("select state, rows, as_of = '2026-01-07 00:00+00' from prescore.versions") == [
        ("published", 7, True)
    ]
    earlier = airflow.run(as_of="2026-01-05T00:00:00Z")
    assert (earlier["state"], earlier["states"]["publish"]) == ("success", "skipped")
    assert "kept and not published, because version 1, which is served, has newer data" in airflow.log()
    assert sandbox.rows(STATES) == [(1, "published"), (2, "checked")]


def test_a_run_that_waited_for_the_lease_uses_the_files_as_they_are_then(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    assert sandbox.cli("run", "churn").code == 0
    with sandbox.database.connect() as connection, ThreadPoolExecutor(1) as pool:
        lease.acquire(connection, "churn", watched=False, seconds=600, holder="another run")
        running = pool.submit(airflow.run)
        while "Trying again" not in airflow.log():
            assert not running.done(), running.result()
        sandbox.onnx(linear([2.0, -0.5]))
        lease.release_held_by(connection, "churn", "another run")
        assert running.result()["state"] == "success"
    assert sandbox.rows("select count(distinct model_fingerprint) as models from prescore.versions") == [(2,)]


def test_a_check_that_is_cleared_after_the_publication_changes_nothing(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    assert airflow.run()["state"] == "success"
    assert airflow.run_task("check")["states"]["check"] == "success"
    assert sandbox.rows(STATES) == [(1, "published")]


def test_incremental_runs_score_nothing_or_what_changed_and_rebase(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    with (sandbox.root / "specs/churn.toml").open("a") as spec:
        spec.write("[incremental]\nrebase = 0.001\n")
    sandbox.cli("run", "churn")
    nothing = airflow.run()
    # One empty share keeps the tasks in their order.
    assert (nothing["state"], nothing["states"]["score[0]"], "score[1]" in nothing["states"]) == (
        "success",
        "success",
        False,
    )
    assert "churn version 2: scored 0 chunks; 0 were done before" in airflow.log()
    (event,) = nothing["events"]
    assert (event["version"], event["rows"]) == (2, 1000)
    sandbox.data(customers().slice(2))
    # The two rows that have vanished are more than a thousandth.
    assert airflow.run()["state"] == "success"
    published = [(1, "superseded"), (2, "superseded"), (3, "superseded"), (4, "published")]
    assert sandbox.rows(STATES) == published
    for task in ("check", "publish"):
        assert airflow.run_task(task)["states"][task] == "success"
    assert sandbox.rows(STATES) == published
    assert sandbox.rows("select count(*), min(version) from predictions.churn") == [(998, 4)]
    assert sandbox.rows(LEASES) == [(0,)]


def test_a_misspelt_form_field_fails_the_run_and_is_named(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    result = airflow.run(trial_row=100)
    assert (result["states"]["snapshot"], result["tries"]["snapshot"]) == ("failed", 1)
    assert (
        "The trigger form has no field trial_row. Its fields are when_checked, trial_rows, as_of, full."
        in airflow.log()
    )
    assert sandbox.rows(STATES) == []


def test_a_model_that_was_never_run_is_late_and_one_without_a_spec_is_not_watched(
    airflow: Airflow, sandbox: Sandbox
) -> None:
    assert sandbox.cli("run", "churn").code == 0
    (sandbox.root / "specs/churn.toml").unlink()
    sandbox.rows("update prescore.versions set data_as_of = data_as_of - interval '27 hours' returning version")
    sandbox.spec(SPEC + '[schedule]\ncron = "0 5 * * *"\npublished_by = 06:00:00\n', "latecomer")
    os.utime(sandbox.root / "specs/latecomer.toml", (0, 0))
    watched = airflow.run("prescore_watch")
    assert watched["states"] == {"freshness": "success", "deadlines": "failed"}
    assert "latecomer was due by" in airflow.log()


def _load(airflow: Airflow, folder: Path, call: str) -> dict[str, Any]:
    """Return what Airflow reads from a DAG file with a call of ours."""
    folder.mkdir(exist_ok=True)
    text = f"from datetime import datetime, timedelta\nfrom airflow.sdk import DAG\nimport prescore_dags\n\n{call}\n"
    (folder / "airflow_dags.py").write_text(text)
    return airflow.load(folder)


def test_dag_files_can_add_options_tags_and_an_upkeep_name(airflow: Airflow, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.spec(SPEC + '[schedule]\nassets = [""]\n', "nameless")
    sandbox.spec(SPEC + '[schedule]\ncron = "0 5 30 2 *"\n', "never")
    call = 'prescore_dags.airflow_dags(upkeep="team", tags=["ours"], default_args={"owner": "me"})'
    loaded = _load(airflow, tmp_path / "team_dags", call)
    assert loaded["errors"] == {}
    assert {"prescore_watch_team", "prescore_retire_team"} < set(loaded["dags"])
    assert loaded["dags"]["prescore_churn"]["tags"] == ["ours", "prescore"]
    assert set(loaded["dags"]["prescore_churn"]["retries"].values()) == {3}
    assert [loaded["dags"][f"prescore_{name}"]["tags"] for name in ("nameless", "never")] == [
        ["broken spec", "ours", "prescore"]
    ] * 2


def test_every_argument_of_a_dag_can_be_passed(airflow: Airflow, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.spec(SPEC, "upsell")
    call = """
prescore_dags.airflow_dags(
    models=["churn", "upsell"], schedule="0 7 * * *", catchup=True, start_date=datetime(2026, 1, 1),
    description="ours", doc_md="Ask us.", tags="team",
    params={"when_checked": "ask for approval", "ticket": "none"}, status_page="http://lookups/",
    default_args={"execution_timeout": timedelta(hours=1), "owner": "data"},
    task_options={"approve": {"response_timeout": timedelta(days=2)}, "score": {"queue": "large"}},
    per_model={"churn": {"default_args": {"owner": "risk", "queue": "small"}, "schedule": None, "tags": None}},
)
"""
    loaded = _load(airflow, tmp_path / "team_dags", call)
    assert loaded["errors"] == {}
    churn, upsell = (loaded["dags"][f"prescore_{model}"] for model in ("churn", "upsell"))
    assert (churn["runs"], len(upsell["runs"])) == ([], 3)
    assert (upsell["description"], upsell["doc"], upsell["tags"]) == ("ours", "Ask us.", ["prescore", "team"])
    assert upsell["params"] == {
        "when_checked": "ask for approval", "trial_rows": None, "as_of": None, "full": False, "ticket": "none",
    }  # fmt: skip
    assert ({*churn["owners"].values()}, {*upsell["owners"].values()}) == ({"risk"}, {"data"})
    assert (churn["queues"]["score"], churn["queues"]["check"], upsell["queues"]["check"]) == (
        "large", "small", "default",
    )  # fmt: skip
    # The limit of a task's work is not one of a person's answer.
    assert (upsell["timeouts"]["score"], upsell["timeouts"]["approve"]) == ("1:00:00", "None")
    assert upsell["answer_timeouts"] == {"approve": "2 days, 0:00:00"}
    assert upsell["links"]["publish"] == ["Status page"]
    # The upkeep has a schedule of its own, and does not catch up.
    watch = loaded["dags"]["prescore_watch"]
    assert (watch["catchup"], watch["description"], watch["params"], len(watch["runs"])) == (False, None, {}, 865)


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('dag_id="mine"', "Leave out dag_id"),
        ('models=["chrun"]', "There is no spec for chrun. The models are churn"),
        ('per_model={"chrun": {}}', "There is no spec for chrun"),
        ('task_options={"scores": {}}', "task_options names scores. The tasks of a model are snapshot, score"),
        ("groups=0", "must be at least 1"),
    ],
)
def test_an_argument_that_means_nothing_is_an_import_error(
    airflow: Airflow, tmp_path: Path, arguments: str, message: str
) -> None:
    (error,) = _load(airflow, tmp_path / "team_dags", f"prescore_dags.airflow_dags({arguments})")["errors"].values()
    assert message in error


@pytest.mark.usefixtures("sandbox")
def test_nothing_is_as_good_as_no_argument(airflow: Airflow, tmp_path: Path) -> None:
    call = "prescore_dags.airflow_dags(tags=None, default_args=None, params=None, upkeep=False)"
    loaded = _load(airflow, tmp_path / "team_dags", call)
    assert (loaded["errors"], list(loaded["dags"])) == ({}, ["prescore_churn"])


def test_a_model_can_be_a_task_group_of_another_dag(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    call = """
with DAG("nightly"):
    prescore_dags.airflow_task_group("churn", groups=2)
"""
    file = airflow.folder / "nightly.py"
    file.write_text(f"from airflow.sdk import DAG\nimport prescore_dags\n{call}")
    try:
        # A DAG's own configuration is not that of the trigger form.
        result = airflow.run("nightly", ticket="OPS-1")
        assert (result["state"], result["states"]["churn.publish"]) == ("success", "success")
        assert sandbox.rows(STATES) == [(1, "published")]
        assert sandbox.rows(LEASES) == [(0,)]
        assert airflow.run_task("churn.stage", dag_id="nightly")["states"]["churn.stage"] == "success"
        assert sandbox.rows(LEASES) == [(0,)]
        trial = airflow.run("nightly", trial_rows=100)
        assert (trial["state"], trial["states"]["churn.publish"]) == ("success", "skipped")
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("script", "tries", "message"),
    [
        (None, 1, "Cannot start {python}: No such file or directory. Pass the Python of an environment"),
        ("echo no prescore here >&2; exit 1", 1, "ended with exit code 1 and without a result. Does its environment"),
        ("kill -9 $$", 4, "was ended by SIGKILL. The system may have run out of memory."),
    ],
)
def test_an_environment_that_does_not_work_is_an_error_and_one_that_is_killed_is_retried(
    airflow: Airflow, sandbox: Sandbox, script: str | None, tries: int, message: str
) -> None:
    python = sandbox.root / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    file = airflow.folder / "elsewhere.py"
    file.write_text(
        "from airflow.sdk import DAG\nimport prescore_dags\n"
        f'with DAG("elsewhere"):\n    prescore_dags.airflow_task_group("churn", python={str(python)!r})\n'
    )
    try:
        result = airflow.run("elsewhere", retry_at_once=True)
    finally:
        file.unlink()
    assert (result["states"]["churn.snapshot"], result["tries"]["churn.snapshot"]) == ("failed", tries)
    assert message.format(python=python) in airflow.log()


@soak
def test_an_airflow_without_our_dependencies_runs_tasks_in_another_environment(
    bare_airflow: Airflow, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_checks(sandbox)
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    monkeypatch.setenv("AIRFLOW_CONN_PREDICTIONS", _connection(sandbox.database))
    loaded = bare_airflow.load()
    assert loaded["errors"] == {}
    assert set(loaded["prescore"]) == {
        "prescore",
        "prescore.catalog",
        "prescore.catalog.naming",
        "prescore.errors",
        "prescore.project",
        "prescore.project.environment",
        "prescore.project.folder",
        "prescore.wording",
    }
    result = bare_airflow.run()
    assert (result["state"], set(result["states"].values())) == ("success", {"success"})
    assert [(event["version"], event["rows"]) for event in result["events"]] == [(1, 1000)]
    log = bare_airflow.log()
    assert "passed: rows: observed 1,000; expected exactly 1,000" in log
    assert "churn version 1 is published: 1,000 rows" in log
    assert sandbox.rows(LEASES) == [(0,)]
    # A terminal error fails the task at once, with its message.
    result = bare_airflow.run(as_of="2026-01-05")
    assert (result["state"], result["states"]["snapshot"], result["tries"]["snapshot"]) == ("failed", "failed", 1)
    assert "does not use $as_of" in bare_airflow.log()
    # A transient one is retried.
    monkeypatch.setenv("AIRFLOW_CONN_PREDICTIONS", "postgresql://reader@localhost:1/nothing")
    result = bare_airflow.run(retry_at_once=True)
    assert (result["states"]["snapshot"], result["tries"]["snapshot"]) == ("failed", 4)
    assert "Cannot work with Postgres at localhost:1/nothing" in bare_airflow.log()


def test_form_values_that_airflow_ignores_fail_the_run(
    airflow: Airflow, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", "False")
    for form in ({"trial_rows": 150}, {"when_checked": "keep for later"}, {"as_of": "2026-01-07"}, {"full": True}):
        result = airflow.run(**form)
        assert (form, result["states"]["snapshot"], result["tries"]["snapshot"]) == (form, "failed", 1)
    log = airflow.log()
    assert "triggered with trial_rows = 150, which Airflow does not apply: its setting [core]" in log
    assert sandbox.rows(STATES) == []


def test_a_task_without_a_run_keeps_no_lease(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    airflow.test_task("snapshot")
    assert sandbox.rows(STATES) == [(1, "building")]
    assert sandbox.rows(LEASES) == [(0,)]
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.rows(STATES) == [(1, "published")]


def test_a_run_with_a_past_logical_date_reads_the_domain_as_of_that_time(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    sandbox.query(
        "select customer, visits, spend from read_parquet('data/customers.parquet') "
        "where customer < date_part('day', $as_of)"
    )
    assert airflow.run()["state"] == "success"
    day = datetime.fromisoformat(airflow.logical_date)
    assert sandbox.rows("select as_of, rows from prescore.versions") == [(day, day.day)]


def test_a_backfill_is_refused_if_the_query_does_not_use_as_of(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    result = airflow.run(as_of="2026-01-05T00:00:00Z")
    assert (result["states"]["snapshot"], result["tries"]["snapshot"]) == ("failed", 1)
    assert "does not use $as_of" in airflow.log()
    assert sandbox.rows(STATES) == []


def test_a_run_waits_while_another_run_holds_the_lease(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    migrations.migrate(sandbox.database)
    with sandbox.database.connect() as connection:
        lease.acquire(connection, "churn", watched=False, seconds=3, holder="a backfill")
    result = airflow.run()
    assert (result["state"], result["tries"]["snapshot"]) == ("success", 1)
    assert "Another run of churn is in progress (a backfill, lease until" in airflow.log()


def test_a_run_that_waits_for_long_tries_less_often(airflow: Airflow) -> None:
    """Each attempt is a process that imports Airflow."""
    assert airflow.waits(6) == [10, 20, 40, 60, 60, 60]
    # After days of waiting, too.
    assert airflow.waits(2000)[-1] == 60


@pytest.mark.parametrize(("marked", "failed"), [("snapshot", "release_lease"), ("score", "stage")])
def test_tasks_that_are_marked_as_success_publish_nothing(
    airflow: Airflow, sandbox: Sandbox, marked: str, failed: str
) -> None:
    _without_checks(sandbox)
    result = airflow.run(marked=marked)
    assert (result["state"], result["states"][failed], result["tries"][failed]) == ("failed", "failed", 1), result
    assert result["states"]["publish"] in ("failed", "upstream_failed")
    assert sandbox.rows("select count(*) from prescore.models where published_version is not null") == [(0,)]
    assert sandbox.rows(LEASES) == [(0,)]
    assert "Clear" in airflow.log()


def test_a_refused_version_fails_the_run_without_a_retry(airflow: Airflow, sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    result = airflow.run()
    assert (result["state"], result["states"]["check"], result["tries"]["check"]) == ("failed", "failed", 1)
    assert (result["states"]["publish"], result["states"]["release_lease"]) == ("upstream_failed", "success")
    log = airflow.log()
    assert "scores are probabilities: observed 1,000 unexpected values" in log
    assert "Version 1 is still served." in log
    assert sandbox.rows(SERVED) == [(1,)]
    assert sandbox.rows(STATES) == [(1, "published"), (2, "refused")]
    assert sandbox.rows(LEASES) == [(0,)]
    # As if the check task were marked as success: it has no result.
    assert airflow.run_task("publish")["states"]["publish"] == "failed"
    assert "The check task of this run has no result. Was it marked as success?" in airflow.log()
    assert sandbox.rows(SERVED) == [(1,)]


def test_a_held_model_is_not_published_until_it_is_released(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    sandbox.cli("run", "churn")
    sandbox.cli("hold", "churn", "--reason", "the source is being repaired")
    result = airflow.run()
    assert (result["state"], result["states"]["publish"]) == ("success", "skipped")
    log = airflow.log()
    assert "churn version 2 passed its checks and is not published, because the model is on hold" in log
    assert "(the source is being repaired). Release it with `prescore release churn`" in log
    assert sandbox.rows(STATES) == [(1, "published"), (2, "checked")]
    sandbox.cli("release", "churn")
    assert airflow.run_task("publish")["states"]["publish"] == "success"
    assert sandbox.rows(SERVED) == [(2,)]
    assert sandbox.rows(LEASES) == [(0,)]
    # A retry after an attempt that was killed once it had published has nothing left to do.
    assert airflow.run_task("publish")["states"]["publish"] == "success"
    assert sandbox.rows("select count(*) from prescore.events where event = 'published' and version = 2") == [(1,)]


def test_a_bad_chunk_fails_the_run_and_the_lease_is_released(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    with sandbox.database.connect() as connection:
        connection.execute(b"""
            create function refuse() returns trigger language plpgsql as $$ begin
              if new.chunk = 7 then raise exception 'out of range' using errcode = '22008'; end if;
              return new;
            end $$;
            create trigger refuse before insert on prescore.chunks for each row execute function refuse()
        """)
    result = airflow.run()
    assert (result["state"], result["states"]["score[1]"], result["tries"]["score[1]"]) == ("failed", "failed", 1)
    assert sandbox.rows(STATES) == [(1, "failed")]
    assert sandbox.rows(LEASES) == [(0,)]
    # Tasks for the other chunks fail with the same reason, without a retry.
    assert airflow.run_task("score", 0)["states"]["score[0]"] == "failed"
    assert "churn version 1 is failed: Postgres cannot store a value of chunk 7" in airflow.log()


def test_an_invalid_spec_fails_only_its_own_runs(airflow: Airflow, sandbox: Sandbox) -> None:
    schedule = '[schedule]\ncron = "0 5 * * *"\n'
    sandbox.spec(SPEC.replace('type = "real"', 'type = "{{ reel }}"') + schedule, "typo")
    sandbox.spec(SPEC + schedule.replace("0 5", "99 5"), "late")
    sandbox.spec("[domain", "not a name")
    loaded = airflow.load()
    assert loaded["errors"] == {}
    broken = {name: dag for name, dag in loaded["dags"].items() if "broken spec" in dag["tags"]}
    assert set(broken) == {"prescore_typo", "prescore_late", "prescore__not_a_name"}
    assert set(loaded["dags"]) - set(broken) == {"prescore_churn", *UPKEEP}
    assert "outputs.score.type" in broken["prescore_typo"]["doc"]
    # It is still scheduled, so that its runs fail and raise alerts.
    assert len(broken["prescore_typo"]["runs"]) == 3
    assert 'schedule.cron: Airflow cannot read "99 5 * * *"' in broken["prescore_late"]["doc"]
    result = airflow.run("prescore_typo")
    assert (result["states"]["snapshot"], result["tries"]["snapshot"]) == ("failed", 1)
    assert "given: '{{ reel }}'" in airflow.log()


@pytest.mark.usefixtures("sandbox")
def test_a_missing_database_url_fails_without_a_retry(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    result = airflow.run()
    assert (result["states"]["snapshot"], result["tries"]["snapshot"]) == ("failed", 1)
    assert "PRESCORE_DATABASE_URL is not set" in airflow.log()


@pytest.mark.usefixtures("sandbox")
def test_an_unavailable_database_is_retried(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", "postgresql://reader@localhost:1/nothing")
    result = airflow.run(retry_at_once=True)
    assert (result["states"]["snapshot"], result["tries"]["snapshot"]) == ("failed", 4)
    assert "Cannot work with Postgres at localhost:1/nothing" in airflow.log()


def test_only_the_same_holder_can_take_an_unwatched_lease_again(sandbox: Sandbox) -> None:
    with sandbox.database.connect() as connection:
        first = lease.acquire(connection, "churn", watched=False, seconds=lease.TASK_EXPIRY_SECONDS, holder="run 1")
        with pytest.raises(Busy, match="run 1"):
            lease.acquire(connection, "churn", watched=False, holder="run 2")
        assert sandbox.cli("run", "churn").code == 3
        second = lease.acquire(connection, "churn", watched=False, holder="run 1")
        assert second.token > first.token
        assert lease.renew(connection, first) is None
        lease.release_held_by(connection, "churn", "run 2")
        assert sandbox.rows(LEASES) == [(1,)]
        lease.release_held_by(connection, "churn", "run 1")
        assert sandbox.rows(LEASES) == [(0,)]


@pytest.fixture
def no_catalog(server: str, sandbox: Sandbox) -> Sandbox:
    """The churn project on a database that has no prescore catalog."""
    with sandbox.database.connect() as connection:
        name = connection.info.dbname
    recreate(server, name)
    return sandbox


def test_upkeep_succeeds_and_creates_nothing_without_a_catalog(airflow: Airflow, no_catalog: Sandbox) -> None:
    for dag_id in ("prescore_watch", "prescore_retire"):
        assert set(airflow.run(dag_id)["states"].values()) == {"success"}
    # A model that never ran has missed its deadline, catalog or not.
    no_catalog.edit("[freshness]", '[schedule]\ncron = "0 5 * * *"\npublished_by = 06:00:00\n[freshness]')
    os.utime(no_catalog.root / "specs/churn.toml", (0, 0))
    states = airflow.run("prescore_watch")["states"]
    assert (states["freshness"], states["deadlines"]) == ("success", "failed")
    with no_catalog.database.connect() as connection:
        assert not migrations.exists(connection)


def test_a_run_that_fails_before_there_is_a_catalog_releases_without_an_error(
    airflow: Airflow, no_catalog: Sandbox
) -> None:
    no_catalog.query("select customer, visits from read_parquet('data/customers.parquet')")
    result = airflow.run()
    assert (result["states"]["snapshot"], result["states"]["release_lease"]) == ("failed", "success")
    with no_catalog.database.connect() as connection:
        assert not migrations.exists(connection)


def test_the_first_run_creates_the_catalog(airflow: Airflow, no_catalog: Sandbox) -> None:
    _without_checks(no_catalog)
    assert airflow.run()["state"] == "success"
    assert no_catalog.rows(STATES) == [(1, "published")]


def _connection(database: Database) -> str:
    """Return an Airflow connection to a database, as a user of Airflow's own hook for Postgres has it."""
    parameters = conninfo_to_dict(database.url)
    connection = {
        "conn_type": "postgres",
        "login": parameters["user"],
        "password": "not %/@? needed here",
        "host": parameters["host"],
        "schema": parameters["dbname"],
        "extra": {"cursor": "dictcursor", "sslmode": "prefer"},
    }
    if "port" in parameters:
        connection["port"] = parameters["port"]
    return json.dumps(connection)


def _without_checks(sandbox: Sandbox) -> None:
    """Remove the spec's own checks, so that Great Expectations is not imported."""
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :])
