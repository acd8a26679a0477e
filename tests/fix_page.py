"""A catalog in which everything is the matter that a status page can tell, and the page behind a server."""

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
    """A client of a server that has the page at `/`, with an API key for some models if they are named."""
    with serving(build(database, ServerSettings(open_to_all=models is None))) as client:
        if models is not None:
            client.auth = ("anybody", make_key(database, models))
        yield client


def make_key(database: Database, models: list[str]) -> str:
    """An API key as a browser sends it."""
    with database.connect() as connection:
        return api_keys.create(Catalog(connection), "a browser's", models)


@dataclass
class Scene:
    """Models as they are seen on a bad day."""

    shelf: Shelf

    def set_up(self) -> None:
        """Four models: stale with a refused run, fresh, on hold, and never published."""
        self._churn()
        self.shelf.publish("upsell", {"customer": "bigint"}, _scores(2000, 0.7, 0.1), freshness={"max_age": "26h"})
        self._delay()
        self.shelf.publish("fraud", {"account": "text"}, [("a", 0.5)])
        self.change("update prescore.models set published_version = null where model = 'fraud'")
        self.change(
            "update prescore.versions set state = 'failed', published_at = null, rows = null, "
            "error = 'The model file models/fraud.onnx is not there.' where model = 'fraud'"
        )
        self.change("delete from prescore.publications where model = 'fraud'")

    def change(self, statement: str, *values: Any) -> None:
        """Rewrite history."""
        with self.shelf.database.connect() as connection:
            connection.execute(statement.encode(), values)

    def checks(self, model: str, version: int, state: str, checks: list[dict[str, Any]]) -> None:
        """What a version's checks said, and what that made of it."""
        self.change(
            "update prescore.versions set checks = %s, state = %s, seconds = '{\"score\": 31.5, \"stage\": 9.2}' "
            "where model = %s and version = %s",
            Jsonb(checks), state, model, version,
        )  # fmt: skip

    def _churn(self) -> None:
        clock, promise = datetime.now(UTC) - timedelta(hours=41), {"max_age": "26h"}
        said = "Chance that a customer leaves within 30 days."
        for number, (mean, share) in enumerate([(0.40, 0.2), (0.32, 0.25), (0.36, 0.22)], 1):
            columns = ({"customer": "bigint"}, _customers(mean, share), OUTPUTS, {"name": "text"})
            self.shelf.publish("churn", *columns, data_as_of=clock, freshness=promise, description=said)
            self.checks("churn", number, "superseded" if number < 3 else "published", PASSED)
        self._candidate("churn", "refused", [*PASSED, FAILED])
        for version, hours in ((1, 90), (2, 66), (3, 42), (4, 18)):
            self.change(
                "update prescore.versions set started_at = now() - make_interval(hours => %s) "
                "where model = 'churn' and version = %s",
                hours, version,
            )  # fmt: skip

    def _candidate(self, model: str, state: str, checks: list[dict[str, Any]]) -> None:
        """A version that is not published: a copy of the last in the catalog."""
        self.change(
            "insert into prescore.versions (model, version, table_name, model_fingerprint, domain_fingerprint, "
            "spec_fingerprint, key_columns, output_columns, rows, rejected, data_as_of) "
            "select model, version + 1, table_name || 'x', 'x', 'x', 'x', key_columns, output_columns, rows, 3, now() "
            "from prescore.versions where model = %s order by version desc limit 1",
            model,
        )
        self.change("update prescore.models set last_version = last_version + 1 where model = %s", model)
        with self.shelf.database.connect() as connection:
            row = connection.execute("select last_version from prescore.models where model = %s", [model]).fetchone()
        self.checks(model, (row or {})["last_version"], state, checks)

    def _delay(self) -> None:
        random.seed(7)
        key, outputs = {"carrier": "text", "flight": "integer"}, {"delay": "double precision", "class": "smallint"}
        for shift in (1.0, 1.3):
            rows = [("UA", n, _minutes(shift), random.choice([0, 0, 0, 1, 1, 2])) for n in range(2000)]
            self.shelf.publish("flight_delay", key, rows, outputs, freshness={"max_age": "7d"})
            self.checks("flight_delay", 1, "published" if shift == 1.0 else "superseded", PASSED)
        self.checks("flight_delay", 2, "published", PASSED)
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
    """A bad day that can get worse."""
    made = Scene(shelf)
    made.set_up()
    return made


@pytest.fixture(scope="module")
def bad_day(server: str) -> Iterator[Scene]:
    """The same for tests that only look."""
    with fresh_database(server) as database:
        made = Scene(Shelf(database))
        made.set_up()
        yield made
