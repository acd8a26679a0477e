"""A store at a URL, on a real S3 server: what a run writes there, how it is resumed, and how failures are reported."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from fix_airflow import Airflow
from fix_project import Sandbox, customers, linear
from fix_soak import soak
from fix_store import S3
from prescore.catalog.catalog import Catalog, Version
from prescore.errors import Busy, Mistake, NotFound, StoreRefused, StoreUnavailable
from prescore.project.project import Project
from prescore.run import chunk_scoring, freezing, materialize, registration
from prescore.store.model_file import hash_bytes
from prescore.store.snapshot_file import SnapshotReader
from prescore.store.store import Store
from prescore.versions import lease

SCORES = "select customer, score from predictions.churn order by customer"
NOWHERE = "http://127.0.0.1:1"
OTHER_MACHINE = """
import sys
from pathlib import Path

from prescore.catalog.database import Database
from prescore.project.project import Project
from prescore.run import chunk_scoring, materialize
from prescore.run.job import Job
from prescore.versions.lease import Lease

root, url, token, *chunks = sys.argv[1:]
project = Project.find(Path(root))
job = Job(project, project.spec("churn"), Database(url))
scorer = materialize.load_predictor(job, 1)
chunk_scoring.score_chunks(job, Lease("churn", int(token)), 1, [int(chunk) for chunk in chunks], scorer)
"""
"""Scores chunks of version 1 in a process of its own; arguments: project, database URL, fencing token, chunks."""


@pytest.fixture
def shared(sandbox: Sandbox, s3: S3) -> Sandbox:
    """The churn project, with its store in the bucket."""
    sandbox.settings(f'chunk_rows = 100\nworkers = 1\nstore = "{s3.url}"\n')
    return sandbox


def _interrupt(sandbox: Sandbox) -> None:
    """Start a run, and interrupt it when its first chunk is staged."""

    def interrupt(step: str, _rows: int, _total: int | None) -> None:
        if step == "score":
            raise Busy("interrupted")

    job = sandbox.job()
    job.on_progress = interrupt
    with pytest.raises(Busy):
        materialize.run(job)


def _copy_to_other_machine(sandbox: Sandbox) -> Sandbox:
    """Copy the files of the project, but nothing that a run has written, and use the copy from here on."""
    root = sandbox.root / "other_machine"
    for folder in ("specs", "sql", "models", "data"):
        shutil.copytree(sandbox.root / folder, root / folder)
    shutil.copy(sandbox.root / "prescore.toml", root)
    sandbox.monkeypatch.setenv("PRESCORE_PROJECT", str(root))
    return replace(sandbox, root=root)


def _first_version(sandbox: Sandbox) -> Version:
    with sandbox.database.connect() as connection:
        return Catalog(connection).version("churn", 1)


def _short_names(s3: S3) -> list[str]:
    """Return the names of all objects, those of snapshots cut after the version and those of models after the hash."""
    return sorted(name if name == "prescore.txt" else name.split(".")[0] for name in s3.objects())


def test_a_run_leaves_its_files_in_the_bucket_and_none_on_the_machine(shared: Sandbox, s3: S3) -> None:
    done = shared.cli("run", "churn")
    assert done.code == 0, done.err
    scores = shared.rows(SCORES)
    model = hash_bytes(linear([1.0, -0.5]))
    assert _short_names(s3) == [f"models/{model}", "prescore.txt", "snapshots/churn/1"]
    assert not (shared.root / ".prescore").exists()
    assert not [path for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file()]
    shared.settings("chunk_rows = 100\n")
    assert shared.cli("run", "churn").code == 0
    assert shared.rows(SCORES) == scores
    assert len(scores) == 1000


def test_another_machine_resumes_an_interrupted_run(shared: Sandbox, s3: S3) -> None:
    _interrupt(shared)
    other = _copy_to_other_machine(shared)
    # The run scores the snapshot, not the rows that the query returns on the other machine.
    other.data(customers(10, seed=1))
    report = json.loads(other.cli("run", "churn", "--json").out)
    assert (report["version"], report["resumed"]) == (1, True)
    assert (report["chunks_before"], report["rows"]) == (1, 1000)
    assert len(s3.objects()) == 3
    assert len(shared.rows(SCORES)) == 1000


def test_machines_share_the_chunks_of_a_version(shared: Sandbox) -> None:
    job, other = shared.job(), _copy_to_other_machine(shared)
    with lease.holding(job.database, "churn") as own_lease:
        version = registration.begin(job, own_lease)
        scorer = materialize.load_predictor(job, version)
        freezing.take_snapshot(job, own_lease, version, scorer)
        arguments = [str(other.root), shared.database.url, str(own_lease.token), *map(str, range(5, 10))]
        with subprocess.Popen([sys.executable, "-c", OTHER_MACHINE, *arguments]) as process:
            chunk_scoring.score_chunks(job, own_lease, version, range(5), scorer)
        assert process.returncode == 0
        assert chunk_scoring.pending_chunks(job, version) == []
    assert shared.rows("select count(distinct customer) from prescore_versions.churn_v1") == [(1000,)]


def test_a_run_removes_the_files_of_retired_versions_and_of_killed_runs(shared: Sandbox, s3: S3) -> None:
    shared.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    assert shared.cli("run", "churn").code == 0
    shared.onnx(linear([1.0, -0.5], 0.7))
    with shared.database.connect() as connection:
        catalog = Catalog(connection).name
    for orphan in (f"churn/1.{catalog}.half", f"churn/9.{catalog}.half", f"churn_2/1.{catalog}", "churn/1.another"):
        s3.put(f"snapshots/{orphan}.parquet", b"")
    ended = subprocess.Popen(["true"])
    ended.wait()
    part = Path(tempfile.gettempdir()) / f"prescore-{os.getuid()}/parts/half.{socket.gethostname()}.{ended.pid}"
    part.touch()
    assert shared.cli("run", "churn").code == 0
    model = hash_bytes(linear([1.0, -0.5], 0.7))
    # The snapshot of version 1 that is left belongs to another catalog.
    left = ["snapshots/churn/1", "snapshots/churn/2", "snapshots/churn_2/1"]
    assert _short_names(s3) == [f"models/{model}", "prescore.txt", *left]
    assert not part.exists()


def test_a_table_is_kept_until_its_snapshot_can_be_removed(shared: Sandbox, s3: S3) -> None:
    for _ in range(2):
        assert shared.cli("run", "churn").code == 0
    shared.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    shared.monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    assert shared.cli("retire", "churn").code == 3
    assert shared.rows("select to_regclass('prescore_versions.churn_v1') is null") == [(False,)]
    shared.monkeypatch.setenv("AWS_ENDPOINT_URL", s3.server.url)
    (lost,) = (name for name in s3.objects() if name.startswith("snapshots/churn/1."))
    assert shared.cli("retire", "churn").out == "Retired: 1\n"
    assert _short_names(s3)[2:] == ["snapshots/churn/2"]
    # A snapshot that stayed behind is removed by the next run.
    s3.put(lost, b"")
    assert shared.cli("run", "churn", "--no-publish").code == 0
    assert _short_names(s3)[2:] == ["snapshots/churn/2", "snapshots/churn/3"]


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_run_with_a_damaged_snapshot_is_not_resumed(shared: Sandbox, s3: S3, damage: str) -> None:
    _interrupt(shared)
    name = next(name for name in s3.objects() if name.startswith("snapshots/"))
    if damage == "removed":
        s3.remove(name)
        with pytest.raises(NotFound, match=f"The snapshot {s3.url}/{name} cannot be read"):
            SnapshotReader(shared.job().store.snapshot(_first_version(shared)))
    else:
        content = bytearray(s3.get(name))
        content[100] ^= 1
        s3.put(name, bytes(content))
    assert materialize.run(shared.job()).version == 2


def test_a_kept_model_that_was_changed_is_refused(shared: Sandbox, s3: S3) -> None:
    _interrupt(shared)
    (name,) = (name for name in s3.objects() if name.startswith("models/"))
    s3.put(name, linear([9.0, 9.0]))
    with pytest.raises(NotFound, match=f"{s3.url}/{name} was changed"):
        materialize.load_predictor(shared.job(), 1)
    s3.remove(name)
    with pytest.raises(NotFound, match=r"the whole model .* Check that every worker uses the same store\."):
        materialize.load_predictor(shared.job(), 1)
    assert materialize.run(shared.job()).version == 1


def test_reading_a_chunk_takes_one_request(shared: Sandbox, s3: S3) -> None:
    _interrupt(shared)
    s3.requests()
    frozen = SnapshotReader(shared.job().store.snapshot(_first_version(shared)))
    # The requests are for its size and its footer.
    assert [line.split()[0] for line in s3.requests()] == ["HEAD", "GET"]
    for chunk in range(10):
        assert frozen.chunk(chunk).num_rows == 100
    frozen.close()
    assert [line.split()[0] for line in s3.requests()] == ["GET"] * 10


def test_the_disk_budget_includes_the_object_store(shared: Sandbox, s3: S3) -> None:
    assert shared.cli("run", "churn").code == 0
    s3.put("models/large", bytes(3_000_000))
    shared.settings(f'store = "{s3.url}"\ndisk_budget = "3MB"\n')
    done = shared.cli("run", "churn")
    assert (done.code, "the store takes 3.0 MB" in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    ("problem", "code", "error_code", "message"),
    [
        ("down", 3, "store_unavailable", "does not answer"),
        (
            "no bucket",
            2,
            "store_refused",
            "does not exist: The specified bucket does not exist. Create the bucket",
        ),
        ("no package", 2, "store_refused", "needs a package that is not installed: Please install gcsfs"),
    ],
    ids=["down", "no bucket", "no package"],
)
def test_a_run_fails_before_it_starts_a_version_if_the_store_cannot_be_used(
    shared: Sandbox, problem: str, code: int, error_code: str, message: str
) -> None:
    if problem == "down":
        shared.monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    else:
        shared.monkeypatch.setenv("PRESCORE_STORE", "gs://bucket/x" if problem == "no package" else "s3://missing/x")
    done = shared.cli("run", "churn", "--json")
    error = json.loads(done.out)["error"]
    assert (done.code, error["code"]) == (code, error_code), done.err
    assert message in error["message"]
    assert shared.rows("select * from prescore.versions") == []


def test_a_key_that_may_not_write_is_refused(s3: S3) -> None:
    s3.deny("s3:PutObject")
    with pytest.raises(StoreRefused, match=r"denies access: .* Give this machine a key that may list, read, write"):
        Store(s3.url).require_access()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AWS_ACCESS_KEY_ID", None, "denies access: Unable to locate credentials"),
        (
            "AWS_ENDPOINT_URL",
            "nonsense",
            "cannot be used: Invalid endpoint: nonsense. Check the settings",
        ),
        ("AWS_PROFILE", "missing", r"denies access: The config profile .* could not"),
    ],
    ids=["no key", "endpoint", "profile"],
)
def test_a_wrong_setting_of_the_driver_is_reported(
    s3: S3, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, message: str
) -> None:
    monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable)
    with pytest.raises(StoreRefused, match=f"The store {s3.url} {message}"):
        Store(s3.url).require_access()


def test_an_unknown_protocol_is_reported_without_the_password() -> None:
    with pytest.raises(StoreRefused, match="The store xyz://host/folder cannot be used: Protocol not known: xyz"):
        Store("xyz://anna:secret@host/folder").require_access()


def test_an_unreachable_store_is_not_mistaken_for_a_missing_file(shared: Sandbox, s3: S3) -> None:
    _interrupt(shared)
    shared.monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    job = shared.job()
    with pytest.raises(StoreUnavailable, match=f"The store {s3.url} does not answer"):
        materialize.load_predictor(job, 1)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        SnapshotReader(job.store.snapshot(_first_version(shared)))
    assert shared.cli("run", "churn").code == 3
    shared.monkeypatch.setenv("AWS_ENDPOINT_URL", s3.server.url)
    assert json.loads(shared.cli("run", "churn", "--json").out)["chunks_before"] == 1


@soak
def test_a_dag_uses_the_object_store_and_fails_at_once_if_there_is_none(shared: Sandbox, airflow: Airflow) -> None:
    assert airflow.run()["state"] == "success"
    assert len(shared.rows(SCORES)) == 1000
    shared.monkeypatch.setenv("PRESCORE_STORE", "s3://missing/x")
    states = airflow.run()["states"]
    assert (states["snapshot"], states["publish"]) == ("failed", "upstream_failed")
    assert "The store s3://missing/x does not exist" in airflow.log()


def test_a_version_is_published_even_if_no_object_may_be_removed(shared: Sandbox, s3: S3) -> None:
    shared.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    assert shared.cli("run", "churn").code == 0
    s3.deny("s3:DeleteObject")
    assert shared.cli("run", "churn").code == 0
    assert shared.rows("select distinct version from predictions.churn") == [(2,)]


@pytest.mark.parametrize("store", ["s3:/bucket/prefix", "s3:bucket", "s3://", "file:///srv/store"])
def test_a_store_that_is_neither_a_path_nor_a_url_is_refused(sandbox: Sandbox, store: str) -> None:
    sandbox.settings(f'store = "{store}"\n')
    assert 'store: must be a path, or a URL such as "s3://bucket/prefix"' in sandbox.cli("run", "churn").err
    sandbox.settings("")
    sandbox.monkeypatch.setenv("PRESCORE_STORE", store)
    done = sandbox.cli("run", "churn")
    assert (done.code, f"PRESCORE_STORE is '{store}': it must be a path" in done.err) == (2, True)


def test_the_environment_variable_overrides_the_setting(sandbox: Sandbox) -> None:
    sandbox.settings('store = "s3://bucket/prefix"\n')
    assert Project.find(sandbox.root).store == "s3://bucket/prefix"
    sandbox.monkeypatch.setenv("PRESCORE_STORE", "kept/here")
    assert Project.find(sandbox.root).store == sandbox.root / "kept/here"


def test_the_temporary_folder_of_another_user_is_not_used(s3: S3) -> None:
    folder = Path(tempfile.gettempdir()) / f"prescore-{os.getuid()}"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(Mistake, match="belongs to another user"):
        Store(s3.url).spill_folder("churn")
