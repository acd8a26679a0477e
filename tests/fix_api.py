"""The lookup API on a real socket, and published versions of any shape that need neither a model file nor a run."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from fix_postgres import TEMPLATE, at, recreate
from prescore.catalog import migrations, roles
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection, Database
from prescore.catalog.queries import query
from prescore.embedded import server as embedded
from prescore.project.project import Project, Settings
from prescore.project.spec import Spec
from prescore.versions import canary, lifecycle, pointer, rollback
from prescore.versions.options import PublishOptions
from prescore_api.http import server
from prescore_api.http.app import ServerSettings, build
from prescore_api.http.dispatcher import Dispatcher

SCORE = {"score": "real"}
OPEN = ServerSettings(open_to_all=True)
_FINGERPRINTS = ("model_fingerprint", "domain_fingerprint", "spec_fingerprint", "runtime")
_MADE_OF = {**dict.fromkeys(_FINGERPRINTS, "test"), "chunk_rows": None}

_END = b"""
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""
_numbers = itertools.count()


@dataclass
class Shelf:
    """Publishes versions: the catalog, the tables and the publication are real, the predictions are arguments."""

    database: Database

    def publish(
        self,
        model: str,
        key: dict[str, str],
        rows: Sequence[tuple[Any, ...]],
        outputs: dict[str, str] = SCORE,
        passthrough: dict[str, str] | None = None,
        *,
        data_as_of: datetime | None = None,
        breaking: bool = False,
        **more: Any,
    ) -> int:
        """Publish rows of key, outputs and passthrough columns, and return the version; `more` goes into the spec."""
        spec = spec_of(model, key, outputs, passthrough or {}, more)
        with self.database.connect() as connection:
            version = self._stage(connection, spec, rows, data_as_of or datetime.now(UTC))
            terms = PublishOptions(allow_breaking=breaking)
            return pointer.publish(connection, model, version["version"], terms)["version"]

    def try_out(
        self,
        model: str,
        key: dict[str, str],
        rows: Sequence[tuple[Any, ...]],
        share: float,
        outputs: dict[str, str] = SCORE,
        *,
        data_as_of: datetime | None = None,
        **more: Any,
    ) -> int:
        """Make a version of rows the canary of its model for a share of the keys, and return it."""
        spec = spec_of(model, key, outputs, {}, more)
        with self.database.connect() as connection:
            version = self._stage(connection, spec, rows, data_as_of or datetime.now(UTC))["version"]
            canary.start(connection, model, version, share)
        return version

    def rollback(self, model: str) -> None:
        """Roll back to the version before."""
        with self.database.connect() as connection:
            rollback.rollback(connection, model)

    def alter_database(self, setting: str) -> None:
        """Change a default for new connections; `setting` is SQL."""
        with self.database.connect() as connection:
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("alter database {} set ").format(name).as_bytes() + setting.encode())

    def end_connections(self) -> int:
        """End every other connection to the database, as a restart of Postgres does; return how many there were."""
        with self.database.connect() as connection:
            return len(connection.execute(_END).fetchall())

    def _stage(self, connection: Connection, spec: Spec, rows: Sequence[tuple[Any, ...]], clock: datetime) -> Version:
        catalog = Catalog(connection)
        catalog.execute("models_register", model=spec.model, description=spec.description)
        number = lifecycle.create(connection, spec, _MADE_OF)
        version = catalog.version(spec.model, number)
        table, columns = sql.Identifier(version["table_name"]), [*spec.key, *spec.outputs, *spec.passthrough]
        with connection.cursor() as cursor:
            places = sql.SQL(", ").join(sql.Placeholder() * len(columns))
            insert = sql.SQL("insert into prescore_versions.{} ({}) values ({})")
            cursor.executemany(insert.format(table, _escaped(columns), places), rows)
        connection.execute(query("tables_key", table=table, keys=identifiers(spec.key)))
        # Vacuuming collects the statistics that the status page draws.
        connection.execute(query("tables_vacuum", table=table))
        with connection.transaction():
            roles.grant_version(connection, version["table_name"], readable=True)
        connection.execute(
            "update prescore.versions set state = 'checked', checked_at = now(), data_as_of = %s, rows = %s, "
            "rows_stored = %s where model = %s and version = %s",
            (clock, len(rows), len(rows), spec.model, number),
        )
        return version


