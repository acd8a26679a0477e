"""Removal of a model: what goes, what stays, who keeps it from going, and what readers and later runs see."""

from __future__ import annotations

import httpx
import pytest

from fix_project import Sandbox
from fix_server import served
from prescore.versions import lease

RELATIONS = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('predictions', 'prescore_versions') and c.relkind in ('v', 'r', 'p')
  and c.relname like 'churn%' order by 1
"""


@pytest.fixture
def published(sandbox: Sandbox) -> Sandbox:
    """Return the churn project with two versions, the second with columns that broke readers of the first."""
    assert sandbox.cli("run", "churn").code == 0
    sandbox.edit('[outputs]\nscore = { from = "score"', '[outputs]\nrisk = { from = "score"')
    sandbox.edit('column = "score"', 'column = "risk"')
    assert sandbox.cli("run", "churn", "--allow-breaking").code == 0
    return sandbox


def test_a_removed_model_leaves_its_history_and_the_files_of_the_project(published: Sandbox) -> None:
    published.spec((published.root / "specs/churn.toml").read_text(), name="upsell")
    assert published.cli("run", "upsell").code == 0
    store = published.root / ".prescore/store"
    planned = published.cli("remove", "churn", "--dry-run")
    assert planned.code == 0, planned.err
    assert "predictions.churn and 2 versions of 0." in planned.out
    assert "--yes" in published.cli("remove", "churn").err
    assert len(published.rows(RELATIONS)) == 5

    done = published.cli("remove", "churn", "--yes", "--reason", "it has no readers")
    assert done.code == 0, done.err
    assert "specs/churn.toml is still there" in done.out
    assert published.rows(RELATIONS) == []
    assert published.rows("select model from prescore.models") == [("upsell",)]
    assert not list((store / "snapshots/churn").glob("*"))
    # The other model has the same model file.
    assert len(list((store / "models").glob("*"))) == 1
    assert published.cli("lookup", "upsell", "7").code == 0

    assert "removed" in published.cli("history", "churn").out
    assert "it has no readers" in published.cli("history", "churn").out
    assert published.cli("remove", "churn", "--yes").code == 2
    assert published.cli("run", "churn").code == 0
    assert published.rows("select version from predictions.churn limit 1") == [(3,)]


def test_a_model_that_others_depend_on_or_write_is_not_removed(published: Sandbox) -> None:
    published.cli("keys", "create", "shop", "--model", "churn")
    with published.database.connect() as connection:
        connection.execute("create view public.risky as select * from predictions.churn where risk > 0.5")
    planned = published.cli("remove", "churn", "--dry-run")
    assert "must be dropped first: view risky" in planned.out
    assert "These API keys name churn and stay: shop" in planned.out
    refused = published.cli("remove", "churn", "--yes")
    assert (refused.code, "view risky" in refused.err) == (2, True)
    with published.database.connect() as connection:
        connection.execute("drop view public.risky")
    with lease.holding(published.database, "churn"):
        assert published.cli("remove", "churn", "--yes").code == 3
    with published.database.connect() as connection, connection.transaction():
        connection.execute("select * from predictions.churn limit 1")
        busy = published.cli("remove", "churn", "--yes")
        assert (busy.code, "their transactions are still open" in busy.err) == (3, True)
    assert published.cli("lookup", "churn", "7").code == 0


def test_a_running_server_and_the_doctor_follow(published: Sandbox) -> None:
    (published.root / "specs/churn.toml").unlink()
    assert "`prescore remove churn` drops it" in published.cli("doctor").out
    with served("--port", "0", "--no-auth", "--open-metrics") as (_, url):
        path = f"{url}/v1/predictions/churn/7"
        assert httpx.get(path).status_code == 200
        assert 'prescore_model_version{model="churn"} 2.0' in httpx.get(f"{url}/metrics").text
        assert published.cli("remove", "churn", "--yes").code == 0
        while (answer := httpx.get(path)).status_code == 200:
            pass
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert httpx.get(f"{url}/v1/models").json() == {"models": []}
        assert 'prescore_model_version{model="churn"}' not in httpx.get(f"{url}/metrics").text
        assert "churn" not in httpx.get(f"{url}/").text
    assert "churn" not in published.cli("status").out
    assert "churn" not in published.cli("doctor").out


def test_a_renamed_model_is_served_beside_the_old_one(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    done = sandbox.cli("rename", "churn", "leavers")
    assert done.code == 0, done.err
    assert "specs/churn.toml is specs/leavers.toml now." in done.out
    assert "sql/domains/churn.sql is sql/domains/leavers.sql now." in done.out
    assert sandbox.cli("run", "leavers").code == 0
    for name in ("churn", "leavers"):
        assert sandbox.cli("lookup", name, "7").code == 0
    (sandbox.root / "specs/churn.toml").write_bytes((sandbox.root / "specs/leavers.toml").read_bytes())
    # The query is used by two specs now.
    assert "sql/domains" not in sandbox.cli("rename", "leavers", "gone").out
    for old, new, message in (("none", "x", "There is no spec"), ("gone", "churn", "exists"), ("gone", "A-b", "a_b")):
        refused = sandbox.cli("rename", old, new)
        assert (refused.code, message in refused.err) == (2, True), refused.err
    assert sandbox.cli("remove", "churn", "--yes").code == 0
    assert sandbox.cli("validate", "gone").code == 0
