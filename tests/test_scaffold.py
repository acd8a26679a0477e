"""`prescore init`: the files that it creates, and when it refuses to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fix_project import Sandbox
from prescore.checks import expectations
from prescore.project import scaffold, spec_file


def test_the_first_model_starts_a_project(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "prescore.toml").unlink()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PRESCORE_PROJECT")
    done = sandbox.cli("init", "churn")
    assert done.code == 0, done.err
    assert "prescore validate churn" in done.out
    assert spec_file.load(folder / "specs/churn.toml").model == "churn"
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        "prescore.toml",
        "churn.toml",
        "churn.sql",
        "spec.schema.json",
    }


def test_existing_files_are_not_overwritten(sandbox: Sandbox) -> None:
    before = (sandbox.root / "specs/churn.toml").read_text()
    done = sandbox.cli("init", "churn")
    assert done.code == 2
    assert "already exists. Nothing was written" in done.err
    assert (sandbox.root / "specs/churn.toml").read_text() == before


def test_a_name_that_no_model_can_have_is_refused(sandbox: Sandbox) -> None:
    done = sandbox.cli("init", "Churn Rate")
    assert done.code == 2
    assert "lower case letters" in done.err


@pytest.mark.parametrize("template", scaffold.TEMPLATES)
def test_each_template_is_a_valid_spec_and_query(
    sandbox: Sandbox, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = sandbox.cli("init", "demand", "--template", template)
    assert done.code == 0, done.err
    job = sandbox.job("demand")
    assert (job.spec.schedule is not None, job.spec.checks != ()) == (True, True)
    expectations.build(job.spec)
    # DuckDB can parse the query, and it names each column that the spec needs.
    assert job.source.parameter_names(job.query) <= {"as_of"}
    assert all(column in job.query for column in [*job.spec.key, *job.spec.passthrough])


def test_templates_are_listed_and_a_misspelt_one_is_a_mistake(sandbox: Sandbox) -> None:
    listed = sandbox.cli("init", "--list")
    assert (listed.code, [line.split()[0] for line in listed.out.splitlines()]) == (0, list(scaffold.TEMPLATES))
    refused = sandbox.cli("init", "demand", "--template", "forcast")
    assert (refused.code, "Did you mean forecast?" in refused.err) == (2, True)
