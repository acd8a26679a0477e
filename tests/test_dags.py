"""The DAGs, as Airflow loads and runs them. Airflow itself is in processes of its own: see fix_airflow.py."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fix_airflow import Airflow
from fix_project import SPEC, Sandbox, customers, linear
from prescore.contract import lease
from prescore.contract.errors import Busy

REPO = Path(__file__).parents[1]
HEAVY = {"pyarrow", "onnxruntime", "onnx", "great_expectations", "duckdb", "pandas", "numpy", "pgpq", "sklearn"}
SERVED = "select distinct version from predictions.churn"
STATES = "select version, state from prescore.versions order by version"
LEASES = "select count(*) from prescore.leases where expires_at >= now()"


@pytest.fixture
def folder(sandbox: Sandbox) -> Path:
    """A user's DAG folder in the project: two lines."""
    made = sandbox.root / "dags"
    made.mkdir()
    (made / "predictions.py").write_text("from prescore_dags import airflow_dags\n\nairflow_dags(groups=4)\n")
    return made


def test_the_repos_dags_load(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL", raising=False)
    monkeypatch.delenv("PRESCORE_PROJECT", raising=False)
    loaded = airflow.load(REPO / "dags")
    assert loaded["errors"] == {}
    dag = loaded["dags"]["prescore_flight_delay"]
    # Five in the morning in New York, before and after its clocks change.
    assert dag["runs"] == [
        f"2026-03-{day}T{hour}:00:00+00:00" for day, hour in (("07", "10"), ("08", "09"), ("09", "09"))
    ]
    assert (dag["catchup"], dag["max_active_runs"], dag["tags"]) == (False, 1, ["prescore"])
    assert set(dag["retries"].values()) == {3}
    assert dag["tasks"] == {
        "snapshot": ["score", "stage"],
        "score": ["give_back", "stage"],
        "stage": ["check"],
        "check": ["publish"],
        "publish": ["give_back"],
        "give_back": [],
    }


def test_loading_reads_specs_and_nothing_else(
    airflow: Airflow, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    loaded = airflow.load(folder)
    assert not HEAVY & set(loaded["imported"])
    of_project = {
        Path(name).relative_to(sandbox.root) for name in loaded["opened"] if name.startswith(str(sandbox.root))
    }
    assert {str(name) for name in of_project if name.suffix != ".pyc"} == {
        "dags/predictions.py",
        "prescore.toml",
        "specs/churn.toml",
    }
    assert loaded["dags"]["prescore_churn"]["runs"] == []  # no [schedule]: by hand


def test_a_run_publishes_every_row(airflow: Airflow, sandbox: Sandbox, folder: Path) -> None:
    done, log = airflow.run(folder)
    steps = ["snapshot", *(f"score[{n}]" for n in range(4)), "stage", "check", "publish", "give_back"]
    assert done["states"] == dict.fromkeys(sorted(steps), "success"), log
    assert done["titles"] == ["chunks 0 to 1", "chunks 2 to 4", "chunks 5 to 6", "chunks 7 to 9"]
    assert sandbox.rows("select version, count(*), count(distinct customer) from predictions.churn group by 1") == [
        (1, 1000, 1000)
    ]
    assert sandbox.rows("select count(*) from prescore.chunks") == [(10,)]
    assert sandbox.rows(LEASES) == [(0,)]
    assert airflow.run(folder)[0]["state"] == "success"  # cleared as a whole, the same run makes another version
    assert sandbox.rows(STATES) == [(1, "superseded"), (2, "published")]


def test_a_refused_version_fails_the_run_at_once(airflow: Airflow, sandbox: Sandbox, folder: Path) -> None:
    sandbox.cli("run", "churn")
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    done, log = airflow.run(folder)
    assert (done["state"], done["states"]["check"], done["tries"]["check"]) == ("failed", "failed", 1)
    assert (done["states"]["publish"], done["states"]["give_back"]) == ("upstream_failed", "success")
    assert "scores are probabilities: saw 1000 values off" in log
    assert "Version 1 is still served." in log
    assert sandbox.rows(SERVED) == [(1,)]
    assert sandbox.rows(STATES) == [(1, "published"), (2, "refused")]
    assert sandbox.rows(LEASES) == [(0,)]


def test_a_held_model_is_not_published_until_it_is_released(airflow: Airflow, sandbox: Sandbox, folder: Path) -> None:
    _without_checks(sandbox)
    sandbox.cli("run", "churn")
    sandbox.cli("hold", "churn", "--reason", "the source is being mended")
    done, log = airflow.run(folder)
    assert (done["state"], done["states"]["publish"]) == ("success", "skipped")
    assert "churn is on hold (the source is being mended): version 2 passed its checks and waits" in log
    assert sandbox.rows(STATES) == [(1, "published"), (2, "checked")]
    sandbox.cli("release", "churn")
    assert airflow.run(folder, only="publish")[0]["states"]["publish"] == "success"
    assert sandbox.rows(SERVED) == [(2,)]
    assert sandbox.rows(LEASES) == [(0,)]
    # An attempt that died after it had published is tried again: nothing is left to do.
    assert airflow.run(folder, only="publish")[0]["states"]["publish"] == "success"
    assert sandbox.rows("select count(*) from prescore.events where event = 'published' and version = 2") == [(1,)]


def test_one_bad_chunk_ends_the_run_and_frees_the_model(airflow: Airflow, sandbox: Sandbox, folder: Path) -> None:
    _without_checks(sandbox)
    sandbox.edit("[onnx]", '[passthrough]\nname = "text"\n[onnx]')
    sandbox.query("select customer, visits, spend, name from read_parquet('data/customers.parquet')")
    names = pa.array(["a\x00b" if n == 450 else "ab" for n in range(1000)])
    sandbox.data(customers().append_column("name", names))
    done, log = airflow.run(folder)
    assert [done["states"][f"score[{n}]"] for n in range(4)] == ["success", "failed", "failed", "failed"]
    assert set(done["tries"].values()) <= {0, 1}
    assert "churn version 1 is failed: Postgres cannot hold a value of chunk 4" in log
    assert sandbox.rows(STATES) == [(1, "failed")]
    assert sandbox.rows(LEASES) == [(0,)]


def test_a_broken_spec_fails_its_own_runs_only(airflow: Airflow, sandbox: Sandbox, folder: Path) -> None:
    schedule = '[schedule]\ncron = "0 5 * * *"\n'
    sandbox.spec(SPEC.replace('type = "real"', 'type = "{{ reel }}"') + schedule, "typo")
    sandbox.spec(SPEC + schedule.replace("0 5", "99 5"), "late")
    sandbox.spec("[domain", "not a name")
    loaded = airflow.load(folder)
    assert loaded["errors"] == {}
    broken = {name: dag for name, dag in loaded["dags"].items() if "broken spec" in dag["tags"]}
    assert set(broken) == {"prescore_typo", "prescore_late", "prescore_not_a_name"}
    assert set(loaded["dags"]) - set(broken) == {"prescore_churn"}
    assert "outputs.score.type" in broken["prescore_typo"]["doc"]
    assert len(broken["prescore_typo"]["runs"]) == 3  # its nights fail, rather than pass in silence
    assert 'schedule.cron: Airflow cannot read "99 5 * * *"' in broken["prescore_late"]["doc"]
    done, log = airflow.run(folder, "prescore_typo")
    assert (done["states"]["snapshot"], done["tries"]["snapshot"]) == ("failed", 1)
    assert "typo.toml does not hold together" in log
    assert "given: '{{ reel }}'" in log


def test_no_database_url_is_told_and_not_retried(
    airflow: Airflow, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    done, log = airflow.run(folder)
    assert (done["states"]["snapshot"], done["tries"]["snapshot"]) == ("failed", 1)
    assert "PRESCORE_DATABASE_URL is not set" in log


def test_a_database_that_is_away_is_tried_again(
    airflow: Airflow, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", "postgresql://nobody@localhost:1/nothing")
    done, log = airflow.run(folder, impatient=True)
    assert (done["states"]["snapshot"], done["tries"]["snapshot"]) == ("failed", 4)
    assert "Cannot work with Postgres at localhost:1/nothing" in log


def test_only_its_own_holder_comes_back_for_a_lease(sandbox: Sandbox) -> None:
    with sandbox.database.connect() as connection:
        first = lease.take(connection, "churn", watched=False, seconds=lease.BETWEEN, holder="run 1")
        with pytest.raises(Busy, match="run 1"):
            lease.take(connection, "churn", watched=False, holder="run 2")
        assert sandbox.cli("run", "churn").code == 3
        again = lease.take(connection, "churn", watched=False, holder="run 1")
        assert again.token > first.token
        assert lease.renew(connection, first) is None
        lease.give_back(connection, "run 2")
        assert sandbox.rows(LEASES) == [(1,)]
        lease.give_back(connection, "run 1")
        assert sandbox.rows(LEASES) == [(0,)]


def _without_checks(sandbox: Sandbox) -> None:
    """Without checks of its own the spec needs no Great Expectations until the compulsory ones run."""
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :])
