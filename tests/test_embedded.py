"""The embedded Postgres: started when the project says so, found by the next command, stopped on request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prescore import embedded
from prescore.contract.errors import DatabaseAway
from prescore.contract.project import Project

PRESCORE = str(Path(sys.executable).parent / "prescore")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that says embedded, in an environment that names nothing else."""
    (tmp_path / "prescore.toml").write_text('database = "embedded"\n')
    monkeypatch.delenv("PRESCORE_DATABASE_URL", raising=False)
    monkeypatch.setenv("PRESCORE_PROJECT", str(tmp_path))
    return Project.find(tmp_path)


def _prescore(*arguments: str) -> str:
    return subprocess.run([PRESCORE, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_it_starts_once_survives_the_command_and_stops(project: Project) -> None:
    commands = [subprocess.Popen([PRESCORE, "db", "url"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        urls = {command.communicate(timeout=60)[0].strip() for command in commands}
        assert len(urls) == 1
        assert embedded.running(embedded.folder(project)) == urls.pop()
        assert _prescore("db", "psql", "-Atc", "select 1 + 1") == "2"
        assert _prescore("db", "migrate") == "0001_catalog.sql"
        assert _prescore("db", "migrate") == "up to date"
    finally:
        assert _prescore("db", "stop") == "stopped"
    assert _prescore("db", "stop") == "was not running"
    assert embedded.running(embedded.folder(project)) is None


@pytest.mark.usefixtures("project")
def test_what_was_written_is_there_after_a_restart() -> None:
    try:
        _prescore("db", "psql", "-qc", "create table kept as select 42 as answer")
        _prescore("db", "stop")
        assert _prescore("db", "psql", "-Atc", "select answer from kept") == "42"
    finally:
        _prescore("db", "stop")


def test_a_server_that_cannot_start_says_why(project: Project) -> None:
    try:
        embedded.start(project)
        embedded.stop(project)
        with (embedded.folder(project) / "postgresql.conf").open("a") as file:
            file.write("shared_buffers = 'a lot'\n")
        with pytest.raises(DatabaseAway, match="the whole log is"):
            embedded.start(project)
    finally:
        embedded.stop(project)


def test_a_named_server_is_used_instead(project: Project, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", server)
    assert embedded.database(project).url == server
    assert not embedded.folder(project).exists()