def _escaped(columns: Sequence[str]) -> sql.Composed:
    return identifiers([column.replace("%", "%%") for column in columns])


def spec_of(model: str, key: dict[str, str], outputs: dict[str, str], passthrough: dict[str, str], more: Any) -> Spec:
    return Spec.model_validate(
        {
            "model": model,
            "domain": {"query": "none.sql"},
            "key": key,
            "onnx": {"file": "none.onnx", "inputs": {"x": "x"}},
            "outputs": {name: {"from": name, "type": kind, "comment": f"the {name}"} for name, kind in outputs.items()},
            "passthrough": passthrough,
            **more,
        }
    )


@contextmanager
def serving(app: Dispatcher, where: server.Listening | None = None) -> Iterator[httpx.Client]:
    """Run an app in uvicorn in a thread, configured like `prescore serve`, and yield a client of it."""
    with server.listen("127.0.0.1", 0) as listening:
        running = uvicorn.Server(server.uvicorn_config(lambda: app, where))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=server.address(listening), timeout=30) as client:
                yield client
        finally:
            running.should_exit = True
            thread.join()


@dataclass
class Api:
    """A server that the tests of a module share, each with its own models."""

    shelf: Shelf
    client: httpx.Client
    models: int = 0

    def publish(self, *arguments: Any, **more: Any) -> str:
        """Publish the first version of a new model; return the model's name."""
        self.models += 1
        self.shelf.publish(f"m{self.models}", *arguments, **more)
        return f"m{self.models}"

    def until_in_memory(self, model: str) -> None:
        """Wait until a model's published version is in memory."""
        until_in_memory(self.client, model)


def until_in_memory(client: httpx.Client, model: str, version: int = 1) -> None:
    """Wait until the API reports that a model's version is in memory."""
    deadline = time.monotonic() + 20
    while ((description := client.get(f"/v1/models/{model}").json()).get("in_memory") or {}).get("version") != version:
        assert time.monotonic() < deadline, description
        # The server is in this process, and needs its turn.
        time.sleep(0.01)


def scoring_processes(server: psutil.Process) -> list[psutil.Process]:
    """Return the scoring processes of a server."""
    return [child for child in server.children() if "prescore_api.live.worker" in child.cmdline()]


def scraped(client: httpx.Client, name: str, **labels: str) -> float | None:
    """Return the sum of a metric's samples with these labels, or None if there are no such samples."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    values = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
    return sum(values) if values else None


def until_scraped(client: httpx.Client, name: str, value: float, **labels: str) -> None:
    """Wait until a metric has this value."""
    deadline = time.monotonic() + 20
    while (current := scraped(client, name, **labels)) != value:
        assert time.monotonic() < deadline, f"{name} {labels} is {current}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def api(server: str) -> Iterator[Api]:
    """The API on a database that the tests of a module share."""
    with fresh_database(server) as database, serving(build(database, OPEN)) as client:
        yield Api(Shelf(database), client)


@contextmanager
def fresh_database(server: str) -> Iterator[Database]:
    """Create a migrated database that outlives a test."""
    name = f"prescore_api_{os.getpid()}_{next(_numbers)}"
    recreate(server, name, template=TEMPLATE)
    yield Database(at(server, name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def shelf(database: Database) -> Shelf:
    """Publishes versions in this test's database."""
    return Shelf(database)


@pytest.fixture
def client(database: Database) -> Iterator[httpx.Client]:
    """A client of the API on this test's database."""
    with serving(build(database, OPEN)) as opened:
        yield opened


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Project]:
    """A Postgres server for this test alone, which it can stop and start."""
    made = Project(tmp_path, Settings(database="embedded"))
    migrations.migrate(Database(embedded.start(made)))
    try:
        yield made
    finally:
        embedded.stop(made)
