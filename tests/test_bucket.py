"""A store at a URL, on a real server: what a run leaves there, who goes on with it, what is told when it is away."""

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
from fix_store import S3
from prescore.catalog.catalog import Catalog, Version
from prescore.errors import Busy, Mistake, NotFound, StoreRefused, StoreUnavailable
from prescore.project.project import Project
from prescore.run import materialize
from prescore.steps import score
from prescore.store.store import Store, hash_bytes
from prescore.versions import lease

SCORES = "select customer, score from predictions.churn order by customer"
NOWHERE = "http://127.0.0.1:1"
OTHER_MACHINE = """
import sys
from pathlib import Path
from prescore import materialize
from prescore.contract.database import Database
from prescore.contract.lease import Lease
from prescore.contract.project import Project
from prescore.job import Job

project = Project.find(Path(sys.argv[1]))
job = Job(project, project.spec("churn"), Database(sys.argv[2]))
chunks = [int(chunk) for chunk in sys.argv[4:]]
materialize.score_chunks(job, Lease("churn", int(sys.argv[3])), 1, chunks, materialize.kept_scorer(job, 1))
"""


@pytest.fixture
def shared(sandbox: Sandbox, s3: S3) -> Sandbox:
    """The project, with its store in the bucket."""
    sandbox.settings(f'chunk_rows = 100\nworkers = 1\nstore = "{s3.url}"\n')
    return sandbox


def _stopped(sandbox: Sandbox) -> None:
    """A run that ends when its first chunk is in."""

    def pulled(step: str, _rows: int, _total: int | None) -> None:
        if step == "score":
            raise Busy("a pulled plug")

    job = sandbox.job()
    job.on_progress = pulled
    with pytest.raises(Busy):
        materialize.run(job)


def _elsewhere(sandbox: Sandbox) -> Sandbox:
    """The project on another machine: its files, but nothing that a run made."""
    root = sandbox.root / "elsewhere"
    parts = ("specs", "sql", "models", "data")
    for part in parts:
        shutil.copytree(sandbox.root / part, root / part)
    shutil.copy(sandbox.root / "prescore.toml", root)
    sandbox.monkeypatch.setenv("PRESCORE_PROJECT", str(root))
    return replace(sandbox, root=root)


def _row(sandbox: Sandbox) -> Version:
    with sandbox.database.connect() as connection:
        return Catalog(connection).version("churn", 1)


def _kept(s3: S3) -> list[str]:
    """What there is, snapshots' names shortened to their number, models' to their hash."""
    return sorted(name if name == "prescore.txt" else name.split(".")[0] for name in s3.objects())


def test_a_run_keeps_everything_there_and_nothing_here(shared: Sandbox, s3: S3) -> None:
    done = shared.cli("run", "churn")
    assert done.code == 0, done.err
    told = shared.rows(SCORES)
    model = hash_bytes(linear([1.0, -0.5]))
    assert _kept(s3) == [f"models/{model}", "prescore.txt", "snapshots/churn/1"]
    assert not (shared.root / ".prescore").exists()
    assert not [path for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file()]
    shared.settings("chunk_rows = 100\n")
    assert shared.cli("run", "churn").code == 0
    assert shared.rows(SCORES) == told
    assert len(told) == 1000


def test_another_machine_goes_on_where_the_first_was_stopped(shared: Sandbox, s3: S3) -> None:
    _stopped(shared)
    other = _elsewhere(shared)
    # What is scored is the snapshot, not what the query gives there.
    other.data(customers(10, seed=1))
    report = json.loads(other.cli("run", "churn", "--json").out)
    assert [report[k] for k in ("version", "resumed", "chunks_before", "rows")] == [1, True, 1, 1000]
    assert len(s3.objects()) == 3
    assert len(shared.rows(SCORES)) == 1000


def test_machines_share_the_chunks(shared: Sandbox) -> None:
    job, other = shared.job(), _elsewhere(shared)
    with lease.holding(job.database, "churn") as held:
        version = materialize.begin(job, held)
        scorer = materialize.load_scorer(job, version)
        materialize.take_snapshot(job, held, version, scorer)
        arguments = [str(other.root), shared.database.url, str(held.token), *map(str, range(5, 10))]
        with subprocess.Popen([sys.executable, "-c", OTHER_MACHINE, *arguments]) as process:
            materialize.score_chunks(job, held, version, range(5), scorer)
        assert process.returncode == 0
        assert materialize.pending_chunks(job, version) == []
    assert shared.rows("select count(distinct customer) from prescore_versions.churn_v1") == [(1000,)]


