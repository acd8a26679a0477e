"""`prescore doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from fix_project import Sandbox


def _findings(sandbox: Sandbox, code: int = 0) -> list[dict[str, Any]]:
    done = sandbox.cli("doctor", "--json")
    assert done.code == code, done.err
    findings: list[dict[str, Any]] = json.loads(done.out)
    return findings


def _notable(sandbox: Sandbox, code: int = 0) -> dict[str, str]:
    """Return what was observed of each subject that is not in order."""
    return {
        finding["subject"]: f"{finding['state']}: {finding['observed']}"
        for finding in _findings(sandbox, code)
        # The tests' server runs without fsync.
        if finding["state"] != "ok" and finding["subject"] != "durability"
    }


def test_a_healthy_project_has_nothing_to_do(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    assert _notable(sandbox) == {}
    subjects = [finding["subject"] for finding in _findings(sandbox)]
    assert {"server", "clock", "pooler", "catalog", "role", "churn", "store"} <= set(subjects)
    assert "ok       churn" in sandbox.cli("doctor").out
    _require_runtime(sandbox)


def _require_runtime(sandbox: Sandbox) -> None:
    """Another ONNX Runtime than that of the table is a finding if the model is scored live, too."""
    with psycopg.connect(sandbox.database.url, autocommit=True) as admin:
        admin.execute("update prescore.versions set runtime = 'ONNX Runtime 1.0.0'")
        assert _notable(sandbox) == {}
        admin.execute("update prescore.versions set live = true")
    observed = "warning: was scored with ONNX Runtime 1.0.0, and is scored here with ONNX Runtime 1."
    assert observed in _notable(sandbox)["churn version 1"]


def test_a_server_that_does_not_answer_is_a_finding(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", "postgresql://someone:secret@127.0.0.1:1/none")
    done = sandbox.cli("doctor")
    assert done.code == 3
    assert "fault    database  Cannot work with Postgres at 127.0.0.1:1/none" in done.out
    assert "secret" not in done.out


def test_a_database_without_a_catalog_says_how_to_get_one(sandbox: Sandbox) -> None:
    with psycopg.connect(sandbox.database.url, autocommit=True) as admin:
        admin.execute("drop schema predictions, prescore_versions, prescore cascade")
    assert _notable(sandbox, 3)["catalog"].startswith("fault: The database at")


def test_what_people_and_killed_runs_leave_is_found(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    assert sandbox.cli("run", "churn").code == 0
    with psycopg.connect(sandbox.database.url, autocommit=True) as admin, psycopg.connect(admin.info.dsn) as reader:
        reader.execute("select count(*) from predictions.churn")
        assert sandbox.cli("run", "churn").code == 0
        admin.execute("create table prescore_versions.mine (x integer)")
        sandbox.interrupted("score_chunks")
        admin.execute("update prescore.versions set started_at = now() - interval '2 hours' where state = 'building'")
        (snapshot,) = (sandbox.root / ".prescore/store/snapshots/churn").glob("3.*")
        snapshot.rename(snapshot.with_name(snapshot.name.replace("3.", "9.", 1)))
        found = _notable(sandbox)
        assert "retired, and its table of" in found["churn version 1"]
        assert "belongs to no version" in found["prescore_versions.mine"]
        assert "is not in this store" in found["churn version 3"]
        assert "1 file that no version needs" in found["store"]
        reader.rollback()
    unfinished = [finding for finding in _findings(sandbox) if "no run works on it" in finding["observed"]]
    assert [finding["advice"] for finding in unfinished] == ["`prescore run churn` resumes it."]


def test_a_published_table_that_was_dropped_is_a_fault(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    sandbox.spec((sandbox.root / "specs/churn.toml").read_text(), name="other")
    with psycopg.connect(sandbox.database.url, autocommit=True) as admin:
        admin.execute("drop table prescore_versions.churn_v1")
        admin.execute("drop view predictions.churn")
    found = _notable(sandbox, 3)
    assert "was dropped or renamed by hand" in found["churn version 1"]
    assert "the view was dropped by hand" in found["predictions.churn"]
    assert "has never been run" in found["other"]
    assert "its table was dropped or renamed by hand" in sandbox.cli("status", "churn").out
    assert sandbox.cli("run", "churn", "--no-publish").code == 0
    with psycopg.connect(sandbox.database.url, autocommit=True) as admin:
        admin.execute("drop table prescore_versions.churn_v2")
    lost = sandbox.cli("check-again", "churn", "2")
    assert (lost.code, "was dropped or renamed by hand" in lost.err) == (2, True), lost.err


def test_an_exclusive_lock_on_a_table_blinds_neither_status_nor_doctor(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    with psycopg.connect(sandbox.database.url) as other:
        other.execute("lock table prescore_versions.churn in access exclusive mode")
        assert sandbox.cli("status").code == 0
        assert "version 1" in sandbox.cli("status", "churn").out
        assert _notable(sandbox) == {}
        other.rollback()


def test_a_table_that_was_emptied_by_hand_is_a_fault_also_before_it_was_analyzed(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    with psycopg.connect(sandbox.database.url, autocommit=True) as admin:
        # As after a restore: the pages are not counted yet.
        admin.execute("update pg_class set relpages = 0 where relname = 'churn_v1'")
        assert _notable(sandbox) == {}
        admin.execute("truncate prescore_versions.churn_v1")
    assert "was truncated by hand" in _notable(sandbox, 3)["churn version 1"]
