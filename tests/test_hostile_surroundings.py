"""A database, project or folder that cannot be used: a message and an exit code for each, and no changes."""

from __future__ import annotations

import json
import os
import socket

import pytest

from fix_postgres import LOCKED
from fix_project import Sandbox


def test_a_wrong_password_is_refused(sandbox: Sandbox, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "host=/" not in server:
        pytest.skip("only the embedded server has a role with a password")
    for password in ("", ":wrong"):
        url = sandbox.database.url.replace("postgres@", f"{LOCKED}{password}@", 1)
        monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
        done = sandbox.cli("run", "churn")
        assert done.code == 2, done.err
        assert "refuses the login" in done.err
        assert "Check user, password and database" in done.err
        assert "wrong" not in done.err.replace("password", "")


def test_a_missing_role_is_refused(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", sandbox.database.url.replace("postgres@", "stranger@", 1))
    done = sandbox.cli("run", "churn")
    assert done.code == 2
    assert "refuses the login" in done.err
    assert "stranger" in done.err


def test_a_database_that_does_not_listen_is_worth_a_retry(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PRESCORE_DATABASE_URL", f"postgresql://u:secret@127.0.0.1:{taken.getsockname()[1]}/none")
        done = sandbox.cli("run", "churn")
    assert done.code == 3
    assert "Cannot work with Postgres at 127.0.0.1" in done.err
    assert "secret" not in done.err


def test_a_project_without_a_database_says_how_to_set_one(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    done = sandbox.cli("run", "churn")
    assert done.code == 2
    assert "Set PRESCORE_DATABASE_URL" in done.err


def test_a_run_outside_a_project_is_refused(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_PROJECT", os.sep)
    done = sandbox.cli("run", "churn")
    assert done.code == 2
    assert "prescore init NAME" in done.err


@pytest.mark.parametrize("command", [["run", "churn"], ["init", "other"]])
def test_a_project_folder_that_does_not_exist_is_refused(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    # The missing folder is inside a project, which must not be used in its place.
    missing = sandbox.root / "missing"
    monkeypatch.setenv("PRESCORE_PROJECT", str(missing))
    done = sandbox.cli(*command)
    assert done.code == 2
    assert f"PRESCORE_PROJECT is {missing}, which is not a folder" in done.err


def test_validate_reports_rows_and_errors_as_json(sandbox: Sandbox) -> None:
    done = sandbox.cli("validate", "--json")
    (result,) = json.loads(done.out)
    assert (done.code, result["model"], result["rows"], result["rejected"]) == (0, "churn", 1000, 0)
    sandbox.query("select")
    (result,) = json.loads(sandbox.cli("validate", "--json").out)
    assert (result["model"], result["error"]["code"]) == ("churn", "domain_invalid")
    assert json.loads(sandbox.cli("validate", "churn", "--json").out)["error"]["code"] == "domain_invalid"


@pytest.mark.parametrize(
    "url",
    [
        "foo",
        "sqlite:///x.db",
        "postgresql://h:abc/x",
        "postgresql://h:99999/x",
        "postgresql+psycopg2://u:secret@h/x",
        "'postgresql://u:secret@h/x'",
        "postgresql://u:se%cret@h/x",
        "postgresql://u:secret@secret@h/x",
        "postgresql://u:secret/secret@h/x",
        "host=h user=u password=secret secret",
    ],
)
def test_a_url_of_another_database_is_refused(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
    done = sandbox.cli("status")
    assert done.code == 2, done.err
    assert "PRESCORE_DATABASE_URL is not a valid Postgres URL" in done.err
    assert "cret" not in done.err


def test_a_folder_that_cannot_be_written_is_reported(sandbox: Sandbox) -> None:
    (sandbox.root / ".prescore").write_text("a file where a folder should be")
    done = sandbox.cli("run", "churn")
    assert done.code == 3, done.err
    assert ".prescore" in done.err


def test_commands_that_use_only_the_catalog_need_no_project(
    sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert sandbox.cli("run", "churn", "--full").code == 0
    monkeypatch.delenv("PRESCORE_PROJECT")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for command in (
        ["status"],
        ["versions", "churn"],
        ["history", "churn"],
        ["lookup", "churn", "7"],
        ["compare", "churn", "1", "2"],
        ["hold", "churn", "--reason", "a look"],
        ["release", "churn"],
        ["pin", "churn", "1"],
        ["unpin", "churn", "1"],
        ["rollback", "churn"],
        ["db", "url"],
        ["db", "migrate"],
    ):
        done = sandbox.cli(*command)
        assert done.code == 0, (command, done.err)
    assert sandbox.rows("select published_version from prescore.models") == [(1,)]
    for command in (["run", "churn"], ["publish", "churn", "2"], ["retire", "churn"]):
        done = sandbox.cli(*command)
        assert (done.code, "Run `prescore init NAME` to start a project there" in done.err) == (2, True)


def test_an_unusable_store_is_reported_as_json_too(sandbox: Sandbox) -> None:
    sandbox.settings('store = "prescore.toml/x"\n')
    done = sandbox.cli("run", "churn", "--json")
    error = json.loads(done.out)["error"]
    assert (done.code, error["code"]) == (3, "transient")
    assert f"{sandbox.root}/prescore.toml/x" in error["message"]
    assert done.err == f"prescore: {error['message']}\n"


def test_a_duration_that_is_too_long_is_refused(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'grace = "99999999d"')
    done = sandbox.cli("validate", "churn")
    assert (done.code, "at most" in done.err) == (2, True), done.err


def test_a_column_is_named_with_the_remedy_of_its_role(sandbox: Sandbox) -> None:
    sandbox.query("select customer, visits, spend, 1.5::double as price from read_parquet('data/customers.parquet')")
    sandbox.edit("[onnx]", '[passthrough]\nprice = "real"\n[onnx]')
    refused = sandbox.cli("validate", "churn")
    assert "price is double precision in the domain and real in the spec" in refused.err
    assert "or use a wider type in the spec." in refused.err
    assert "onnx.allow_precision_loss" not in refused.err


def test_a_view_and_a_schema_that_were_dropped_by_hand_are_mistakes_that_a_run_repairs(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    for statement in ("drop view predictions.churn", "drop schema predictions cascade"):
        with sandbox.database.connect() as connection:
            connection.execute(statement.encode())
        lost = sandbox.cli("lookup", "churn", "1")
        assert (lost.code, "by hand? `prescore db migrate` restores" in lost.err) == (2, True), lost.err
        assert sandbox.cli("run", "churn").code == 0
        assert sandbox.cli("lookup", "churn", "1").code == 0