def test_what_is_retired_goes_and_so_does_what_killed_runs_left(shared: Sandbox, s3: S3) -> None:
    shared.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    assert shared.cli("run", "churn").code == 0
    shared.onnx(linear([1.0, -0.5], 0.7))
    with shared.database.connect() as connection:
        mine = Catalog(connection).name
    for orphan in (f"churn/1.{mine}.half", f"churn/9.{mine}.half", f"churn_2/1.{mine}", "churn/1.another"):
        s3.put(f"snapshots/{orphan}.parquet", b"")
    dead = subprocess.Popen(["true"])
    dead.wait()
    part = Path(tempfile.gettempdir()) / f"prescore-{os.getuid()}/parts/half.{socket.gethostname()}.{dead.pid}"
    part.touch()
    assert shared.cli("run", "churn").code == 0
    model = hash_bytes(linear([1.0, -0.5], 0.7))
    # The first is another database's.
    left = ["snapshots/churn/1", "snapshots/churn/2", "snapshots/churn_2/1"]
    assert _kept(s3) == [f"models/{model}", "prescore.txt", *left]
    assert not part.exists()


def test_a_table_is_not_dropped_while_its_snapshot_cannot_be(shared: Sandbox, s3: S3) -> None:
    for _ in range(2):
        assert shared.cli("run", "churn").code == 0
    shared.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    shared.monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    assert shared.cli("retire", "churn").code == 3
    assert shared.rows("select to_regclass('prescore_versions.churn_v1') is null") == [(False,)]
    shared.monkeypatch.setenv("AWS_ENDPOINT_URL", s3.server.url)
    (lost,) = (name for name in s3.objects() if name.startswith("snapshots/churn/1."))
    assert shared.cli("retire", "churn").out == "Retired: 1\n"
    assert _kept(s3)[2:] == ["snapshots/churn/2"]
    # Had it stayed all the same, the next run would remove it.
    s3.put(lost, b"")
    assert shared.cli("run", "churn", "--no-publish").code == 0
    assert _kept(s3)[2:] == ["snapshots/churn/2", "snapshots/churn/3"]


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_snapshot_that_was_harmed_is_not_gone_on_with(shared: Sandbox, s3: S3, harm: str) -> None:
    _stopped(shared)
    name = next(name for name in s3.objects() if name.startswith("snapshots/"))
    if harm == "gone":
        s3.remove(name)
        with pytest.raises(NotFound, match=f"The snapshot {s3.url}/{name} cannot be read"):
            score.SnapshotReader(shared.job().store.snapshot(_row(shared)))
    else:
        content = bytearray(s3.get(name))
        content[100] ^= 1
        s3.put(name, bytes(content))
    assert materialize.run(shared.job()).version == 2


def test_a_kept_model_that_was_changed_is_not_scored_with(shared: Sandbox, s3: S3) -> None:
    _stopped(shared)
    (name,) = (name for name in s3.objects() if name.startswith("models/"))
    s3.put(name, linear([9.0, 9.0]))
    with pytest.raises(NotFound, match=f"{s3.url}/{name} was changed"):
        materialize.load_scorer(shared.job(), 1)
    s3.remove(name)
    with pytest.raises(NotFound, match=r"has no model .* Does every worker reach the same store\?"):
        materialize.load_scorer(shared.job(), 1)
    assert materialize.run(shared.job()).version == 1


def test_a_chunk_is_one_request(shared: Sandbox, s3: S3) -> None:
    _stopped(shared)
    s3.requests()
    frozen = score.SnapshotReader(shared.job().store.snapshot(_row(shared)))
    # Its size and its footer.
    assert [asked.split()[0] for asked in s3.requests()] == ["HEAD", "GET"]
    for chunk in range(10):
        assert frozen.chunk(chunk).num_rows == 100
    frozen.close()
    assert [asked.split()[0] for asked in s3.requests()] == ["GET"] * 10


def test_the_disk_budget_counts_it(shared: Sandbox, s3: S3) -> None:
    assert shared.cli("run", "churn").code == 0
    s3.put("models/large", bytes(3_000_000))
    shared.settings(f'store = "{s3.url}"\ndisk_budget = "3MB"\n')
    told = shared.cli("run", "churn")
    assert (told.code, "and the store 3.0 MB" in told.err) == (2, True), told.err


