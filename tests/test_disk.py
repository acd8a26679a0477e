"""Limited disks: a run checks its budget before it begins, and a full disk costs readers nothing."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from fix_airflow import Airflow
from fix_project import Sandbox, customers, linear

SETTINGS = "chunk_rows = 5000\n"
SORTED = """
select n as customer, visits::float as visits, 0::float as spend
from (select range as n, hash(range) as visits, hash(range)::text || 'a' as more from range(3000000) order by more)
where more <> ''
"""


@dataclass
class Disk:
    """A small disk: a mounted tmpfs."""

    path: Path

    def resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True, capture_output=True)

    @property
    def used(self) -> int:
        status = os.statvfs(self.path)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with pytest.raises(OSError, match="No space left"):
            (self.path / "filler").write_bytes(b"x" * 1_000_000)


@contextmanager
def mounted(size: int) -> Iterator[Disk]:
    path = Path(tempfile.mkdtemp(prefix="prescore-disk-", dir="/tmp"))
    try:
        mount = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(path)],
            check=False,
            capture_output=True,
        )
        if mount.returncode:
            pytest.skip(f"a small disk can be mounted by root alone: {mount.stderr.decode().strip()}")
        try:
            yield Disk(path)
        finally:
            subprocess.run(["umount", "-l", str(path)], check=True)
    finally:
        path.rmdir()


@pytest.fixture
def big(sandbox: Sandbox) -> Sandbox:
    """The project with so many rows that their size shows: a version takes about 3 MB in all."""
    sandbox.data(customers(40_000))
    sandbox.settings(SETTINGS)
    return sandbox


@pytest.fixture
def store_disk(big: Sandbox) -> Iterator[Disk]:
    """The store's disk, with room for the snapshots of one and a half versions."""
    with mounted(700_000) as disk:
        big.settings(f'{SETTINGS}store = "{disk.path}/store"\nmemory_limit = "64MB"\n')
        yield disk


@pytest.fixture
def database_disk(big: Sandbox, server: str) -> Iterator[Disk]:
    """The database's disk, with its tables and the catalog, but not the write-ahead log."""
    name = _name(big)
    with psycopg.connect(server, autocommit=True) as connection, mounted(64_000_000) as disk:
        data = Path((connection.execute("show data_directory").fetchone() or [""])[0])
        if not data.is_dir():
            pytest.skip("the server of PRESCORE_TEST_DATABASE_URL is on another machine")
        os.chown(disk.path, data.stat().st_uid, data.stat().st_gid)
        space = sql.Identifier(f"{name}_small")
        connection.execute(sql.SQL("create tablespace {} location {}").format(space, sql.Literal(str(disk.path))))
        move = sql.SQL("alter database {} set tablespace {}")
        connection.execute(move.format(sql.Identifier(name), space))
        yield disk
        connection.execute(move.format(sql.Identifier(name), sql.Identifier("pg_default")))
        connection.execute(sql.SQL("drop tablespace {}").format(space))


def _name(sandbox: Sandbox) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(sandbox.database.url)["dbname"])


def _published(sandbox: Sandbox) -> list[tuple[int, int]]:
    """Return the versions that a reader sees, with their rows."""
    return [
        (version, rows)
        for version, rows in sandbox.rows("select version, count(*) from predictions.churn group by version")
    ]


def test_a_run_that_exceeds_the_budget_does_not_begin(big: Sandbox) -> None:
    big.settings(SETTINGS + 'disk_budget = "5MB"\n')
    assert big.cli("run", "churn").code == 0
    before = sorted((big.root / ".prescore").rglob("*"))
    result = big.cli("run", "churn")
    assert result.code == 2
    for part in (
        "disk budget of 5MB",
        "tables take 2.",
        "the store takes 0.",
        "needs about 3.",
        "prescore retire churn",
    ):
        assert part in result.err
    assert big.rows("select version, state from prescore.versions") == [(1, "published")]
    assert sorted((big.root / ".prescore").rglob("*")) == before
    big.settings(SETTINGS + 'disk_budget = "1GB"\n')
    assert big.cli("run", "churn").code == 0
    assert _published(big) == [(2, 40_000)]


def test_airflow_does_not_begin_a_run_that_exceeds_the_budget(big: Sandbox, airflow: Airflow) -> None:
    assert big.cli("run", "churn").code == 0
    big.settings(SETTINGS + 'disk_budget = "5MB"\n')
    states = airflow.run()["states"]
    assert (states["snapshot"], states["publish"]) == ("failed", "upstream_failed")
    assert "The disk budget of 5MB has no room" in airflow.log()
    assert big.rows("select version, state from prescore.versions") == [(1, "published")]


