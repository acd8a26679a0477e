"""`prescore init`: the files that it creates, and when it refuses to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fix_project import Sandbox
from prescore.project import spec


def test_the_first_model_starts_a_project(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "prescore.toml").unlink()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PRESCORE_PROJECT")
    done = sandbox.cli("init", "churn")
    assert done.code == 0, done.err
    assert "prescore validate churn" in done.out
    assert spec.load(folder / "specs/churn.toml").model == "churn"
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