@pytest.mark.parametrize(
    ("why", "code", "kind", "says"),
    [
        ("down", 3, "store_unavailable", "does not answer"),
        (
            "no bucket",
            2,
            "store_refused",
            "is not there: The specified bucket does not exist. Create",
        ),
        ("no package", 2, "store_refused", "needs a package that is not installed: Please install gcsfs"),
    ],
    ids=["down", "no bucket", "no package"],
)
def test_a_store_that_cannot_be_used_is_told_before_anything_is_begun(
    shared: Sandbox, why: str, code: int, kind: str, says: str
) -> None:
    if why == "down":
        shared.monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    else:
        shared.monkeypatch.setenv("PRESCORE_STORE", "gs://bucket/x" if why == "no package" else "s3://nobodys/x")
    done = shared.cli("run", "churn", "--json")
    told = json.loads(done.out)["error"]
    assert (done.code, told["code"]) == (code, kind), done.err
    assert says in told["message"]
    assert shared.rows("select * from prescore.versions") == []


def test_a_key_that_may_not_write_is_told(s3: S3) -> None:
    s3.deny("s3:PutObject")
    with pytest.raises(
        StoreRefused, match=r"does not let us in: .* Give this machine a key that may list, read, write"
    ):
        Store(s3.url).reach()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("AWS_ACCESS_KEY_ID", None, "does not let us in: Unable to locate credentials"),
        (
            "AWS_ENDPOINT_URL",
            "nonsense",
            "cannot be used: Invalid endpoint: nonsense. Look at the settings",
        ),
        ("AWS_PROFILE", "nobody", r"does not let us in: The config profile .* could not"),
    ],
    ids=["no key", "endpoint", "profile"],
)
def test_a_driver_that_is_set_up_wrongly_is_told(
    s3: S3, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, says: str
) -> None:
    monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable)
    with pytest.raises(StoreRefused, match=f"The store {s3.url} {says}"):
        Store(s3.url).reach()


def test_an_unknown_protocol_is_told_without_the_password() -> None:
    with pytest.raises(StoreRefused, match="The store xyz://host/folder cannot be used: Protocol not known: xyz"):
        Store("xyz://anna:secret@host/folder").reach()


def test_a_task_that_cannot_reach_it_says_so(shared: Sandbox, s3: S3) -> None:
    _stopped(shared)
    shared.monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    job = shared.job()
    with pytest.raises(StoreUnavailable, match=f"The store {s3.url} does not answer"):
        materialize.load_scorer(job, 1)
    # And is not mistaken for a snapshot that is broken.
    with pytest.raises(StoreUnavailable, match="does not answer"):
        score.SnapshotReader(job.store.snapshot(_row(shared)))
    assert shared.cli("run", "churn").code == 3
    shared.monkeypatch.setenv("AWS_ENDPOINT_URL", s3.server.url)
    assert json.loads(shared.cli("run", "churn", "--json").out)["chunks_before"] == 1


def test_a_dag_uses_it_and_fails_at_once_when_it_is_not_there(shared: Sandbox, airflow: Airflow) -> None:
    assert airflow.run()["state"] == "success"
    assert len(shared.rows(SCORES)) == 1000
    shared.monkeypatch.setenv("PRESCORE_STORE", "s3://nobodys/x")
    states = airflow.run()["states"]
    assert (states["snapshot"], states["publish"]) == ("failed", "upstream_failed")
    assert "The store s3://nobodys/x is not there" in airflow.log()


def test_a_version_is_published_even_if_nothing_may_be_removed(shared: Sandbox, s3: S3) -> None:
    shared.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    assert shared.cli("run", "churn").code == 0
    s3.deny("s3:DeleteObject")
    assert shared.cli("run", "churn").code == 0
    assert shared.rows("select distinct version from predictions.churn") == [(2,)]


@pytest.mark.parametrize("store", ["s3:/bucket/prefix", "s3:bucket", "s3://", "file:///srv/store"])
def test_what_is_neither_path_nor_url_is_told(sandbox: Sandbox, store: str) -> None:
    sandbox.settings(f'store = "{store}"\n')
    assert 'store: write a path, or a URL such as "s3://bucket/prefix"' in sandbox.cli("run", "churn").err
    sandbox.settings("")
    sandbox.monkeypatch.setenv("PRESCORE_STORE", store)
    done = sandbox.cli("run", "churn")
    assert (done.code, f"PRESCORE_STORE is '{store}': write a path" in done.err) == (2, True)


def test_the_environment_takes_the_place_of_the_setting(sandbox: Sandbox) -> None:
    sandbox.settings('store = "s3://bucket/prefix"\n')
    assert Project.find(sandbox.root).store == "s3://bucket/prefix"
    sandbox.monkeypatch.setenv("PRESCORE_STORE", "kept/here")
    assert Project.find(sandbox.root).store == sandbox.root / "kept/here"


def test_somebody_elses_temporary_folder_is_not_used(s3: S3) -> None:
    folder = Path(tempfile.gettempdir()) / f"prescore-{os.getuid()}"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(Mistake, match="is somebody else's"):
        Store(s3.url).spill("churn")