def test_retirement_makes_room_in_the_budget(big: Sandbox) -> None:
    big.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    for _ in range(3):
        big.settings(SETTINGS + 'disk_budget = "8MB"\n')
        assert big.cli("run", "churn").code == 0
    big.edit("versions = 1", "versions = 3")
    assert big.cli("run", "churn").code == 0
    assert big.cli("run", "churn").code == 2
    big.edit("versions = 3", "versions = 1")
    assert big.cli("retire", "churn").code == 0
    assert big.cli("run", "churn").code == 0


def test_an_unfinished_version_is_not_counted_twice(big: Sandbox) -> None:
    big.settings(SETTINGS + 'disk_budget = "8MB"\n')
    assert big.cli("run", "churn").code == 0
    assert big.cli("run", "churn", "--no-publish").code == 0
    assert big.cli("run", "churn").code == 2
    # As if the second run had ended just before its publication.
    with big.database.connect() as connection:
        connection.execute("update prescore.versions set to_publish = true where version = 2")
    assert big.cli("run", "churn").code == 0
    assert _published(big) == [(2, 40_000)]


@pytest.mark.parametrize("budget", ["50", "50TB", "much", "-1GB", "1.5GB"])
def test_an_invalid_budget_is_an_error(big: Sandbox, budget: str) -> None:
    big.settings(f'disk_budget = "{budget}"\n')
    result = big.cli("run", "churn")
    assert (result.code, "disk_budget: must be a whole number and MB or GB" in result.err) == (2, True), result.err


def test_a_run_is_resumed_after_the_store_was_full(big: Sandbox, store_disk: Disk) -> None:
    assert big.cli("run", "churn").code == 0
    big.onnx(linear([1.0, -0.5], 0.1))
    result = big.cli("run", "churn", "--json")
    assert result.code == 3
    snapshots = f"{store_disk.path}/store/snapshots/churn"
    assert f"The disk that holds the store is full: cannot write to {snapshots}." in result.err
    assert json.loads(result.out)["error"]["code"] == "store_full"
    assert _published(big) == [(1, 40_000)]
    assert not list(store_disk.path.rglob("*.part"))
    store_disk.resize(8_000_000)
    report = json.loads(big.cli("run", "churn", "--json").out)
    assert (report["version"], report["resumed"]) == (2, True)
    assert _published(big) == [(2, 40_000)]


def test_a_store_without_room_for_the_model_file_leaves_the_old_version(big: Sandbox, store_disk: Disk) -> None:
    assert big.cli("run", "churn").code == 0
    store_disk.fill()
    big.onnx(linear([1.0, -0.5], 0.1))
    result = big.cli("run", "churn")
    assert (result.code, f"cannot write to {store_disk.path}/store/models." in result.err) == (3, True), result.err
    assert big.rows("select version, state from prescore.versions") == [(1, "published")]
    (store_disk.path / "filler").unlink()
    store_disk.resize(8_000_000)
    assert big.cli("run", "churn").code == 0


def test_a_domain_that_spills_more_than_fits_leaves_the_old_version(big: Sandbox, store_disk: Disk) -> None:
    assert big.cli("run", "churn").code == 0
    big.query(SORTED)
    result = big.cli("run", "churn")
    assert (result.code, f"{store_disk.path}/store/spill" in result.err) == (3, True), result.err
    assert _published(big) == [(1, 40_000)]
    assert big.rows("select state from prescore.versions where version = 2") == [("building",)]


@pytest.mark.parametrize("room", [500_000, 2_300_000], ids=["in the copy", "in the index"])
def test_a_run_is_resumed_after_the_database_was_full(big: Sandbox, database_disk: Disk, room: int) -> None:
    assert big.cli("run", "churn").code == 0
    big.onnx(linear([1.0, -0.5], 0.1))
    database_disk.resize(database_disk.used + room)
    result = big.cli("run", "churn")
    assert (result.code, "No space left on device" in result.err) == (3, True), result.err
    assert _published(big) == [(1, 40_000)]
    assert big.cli("lookup", "churn", "7").code == 0
    assert big.rows("select state from prescore.versions where version = 2") == [("building",)]
    assert (len(big.rows("select from prescore.chunks where version = 2")) == 8) is (room > 2_000_000)
    assert big.cli("run", "churn").code == 3
    assert _published(big) == [(1, 40_000)]
    database_disk.resize(64_000_000)
    report = json.loads(big.cli("run", "churn", "--json").out)
    assert (report["version"], report["resumed"], report["state"]) == (2, True, "published")
    assert _published(big) == [(2, 40_000)]
