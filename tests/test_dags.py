"""The DAGs, as Airflow loads and runs them. Airflow itself is in processes of its own: see fix_airflow.py."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fix_airflow import Airflow, started
from fix_project import SPEC, Sandbox, linear
from prescore.catalog import migrations
from prescore.errors import Busy
from prescore.run import materialize
from prescore.versions import lease

REPO = Path(__file__).parents[1]
HEAVY = {"pyarrow", "onnxruntime", "onnx", "great_expectations", "duckdb", "pandas", "numpy", "pgpq", "sklearn"}
UPKEEP = {"prescore_watch", "prescore_retire"}
SERVED = "select distinct version from predictions.churn"
STATES = "select version, state from prescore.versions order by version"
LEASES = "select count(*) from prescore.leases where expires_at >= now()"


def test_the_repos_dags_load_without_work(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL", raising=False)
    monkeypatch.delenv("PRESCORE_PROJECT", raising=False)
    with started(airflow_home) as fresh:
        loaded = fresh.load(REPO / "dags")
    assert loaded["errors"] == {}
    assert set(loaded["dags"]) == {f"prescore_{path.stem}" for path in (REPO / "specs").glob("*.toml")} | UPKEEP
    assert not HEAVY & set(loaded["imported"])
    ours = {
        Path(name)
        for name in loaded["opened"]
        if name.startswith(f"{REPO}/") and not {".venv", "__pycache__"} & set(Path(name).parts)
    }
    assert {path for path in ours if path.suffix not in (".py", ".pyc")} == {
        REPO / "dags/.airflowignore",
        REPO / "prescore.toml",
        *(REPO / "specs").glob("*.toml"),
    }


def test_a_dag_is_scheduled_as_its_spec_says(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_PROJECT", raising=False)
    dag = airflow.load(REPO / "dags")["dags"]["prescore_flight_delay"]
    # Five in the morning in New York, before and after its clocks change.
    assert dag["runs"] == [f"2026-03-{time}:00:00+00:00" for time in ("07T10", "08T09", "09T09")]
    assert (dag["catchup"], dag["tags"]) == (False, ["prescore"])
    assert set(dag["retries"].values()) == {3}
    assert dag["tasks"] == {
        "snapshot": ["score", "stage"],
        "score": ["release_lease", "stage"],
        "stage": ["check"],
        "check": ["approve", "publish"],
        "approve": ["publish"],
        "publish": ["release_lease"],
        "release_lease": [],
    }


def test_a_dag_may_wait_for_other_dags_data(airflow: Airflow, sandbox: Sandbox) -> None:
    for name, schedule in {
        "both": 'cron = "0 5 * * *"\nassets = ["orders"]',
        "fed": 'assets = ["orders", "s3://b/x"]',
    }.items():
        sandbox.spec(SPEC + f"[schedule]\n{schedule}\n", name)
    loaded = airflow.load()
    assert loaded["errors"] == {}
    both, fed = (loaded["dags"][f"prescore_{name}"] for name in ("both", "fed"))
    assert (both["assets"], len(both["runs"])) == (["orders"], 3)
    assert (fed["assets"], fed["runs"]) == (["orders", "s3://b/x"], [])


def test_a_run_publishes_every_row(airflow: Airflow, sandbox: Sandbox) -> None:
    done = airflow.run()
    steps = ["snapshot", *(f"score[{n}]" for n in range(4)), "stage", "check", "approve", "publish", "release_lease"]
    assert done["states"] == dict.fromkeys(sorted(steps), "success")
    assert done["titles"] == ["chunks 0 to 1", "chunks 2 to 4", "chunks 5 to 6", "chunks 7 to 9"]
    assert sandbox.rows("select version, count(*) from predictions.churn group by 1") == [(1, 1000)]
    assert sandbox.rows("select count(*) from prescore.chunks") == [(10,)]
    assert sandbox.rows(LEASES) == [(0,)]
    # Cleared as a whole, the same run makes another version.
    assert airflow.run()["state"] == "success"
    assert sandbox.rows(STATES) == [(1, "superseded"), (2, "published")]


def test_others_hear_of_a_publication_and_of_nothing_else(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    staged = airflow.run(when_checked="keep for later")
    assert (staged["state"], staged["states"]["publish"], staged["events"]) == ("success", "skipped", [])
    assert "`prescore publish churn 1` publishes it" in airflow.log()
    assert sandbox.rows(STATES) == [(1, "checked")]
    published = airflow.run()
    (event,) = published["events"]
    assert (event["version"], event["rows"]) == (2, 1000)
    clocks = sandbox.rows("select data_as_of::text, published_at::text from prescore.versions where version = 2")[0]
    assert [event["data_as_of"][:19], event["published_at"][:19]] == [clock[:19] for clock in clocks]


def test_the_watch_is_red_while_a_model_is_older_than_promised(airflow: Airflow, sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    assert airflow.run("prescore_watch")["state"] == "success"
    sandbox.rows("update prescore.versions set data_as_of = data_as_of - interval '27 hours' returning version")
    late = airflow.run("prescore_watch")
    assert (late["state"], late["tries"]["freshness"]) == ("failed", 1)
    assert "Older than promised: churn version 1 is of " in airflow.log()


def test_the_watch_is_red_when_a_model_was_not_published_in_time(airflow: Airflow, sandbox: Sandbox) -> None:
    sandbox.edit("[freshness]", '[schedule]\ncron = "0 5 * * *"\npublished_by = 06:00:00\n[freshness]')
    assert sandbox.cli("run", "churn").code == 0
    assert airflow.run("prescore_watch")["state"] == "success"
    sandbox.rows("update prescore.events set at = at - interval '2 days' returning id")
    late = airflow.run("prescore_watch")
    assert (late["states"]["deadlines"], late["tries"]["deadlines"]) == ("failed", 1)
    assert "Not published in time: churn was to be published by " in airflow.log()


def test_the_watch_knows_the_others_deadlines_when_one_cannot_be_read(airflow: Airflow, sandbox: Sandbox) -> None:
    for name, cron in {"broken": "99 5 * * *", "late": "@daily"}.items():
        sandbox.spec(SPEC + f'[schedule]\ncron = "{cron}"\npublished_by = 06:00:00\n', name)
        os.utime(sandbox.root / f"specs/{name}.toml", (0, 0))
    assert sandbox.cli("run", "churn").code == 0
    assert airflow.run("prescore_watch")["states"]["deadlines"] == "failed"
    log = airflow.log()
    assert "broken, of which nobody knows when it is due (schedule.cron: Airflow cannot read" in log
    assert "late was to be published by" in log


def test_every_night_what_is_not_asked_for_goes(airflow: Airflow, sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "1d"')
    for _ in range(2):
        assert sandbox.cli("run", "churn").code == 0
    sandbox.edit('grace = "1d"', 'grace = "0s"')
    done = airflow.run("prescore_retire")
    assert done["states"] == {"retire[0]": "success"}
    assert sandbox.rows(STATES) == [(1, "retired"), (2, "published")]


def test_a_trial_is_made_of_a_few_rows_and_published_never(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    done = airflow.run(trial_rows=150)
    assert (done["state"], done["states"]["publish"], done["events"]) == ("success", "skipped", [])
    assert "churn version 1 is a trial, and never published" in airflow.log()
    assert sandbox.rows("select rows, state from prescore.versions") == [(150, "checked")]


def test_a_run_may_begin_anew(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    with lease.holding(sandbox.database, "churn") as held:
        version = materialize.begin(sandbox.job(), held)
    done = airflow.run(full=True)
    assert done["state"] == "success"
    assert sandbox.rows(STATES) == [(version, "failed"), (version + 1, "published")]


def test_a_night_is_backfill_is_made_as_it_was_and_kept(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    source = "read_parquet('data/customers.parquet')"
    sandbox.query(f"select customer, visits, spend from {source} where customer < date_part('day', $as_of)")
    assert airflow.run(as_of="2026-01-07T00:00:00+00:00")["state"] == "success"
    assert sandbox.rows("select state, rows, as_of = '2026-01-07 00:00+00' from prescore.versions") == [
        ("published", 7, True)
    ]
    earlier = airflow.run(as_of="2026-01-05T00:00:00Z")
    assert (earlier["state"], earlier["states"]["publish"]) == ("success", "skipped")
    assert "version 1, which is served, has newer data: it is kept beside it" in airflow.log()
    assert sandbox.rows(STATES) == [(1, "published"), (2, "checked")]


def test_a_run_that_waited_makes_what_is_there_by_then(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    assert sandbox.cli("run", "churn").code == 0
    with sandbox.database.connect() as connection, ThreadPoolExecutor(1) as pool:
        lease.acquire(connection, "churn", watched=False, seconds=600, holder="another run")
        running = pool.submit(airflow.run)
        while "Looking again" not in airflow.log():
            assert not running.done(), running.result()
        sandbox.onnx(linear([2.0, -0.5]))
        lease.release_held_by(connection, "another run")
        assert running.result()["state"] == "success"
    assert sandbox.rows("select count(distinct model_fingerprint) as models from prescore.versions") == [(2,)]


def test_a_check_that_is_cleared_after_the_publication_has_nothing_to_decide(
    airflow: Airflow, sandbox: Sandbox
) -> None:
    _without_checks(sandbox)
    assert airflow.run()["state"] == "success"
    assert airflow.again("check")["states"]["check"] == "success"
    assert sandbox.rows(STATES) == [(1, "published")]


def test_a_misspelt_field_of_the_form_is_told(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    done = airflow.run(trial_row=100)
    assert (done["states"]["snapshot"], done["tries"]["snapshot"]) == ("failed", 1)
    assert "The form has no trial_row; it has when_checked, trial_rows, as_of, full" in airflow.log()
    assert sandbox.rows(STATES) == []


def test_a_model_that_never_came_is_late_and_one_that_was_given_up_is_not(airflow: Airflow, sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    (sandbox.root / "specs/churn.toml").unlink()
    sandbox.rows("update prescore.versions set data_as_of = data_as_of - interval '27 hours' returning version")
    sandbox.spec(SPEC + '[schedule]\ncron = "0 5 * * *"\npublished_by = 06:00:00\n', "latecomer")
    os.utime(sandbox.root / "specs/latecomer.toml", (0, 0))
    watched = airflow.run("prescore_watch")
    assert watched["states"] == {"freshness": "success", "deadlines": "failed"}
    assert "latecomer was to be published by" in airflow.log()


def test_dags_may_have_more_of_their_own(airflow: Airflow, sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "predictions.py").write_text(
        "from prescore_dags import airflow_dags\n\n"
        'airflow_dags(upkeep="team", tags=["ours"], default_args={"owner": "me"})\n'
    )
    sandbox.spec(SPEC + '[schedule]\nassets = [""]\n', "nameless")
    sandbox.spec(SPEC + '[schedule]\ncron = "0 5 30 2 *"\n', "never")
    loaded = airflow.load(folder)
    assert loaded["errors"] == {}
    assert {"prescore_watch_team", "prescore_retire_team"} < set(loaded["dags"])
    assert loaded["dags"]["prescore_churn"]["tags"] == ["ours", "prescore"]
    assert set(loaded["dags"]["prescore_churn"]["retries"].values()) == {3}
    assert [loaded["dags"][f"prescore_{name}"]["tags"] for name in ("nameless", "never")] == [
        ["broken spec", "ours", "prescore"]
    ] * 2


def test_a_backfill_of_a_query_that_knows_no_time_is_refused(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    done = airflow.run(as_of="2026-01-05T00:00:00Z")
    assert (done["states"]["snapshot"], done["tries"]["snapshot"]) == ("failed", 1)
    assert "does not ask for $as_of" in airflow.log()
    assert sandbox.rows(STATES) == []


def test_a_run_waits_while_another_one_writes(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    migrations.migrate(sandbox.database)
    with sandbox.database.connect() as connection:
        lease.acquire(connection, "churn", watched=False, seconds=3, holder="a backfill")
    done = airflow.run()
    assert (done["state"], done["tries"]["snapshot"]) == ("success", 1)
    assert "Another run of churn is at work (a backfill, lease until" in airflow.log()


def test_a_refused_version_fails_the_run_at_once(airflow: Airflow, sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    done = airflow.run()
    assert (done["state"], done["states"]["check"], done["tries"]["check"]) == ("failed", "failed", 1)
    assert (done["states"]["publish"], done["states"]["release_lease"]) == ("upstream_failed", "success")
    log = airflow.log()
    assert "scores are probabilities: saw 1,000 values off" in log
    assert "Version 1 is still served." in log
    assert sandbox.rows(SERVED) == [(1,)]
    assert sandbox.rows(STATES) == [(1, "published"), (2, "refused")]
    assert sandbox.rows(LEASES) == [(0,)]


def test_a_held_model_is_not_published_until_it_is_released(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    sandbox.cli("run", "churn")
    sandbox.cli("hold", "churn", "--reason", "the source is being mended")
    done = airflow.run()
    assert (done["state"], done["states"]["publish"]) == ("success", "skipped")
    assert "churn is on hold (the source is being mended): version 2 passed its checks and waits" in airflow.log()
    assert sandbox.rows(STATES) == [(1, "published"), (2, "checked")]
    sandbox.cli("release", "churn")
    assert airflow.again("publish")["states"]["publish"] == "success"
    assert sandbox.rows(SERVED) == [(2,)]
    assert sandbox.rows(LEASES) == [(0,)]
    # An attempt that died after it had published is tried again: nothing is left to do.
    assert airflow.again("publish")["states"]["publish"] == "success"
    assert sandbox.rows("select count(*) from prescore.events where event = 'published' and version = 2") == [(1,)]


def test_one_bad_chunk_ends_the_run_and_frees_the_model(airflow: Airflow, sandbox: Sandbox) -> None:
    _without_checks(sandbox)
    sandbox.edit("[onnx]", '[passthrough]\nseen = "timestamp"\n[onnx]')
    sandbox.query(
        "select customer, visits, spend, case when customer = 450 then timestamp '9000-01-01 (BC)' end as seen "
        "from read_parquet('data/customers.parquet')"
    )
    done = airflow.run()
    assert (done["state"], done["states"]["score[1]"], done["tries"]["score[1]"]) == ("failed", "failed", 1)
    assert sandbox.rows(STATES) == [(1, "failed")]
    assert sandbox.rows(LEASES) == [(0,)]
    # Whichever chunk comes after it is told why, and tries no more than once.
    assert airflow.again("score", 0)["states"]["score[0]"] == "failed"
    assert "churn version 1 is failed: Postgres cannot hold a value of chunk 4" in airflow.log()


def test_a_broken_spec_fails_its_own_runs_only(airflow: Airflow, sandbox: Sandbox) -> None:
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
    # Its nights fail, rather than pass in silence.
    assert len(broken["prescore_typo"]["runs"]) == 3
    assert 'schedule.cron: Airflow cannot read "99 5 * * *"' in broken["prescore_late"]["doc"]
    done = airflow.run("prescore_typo")
    assert (done["states"]["snapshot"], done["tries"]["snapshot"]) == ("failed", 1)
    assert "given: '{{ reel }}'" in airflow.log()


@pytest.mark.usefixtures("sandbox")
def test_no_database_url_is_told_and_not_retried(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    done = airflow.run()
    assert (done["states"]["snapshot"], done["tries"]["snapshot"]) == ("failed", 1)
    assert "PRESCORE_DATABASE_URL is not set" in airflow.log()


@pytest.mark.usefixtures("sandbox")
def test_a_database_that_is_away_is_tried_again(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", "postgresql://nobody@localhost:1/nothing")
    done = airflow.run(impatient=True)
    assert (done["states"]["snapshot"], done["tries"]["snapshot"]) == ("failed", 4)
    assert "Cannot work with Postgres at localhost:1/nothing" in airflow.log()


def test_only_its_own_holder_comes_back_for_a_lease(sandbox: Sandbox) -> None:
    with sandbox.database.connect() as connection:
        first = lease.acquire(connection, "churn", watched=False, seconds=lease.TASK_EXPIRY_SECONDS, holder="run 1")
        with pytest.raises(Busy, match="run 1"):
            lease.acquire(connection, "churn", watched=False, holder="run 2")
        assert sandbox.cli("run", "churn").code == 3
        again = lease.acquire(connection, "churn", watched=False, holder="run 1")
        assert again.token > first.token
        assert lease.renew(connection, first) is None
        lease.release_held_by(connection, "run 2")
        assert sandbox.rows(LEASES) == [(1,)]
        lease.release_held_by(connection, "run 1")
        assert sandbox.rows(LEASES) == [(0,)]


def _without_checks(sandbox: Sandbox) -> None:
    """Without checks of its own the spec needs no Great Expectations until the compulsory ones run."""
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :])
