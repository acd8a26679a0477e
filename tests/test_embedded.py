"""The embedded Postgres: started when a project uses it, found by the next command, stopped on request."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from fix_incremental import WITHOUT_CHECKS
from fix_project import Sandbox, customers
from prescore.embedded import pidfile
from prescore.embedded import server as embedded
from prescore.errors import DatabaseUnavailable
from prescore.project.project import Project

PRESCORE = str(Path(sys.executable).parent / "prescore")
pytestmark = pytest.mark.usefixtures("quick_command")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that uses the embedded server, in an environment that names no other."""
    return _project(tmp_path, monkeypatch)


def _project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    root.mkdir(exist_ok=True)
    (root / "prescore.toml").write_text('database = "embedded"\n')
    monkeypatch.delenv("PRESCORE_DATABASE_URL", raising=False)
    monkeypatch.setenv("PRESCORE_PROJECT", str(root))
    return Project.find(root)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, however long pytest's own is."""
    with tempfile.TemporaryDirectory(prefix="prescore-", dir="/tmp") as folder:
        yield Path(folder)


def _prescore(*arguments: str) -> str:
    return subprocess.run(["prescore", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_it_starts_once_outlives_the_command_and_stops(project: Project) -> None:
    commands = [subprocess.Popen([PRESCORE, "db", "url"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        urls = {command.communicate(timeout=60)[0].strip() for command in commands}
        assert len(urls) == 1
        assert embedded.running(embedded.folder(project)) == urls.pop()
        assert _prescore("db", "psql", "-Atc", "select 1 + 1") == "2"
        assert _prescore("db", "migrate") == "0001_catalog.sql"
        assert _prescore("db", "migrate") == "The catalog is up to date."
    finally:
        assert _prescore("db", "stop") == "Stopped."
    assert _prescore("db", "stop") == "The embedded Postgres was not running."
    assert embedded.running(embedded.folder(project)) is None


def test_db_stop_lists_the_sessions_of_others(project: Project) -> None:
    with psycopg.connect(embedded.start(project), application_name="a report"):
        assert _prescore("db", "stop") == "Stopped. This closed 1 session of a report (database postgres)."


@pytest.mark.usefixtures("project")
def test_data_is_there_after_a_restart() -> None:
    try:
        _prescore("db", "psql", "-qc", "create table kept as select 42 as answer")
        _prescore("db", "stop")
        assert _prescore("db", "psql", "-Atc", "select answer from kept") == "42"
    finally:
        _prescore("db", "stop")


def test_a_failed_start_shows_the_reason(project: Project) -> None:
    try:
        embedded.start(project)
        embedded.stop(project)
        with (embedded.folder(project) / "postgresql.conf").open("a") as file:
            file.write("shared_buffers = 'a lot'\n")
        with pytest.raises(DatabaseUnavailable, match="the whole log is"):
            embedded.start(project)
    finally:
        embedded.stop(project)


def test_a_failed_start_does_not_quote_an_earlier_one(project: Project) -> None:
    log = embedded.folder(project) / "log"
    try:
        embedded.start(project)
        embedded.stop(project)
        with log.open("a") as file:
            file.write("FATAL:  a complaint of last week\n")
        # The server's user cannot write to the log, so this start adds nothing.
        log.chmod(0o400)
        with pytest.raises(DatabaseUnavailable, match="does not start") as refused:
            embedded.start(project)
        assert "last week" not in str(refused.value)
    finally:
        log.chmod(0o600)
        embedded.stop(project)


def _error_message(*arguments: str, code: int = 2) -> str:
    """Run a command that fails, and return its message."""
    done = subprocess.run(["prescore", *arguments], check=False, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return done.stderr


@pytest.mark.usefixtures("project")
def test_a_copy_made_while_the_server_ran_does_not_connect_to_it(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path_factory.mktemp("copies") / "copy"
    try:
        _prescore("db", "psql", "-qc", "create table kept as select 42 as answer")
        subprocess.run(["cp", "-a", str(tmp_path), str(copy)], check=True)
        monkeypatch.setenv("PRESCORE_PROJECT", str(copy))
        for command in (["db", "url"], ["status"], ["db", "stop"]):
            message = _error_message(*command)
            assert f"was copied from {tmp_path}/.prescore/postgres while the server there was running" in message
            assert f"or remove {copy}/.prescore/postgres to begin with an empty database" in message

        shutil.rmtree(copy / ".prescore/postgres")
        assert _prescore("db", "psql", "-Atc", "select to_regclass('kept') is null") == "t"
        assert _prescore("db", "stop") == "Stopped."
        monkeypatch.setenv("PRESCORE_PROJECT", str(tmp_path))
        assert _prescore("db", "psql", "-Atc", "select answer from kept") == "42"
    finally:
        for root in (copy, tmp_path):
            monkeypatch.setenv("PRESCORE_PROJECT", str(root))
            subprocess.run(["prescore", "db", "stop"], check=False, capture_output=True)


def test_a_project_that_moves_keeps_its_running_server(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = _project(short_folder / "here", monkeypatch)
    moved = short_folder / "m" / "p"
    moved.parent.mkdir()
    too_long = moved.parent / ("a-long-name-" * 10)
    try:
        _prescore("db", "psql", "-qc", "create table kept as select 42 as answer")
        process = pidfile.read(embedded.folder(project))
        project.root.rename(moved)
        monkeypatch.setenv("PRESCORE_PROJECT", str(moved))
        assert _prescore("db", "psql", "-Atc", "select answer from kept") == "42"
        assert pidfile.read(moved / ".prescore/postgres") == process

        moved.rename(too_long)
        monkeypatch.setenv("PRESCORE_PROJECT", str(too_long))
        assert process is not None
        assert f"Stop it with `kill -INT {process.process}`" in _error_message("db", "stop")
        too_long.rename(moved)
        monkeypatch.setenv("PRESCORE_PROJECT", str(moved))
        assert _prescore("db", "stop") == "Stopped."
        assert _prescore("db", "psql", "-Atc", "select answer from kept") == "42"
    finally:
        _prescore("db", "stop")


def test_a_process_id_that_another_process_has_by_now_is_not_a_server(project: Project) -> None:
    data = embedded.folder(project)
    try:
        _prescore("db", "url")
        pidfile_before = (data / "postmaster.pid").read_text()
        _prescore("db", "stop")
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=data.stat().st_uid) as other:
            (data / "postmaster.pid").write_text("\n".join([str(other.pid), *pidfile_before.splitlines()[1:]]))
            assert embedded.running(data) is None
            assert _prescore("db", "stop") == "The embedded Postgres was not running."
            assert _prescore("db", "psql", "-Atc", "select 1 + 1") == "2"
            other.communicate()
    finally:
        _prescore("db", "stop")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of another user")
def test_data_of_another_user_is_an_error_that_names_both_users(project: Project) -> None:
    data = embedded.folder(project)
    _prescore("db", "url")
    _prescore("db", "stop")
    owner = data.owner()
    subprocess.run(["chown", "-R", "root", str(data)], check=True)
    message = _error_message("db", "url")
    assert f"belongs to user root, but Postgres would run as {owner}" in message
    assert f"chown -R {owner} {data}" in message
    subprocess.run(["chown", "-R", owner, str(data)], check=True)
    assert _prescore("db", "psql", "-Atc", "select 1 + 1") == "2"
    _prescore("db", "stop")


def test_git_ignores_the_files_that_prescore_makes(sandbox: Sandbox) -> None:
    subprocess.run(["git", "init", "--quiet", str(sandbox.root)], check=True)
    assert sandbox.cli("run", "churn").code == 0
    status = ["git", "-C", str(sandbox.root), "status", "--porcelain", "--untracked-files=all"]
    assert (sandbox.root / ".prescore/store").is_dir()
    assert ".prescore" not in subprocess.check_output(status, text=True)


def test_a_server_in_the_environment_is_used_instead(
    project: Project, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", server)
    assert embedded.database(project).url == server
    assert not embedded.folder(project).exists()


STOP_IN_THE_SECOND_CHUNK = """
create function stop_server() returns trigger language plpgsql as $$
begin
  if (select count(*) from prescore.chunks) = 1 then
    copy (select 1) to program 'kill -INT $(head -1 "$PGDATA/postmaster.pid")';
    perform pg_sleep(60);
  end if;
  return null;
end $$;
create function watch_table() returns trigger language plpgsql as $$
begin
  execute format(
    'create trigger stop before insert on prescore_versions.%I for each statement execute function stop_server()',
    new.table_name);
  return null;
end $$;
create trigger watch after update of snapshot_rows on prescore.versions for each row execute function watch_table();
"""


def test_a_run_whose_server_is_stopped_is_resumed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.settings('database = "embedded"\nchunk_rows = 100_000\nworkers = 1\n')
    sandbox.spec(WITHOUT_CHECKS)
    # The chunks are larger than any buffer, so the server stops while one is being sent.
    sandbox.data(customers(200_000))
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    data = embedded.folder(Project.find(sandbox.root))
    try:
        _prescore("db", "migrate")
        _prescore("db", "psql", "-qc", STOP_IN_THE_SECOND_CHUNK.replace("$PGDATA", str(data)))
        stopped = subprocess.run(["prescore", "run", "churn"], check=False, capture_output=True, text=True)
        assert stopped.returncode == 3, stopped.stderr
        assert "The project's embedded Postgres stopped while it was in use: " in stopped.stderr
        assert "the next run resumes where this one stopped" in stopped.stderr
        assert len(stopped.stderr.splitlines()) == 1
        assert "5432" not in stopped.stderr

        _prescore("db", "psql", "-qc", "drop function stop_server() cascade")
        assert "resumed  version 1: 1 of 2 chunks were finished already" in _prescore("run", "churn")
    finally:
        _prescore("db", "stop")


A_PARENT_THAT_DOES_NOT_WAIT = """
import ctypes, os, signal, subprocess, sys
from pathlib import Path
import psutil

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER: orphans below become ours
subprocess.run([sys.argv[1], "db", "url"], check=True, stdout=subprocess.DEVNULL)
process = int(Path(sys.argv[2], "postmaster.pid").read_text().splitlines()[0])
helpers = psutil.Process(process).children()
os.kill(process, signal.SIGKILL)
os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
for helper in helpers:
    os.waitpid(helper.pid, 0)
print("killed", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no subreapers")
def test_a_killed_server_that_is_still_a_zombie_is_started_again(project: Project) -> None:
    data = embedded.folder(project)
    command = [sys.executable, "-c", A_PARENT_THAT_DOES_NOT_WAIT, PRESCORE, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "killed\n"
            assert embedded.running(data) is None
            assert _prescore("db", "psql", "-Atc", "select 1 + 1") == "2"
        finally:
            parent.communicate()
            _prescore("db", "stop")


@pytest.fixture
def long_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose path is too long for a socket in its data folder."""
    try:
        yield _project(tmp_path / ("a-long-name-" * 10), monkeypatch).root
    finally:
        _prescore("db", "stop")


def _host(url: str) -> Path:
    return Path(str(conninfo_to_dict(url)["host"]))


def test_a_long_path_has_a_socket_that_other_users_cannot_reach(long_named: Path) -> None:
    sockets = _host(_prescore("db", "url"))
    assert not sockets.is_relative_to(long_named)
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert _prescore("db", "psql", "-Atc", "select 1 + 1") == "2"


@pytest.mark.usefixtures("long_named")
def test_a_long_path_keeps_its_address_over_restarts() -> None:
    url = _prescore("db", "url")
    _prescore("db", "stop")
    # Otherwise another user could take its place.
    assert _host(url).exists()
    assert _prescore("db", "url") == url


@pytest.mark.usefixtures("long_named")
def test_a_socket_folder_that_other_users_can_enter_is_not_used() -> None:
    url = _prescore("db", "url")
    _prescore("db", "stop")
    taken = _host(url)
    taken.chmod(0o777)
    assert _host(_prescore("db", "url")) != taken


def test_a_project_named_like_a_socket_folder_keeps_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="prescore-", dir="/tmp") as folder:
        Path(folder, "prescore.toml").write_text('database = "embedded"\n')
        monkeypatch.chdir(folder)
        try:
            _prescore("db", "psql", "-qc", "create table kept as select 1 as one")
            _prescore("db", "stop")
            assert _prescore("db", "psql", "-qtAc", "select one from kept") == "1"
        finally:
            _prescore("db", "stop")
