"""A temporary project on an embedded Postgres: generated Parquet, trained models, specs and domain queries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from benchmarks.meter import Peak, Server, Work, measured
from psycopg import sql

from prescore.catalog.database import EMBEDDED
from prescore.embedded import server
from prescore.project.project import Project, Settings

FEATURES = [f"f{i:02d}" for i in range(12)]
_DATABASE = "benchmark"
_SPEC = """
[domain]
query = "sql/domains/{name}.sql"
[key]
id = "bigint"
[onnx]
file = "models/{model}.onnx"
[onnx.examples]
file = "models/{model}.examples.parquet"
[onnx.inputs]
features = {features}
[outputs]
probability = {{ from = "probabilities", index = 1, type = "real" }}
[[checks]]
expect = "column_values_to_be_between"
column = "probability"
min_value = 0
max_value = 1
[[checks]]
expect = "column_mean_to_be_between"
column = "probability"
min_value = 0.2
max_value = 0.8
[[checks]]
expect = "column_stdev_to_be_between"
column = "probability"
min_value = 0.01
max_value = 0.6
[retention]
versions = 1
"""
# Features are uniform from -1 to 1 and the same in every run. Keys are unique and in no order, like those of a real
# table: multiplying by an odd number permutes the numbers below 2^40.
_KEY = "(i * 2654435761) % 1099511627776 as id"
_PLAIN = "select {key}, {features} from range({rows}) as t(i)"
_FACTS = (
    "select {key}, (hash(i) % 1000000)::integer as place, i % 10 = 0 as void, {features} from range({rows}) as t(i)"
)
_PLACES = "select i::integer as place, {features} from range(1000000) as t(i)"
_JOIN = """
select facts.id, {features}
from read_parquet('data/facts_{rows}.parquet') as facts join read_parquet('data/places.parquet') as places using (place)
where not facts.void
"""


@dataclass
class Run:
    """One `prescore run`: its report, its work, and its peak memory in MB if that was measured."""

    report: dict[str, Any]
    work: Work
    peak: float = 0.0

    @property
    def rows(self) -> int:
        """The number of published rows."""
        return int(self.report["rows"])

    @property
    def unchecked(self) -> float:
        """Seconds of the whole command without the check step."""
        return float(self.work.wall - self.report["seconds"]["check"])


@dataclass
class World:
    """A project folder and its server. `settings` are those of prescore.toml."""

    root: Path
    url: str
    server: Server
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """The URL of the database that runs publish into."""
        return self.url.replace("/postgres?", f"/{_DATABASE}?", 1)

    def project(self) -> Project:
        """Return the project as prescore reads it."""
        return Project.find(self.root)

    def write(self, name: str, text: str) -> None:
        """Write a text file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def model(self, name: str, model: str, query: str) -> None:
        """Write a spec and its domain query."""
        self.write(f"specs/{name}.toml", _SPEC.format(name=name, model=model, features=json.dumps(FEATURES)))
        self.write(f"sql/domains/{name}.sql", query)

    def remove_run(self, name: str) -> None:
        """Remove the snapshots of a model and the database, which would fill the disk."""
        shutil.rmtree(Path(self.project().store) / "snapshots" / name, ignore_errors=True)
        self.fresh_database()

    def fresh_database(self) -> None:
        """Start from an empty database, with nothing left for the server to write to disk."""
        name = sql.Identifier(_DATABASE)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))
            connection.execute(sql.SQL("create database {}").format(name))
        self.flush()

    def run(self, name: str, *, watch_memory: bool = False) -> Run:
        """Measure `prescore run NAME --json` as on any night: with a spec that has run before, here on few rows."""
        self.fresh_database()
        path = self.root / f"sql/domains/{name}.sql"
        whole = path.read_text()
        path.write_text(f"select * from ({whole}) limit 1000")
        self.prescore("run", name)
        path.write_text(whole)
        self.flush()
        with measured(self.server) as work:
            out, peak = self._command("run", name, "--json", watch_memory=watch_memory)
        return Run(json.loads(out), work, peak)

    def prescore(self, *arguments: str) -> str:
        """Run a prescore command and return its output."""
        return self._command(*arguments, watch_memory=False)[0]

    def _command(self, *arguments: str, watch_memory: bool) -> tuple[str, float]:
        """Run a command; return its output, and its peak memory in MB if `watch_memory`."""
        environment = os.environ | {"PRESCORE_DATABASE_URL": self.database, "PRESCORE_PROJECT": str(self.root)}
        command = [str(Path(sys.executable).with_name("prescore")), *arguments]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        peak = Peak(process.pid) if watch_memory else None
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(f"prescore {' '.join(arguments)} failed with exit code {process.returncode}: {out}{err}")
        return out, peak.stop() if peak else 0.0

    def flush(self) -> None:
        """Write everything to disk now, so that nothing is written during a measurement."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("checkpoint")
        os.sync()


@contextmanager
def opened(settings: dict[str, Any], *, parent: Path | None = None) -> Iterator[World]:
    """Start a server and a project for the `with` block; stop and remove both afterwards."""
    with tempfile.TemporaryDirectory(prefix="prescore-benchmark-", dir=parent) as folder:
        root = Path(folder)
        project = Project(root, Settings(database=EMBEDDED))
        url = server.start(project)
        try:
            world = World(root, url, Server(server.folder(project)), settings)
            world.write("prescore.toml", "".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
            yield world
        finally:
            server.stop(project)


def plain(world: World, rows: int) -> str:
    """Write a Parquet file of keys and 12 float columns; return the domain query that reads it."""
    path = f"data/plain_{rows}.parquet"
    _parquet(world.root / path, _PLAIN.format(key=_KEY, features=_random(FEATURES), rows=rows))
    return f"select id, {', '.join(FEATURES)} from read_parquet('{path}')"


def joined(world: World, rows: int) -> str:
    """Write facts and a million places; return a query that joins them and drops every tenth fact, leaving `rows`."""
    total = -(-rows * 10 // 9)
    facts = _FACTS.format(key=_KEY, features=_random(FEATURES[:6]), rows=total)
    _parquet(world.root / f"data/facts_{rows}.parquet", facts)
    _parquet(world.root / "data/places.parquet", _PLACES.format(features=_random(FEATURES[6:])))
    return _JOIN.format(features=", ".join(FEATURES), rows=rows)


def _random(features: list[str]) -> str:
    return ", ".join(f"(hash(i, '{name}') / 9223372036854775808.0 - 1)::float as {name}" for name in features)


def _parquet(path: Path, query: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with duckdb.connect() as connection:
            connection.execute(f"copy ({query}) to '{path}' (format parquet)")
