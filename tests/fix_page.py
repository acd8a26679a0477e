"""A catalog with every problem that the status page reports, and a server for the page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb

from fix_api import Shelf, fresh_database, serving
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.versions import hold
from prescore_api.http.app import ServerSettings, build

OUTPUTS = {"score": "real", "segment": "text", "leaves": "boolean"}
PASSED = [
    {"name": "rows", "passed": True, "observed": 2000, "expected": "exactly 2000"},
    {"name": "rejects", "passed": True, "observed": 0, "expected": "at most 0"},
    {"name": "keys", "passed": True, "observed": "unique, none null", "expected": "unique, none null"},
    {"name": "scores are probabilities", "passed": True, "observed": "0 unexpected values", "expected": "0 to 1"},
]
FAILED = {"name": "mean score", "passed": False, "observed": 0.7312, "expected": "0.2 to 0.5"}


@contextmanager
def status_page(database: Database, models: list[str] | None = None) -> Iterator[httpx.Client]:
    """Run a server with the page at `/`, and yield a client; with `models`, its API key may read only these."""
    with serving(build(database, ServerSettings(open_to_all=models is None))) as client:
        if models is not None:
            client.auth = ("browser", make_key(database, models))
        yield client


def make_key(database: Database, models: list[str]) -> str:
    """Create an API key for some models, and return it."""
    with database.connect() as connection:
        return api_keys.create(Catalog(connection), "browser", models)


@dataclass
class Scene:
    """Models in a catalog, which cover what the status page reports."""

    shelf: Shelf

    def set_up(self) -> None:
        """Create four models: one stale with a refused run, one fresh, one on hold, and one never published."""
        self._add_churn()
        self.shelf.publish("upsell", {"customer": "bigint"}, _scores(2000, 0.7, 0.1), freshness={"max_age": "26h"})
        self._add_flight_delay()
        self.shelf.publish("fraud", {"account": "text"}, [("a", 0.5)])
        self.execute("update prescore.models set published_version = null where model = 'fraud'")
        self.execute(
            "update prescore.versions set state = 'failed', published_at = null, rows = null, "
            "error = 'The model file models/fraud.onnx is not there.' where model = 'fraud'"
        )
        self.execute("delete from prescore.publications where model = 'fraud'")

    def execute(self, statement: str, *values: Any) -> None:
        """Execute a statement, for example one that changes what the catalog recorded."""
        with self.shelf.database.connect() as connection:
            connection.execute(statement.encode(), values)

    def record_checks(self, model: str, version: int, state: str, checks: list[dict[str, Any]]) -> None:
        """Record the results of a version's checks and the state that follows from them."""
        self.execute(
            "update prescore.versions set checks = %s, state = %s, seconds = '{\"score\": 31.5, \"stage\": 9.2}' "
            "where model = %s and version = %s",
            Jsonb(checks), state, model, version,
        )  # fmt: skip

    def _add_churn(self) -> None:
        data_as_of = datetime.now(UTC) - timedelta(hours=41)
        freshness = {"max_age": "26h"}
        description = "Chance that a customer leaves within 30 days."
        for number, (mean, share) in enumerate([(0.40, 0.2), (0.32, 0.25), (0.36, 0.22)], 1):
            columns = ({"customer": "bigint"}, _customers(mean, share), OUTPUTS, {"name": "text"})
            self.shelf.publish("churn", *columns, data_as_of=data_as_of, freshness=freshness, description=description)
            self.record_checks("churn", number, "superseded" if number < 3 else "published", PASSED)
        self._add_unpublished("churn", "refused", [*PASSED, FAILED])
        for version, hours in ((1, 90), (2, 66), (3, 42), (4, 18)):
            self.execute(
                "update prescore.versions set started_at = now() - make_interval(hours => %s) "
                "where model = 'churn' and version = %s",
                hours, version,
            )  # fmt: skip

    def _add_unpublished(self, model: str, state: str, checks: list[dict[str, Any]]) -> None:
        """Add a version that is not published, as a copy of the newest one in the catalog."""
        self.execute(
            "insert into prescore.versions (model, version, table_name, rows_version, rows_table, content_version, "
            "model_fingerprint, domain_fingerprint, spec_fingerprint, spec, key_columns, output_columns, rows, "
            "rows_stored, rejected, data_as_of) "
            "select model, version + 1, table_name || 'x', version + 1, table_name || 'x', version + 1, 'x', 'x', 'x', "
            "spec, key_columns, output_columns, rows, rows, 3, now() "
            "from prescore.versions where model = %s order by version desc limit 1",
            model,
        )
        self.execute("update prescore.models set last_version = last_version + 1 where model = %s", model)
        with self.shelf.database.connect() as connection:
            row = connection.execute("select last_version from prescore.models where model = %s", [model]).fetchone()
        self.record_checks(model, (row or {})["last_version"], state, checks)

    def _add_flight_delay(self) -> None:
        random.seed(7)
        key, outputs = {"carrier": "text", "flight": "integer"}, {"delay": "double precision", "class": "smallint"}
        for shift in (1.0, 1.3):
            rows = [("UA", n, _minutes(shift), random.choice([0, 0, 0, 1, 1, 2])) for n in range(2000)]
            self.shelf.publish("flight_delay", key, rows, outputs, freshness={"max_age": "7d"})
            self.record_checks("flight_delay", 1, "published" if shift == 1.0 else "superseded", PASSED)
        self.record_checks("flight_delay", 2, "published", PASSED)
        with self.shelf.database.connect() as connection:
            hold.hold(connection, "flight_delay", "the winter timetable is being loaded")


def _minutes(shift: float) -> float:
    return random.lognormvariate(2.2, 0.8) * shift


def _scores(count: int, mean: float, deviation: float) -> list[tuple[int, float]]:
    random.seed(3)
    return [(n, min(1.0, max(0.0, random.gauss(mean, deviation)))) for n in range(count)]


def _customers(mean: float, share: float) -> list[tuple[Any, ...]]:
    random.seed(5)
    segments = random.choices(["loyal", "at risk", "new", "win back"], [5, 3, 2 * share * 4, 1], k=2000)
    return [
        (n, random.betavariate(8 * mean, 8 * (1 - mean)), segments[n], random.random() < share, "A. N. Other")
        for n in range(2000)
    ]


@pytest.fixture
def scene(shelf: Shelf) -> Scene:
    """Models that only this test sees, and which it may change."""
    scene = Scene(shelf)
    scene.set_up()
    return scene


@pytest.fixture(scope="module")
def shared_scene(server: str) -> Iterator[Scene]:
    """Models that the tests of a module share, and which they only read."""
    with fresh_database(server) as database:
        scene = Scene(Shelf(database))
        scene.set_up()
        yield scene
