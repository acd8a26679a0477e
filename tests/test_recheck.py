"""A finished version is checked again by the spec's current checks, without scoring, and without publishing."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from psycopg import sql

from fix_project import Sandbox, linear
from prescore.catalog import session
from prescore.catalog.catalog import Catalog
from prescore.checks import expectations
from prescore.errors import DatabaseUnavailable

STATES = "select version, state, to_publish from prescore.versions order by version"
TOO_HIGH = linear([1.0, -0.5], add=5.0)


def test_a_refused_version_passes_corrected_checks(sandbox: Sandbox) -> None:
    sandbox.onnx(TOO_HIGH)
    assert sandbox.cli("run", "churn").code == 4
    sandbox.edit("max_value = 1\n", "max_value = 1000\n")
    done = sandbox.cli("check-again", "churn", "1")
    assert done.code == 0, done.err
    assert "checked, not published: `prescore publish churn 1` publishes it" in done.out
    assert sandbox.rows("select count(*) from prescore.chunks") == [(10,)]
    assert sandbox.rows(STATES) == [(1, "checked", False)]
    # A person publishes it. The next run makes a version of its own.
    assert sandbox.cli("publish", "churn", "1").code == 0
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.rows(STATES) == [(1, "superseded", False), (2, "published", False)]


def test_a_run_does_not_publish_what_passed_when_checked_again(sandbox: Sandbox) -> None:
    sandbox.onnx(TOO_HIGH)
    assert sandbox.cli("run", "churn").code == 4
    sandbox.edit("max_value = 1\n", "max_value = 1000\n")
    assert sandbox.cli("check-again", "churn", "1").code == 0
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.rows(STATES) == [(1, "checked", False), (2, "published", False)]


def test_a_checked_version_can_fail_stricter_checks(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn", "--no-publish").code == 0
    sandbox.edit("max_value = 1\n", "max_value = 0.001\n")
    done = sandbox.cli("check-again", "churn", "1", "--json")
    assert done.code == 4
    assert json.loads(done.out)["state"] == "refused"
    assert "scores are probabilities" in done.err
    assert sandbox.rows(STATES) == [(1, "refused", False)]
    assert sandbox.cli("publish", "churn", "1").code == 2


def test_a_staged_version_is_checked_and_the_next_run_still_publishes_it(sandbox: Sandbox) -> None:
    sandbox.interrupted("check_table")
    assert sandbox.cli("check-again", "churn", "1").code == 0
    assert sandbox.rows(STATES) == [(1, "checked", True)]
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.rows(STATES) == [(1, "published", False)]


def test_what_cannot_be_checked_again_says_why(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    published = sandbox.cli("check-again", "churn", "1")
    assert (published.code, "churn version 1 is published" in published.err) == (2, True)
    assert sandbox.cli("run", "churn", "--no-publish").code == 0
    sandbox.edit('"visits", "spend"', '"spend", "visits"')
    changed = sandbox.cli("check-again", "churn", "2")
    assert (changed.code, "made by another spec" in changed.err) == (2, True)
    missing = sandbox.cli("check-again", "churn", "7")
    assert (missing.code, "churn has no version 7" in missing.err) == (2, True)
    sandbox.interrupted("score_chunks")
    building = sandbox.cli("check-again", "churn", "3")
    assert (building.code, "`prescore run churn` resumes it" in building.err) == (2, True)


def test_a_lock_that_stops_the_checks_is_named_with_its_session(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn", "--no-publish").code == 0
    sandbox.monkeypatch.setattr(session, "writer_settings", _impatient(session.writer_settings()))
    with sandbox.database.connect() as holder, holder.transaction():
        holder.execute("set application_name = 'nightly vacuum'")
        holder.execute("lock table prescore_versions.churn_v1")
        busy = sandbox.cli("check-again", "churn", "1")
        pid = holder.info.backend_pid
        own = expectations.build(sandbox.job().spec)
        with pytest.raises(DatabaseUnavailable, match="Another session holds a lock"):
            expectations.validate(sandbox.database, Catalog(holder).version("churn", 1), own)
    assert (busy.code, "Another session holds a lock" in busy.err) == (3, True), busy.err
    assert f"held by session {pid} (postgres, nightly vacuum), in a transaction for" in busy.err
    assert f"select pg_terminate_backend({pid})" in busy.err
    assert sandbox.cli("check-again", "churn", "1").code == 0


def _impatient(settings: sql.Composed) -> Callable[[], sql.Composed]:
    return lambda: settings + sql.SQL(";set lock_timeout = '200ms'")
