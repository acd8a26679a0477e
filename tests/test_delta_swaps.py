"""Readers of every kind in loops while nights are published: deltas, a version without changes, a rebase, rollbacks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

from fix_api import OPEN, serving, until_in_memory
from fix_incremental import Nights
from prescore.versions import hold, pointer
from prescore.versions.options import PublishOptions
from prescore.versions.rollback import rollback
from prescore_api.http.app import build

SEEN = "count(*), coalesce(sum(round(score::numeric, 4)), 0)"
CUSTOMERS = 250
KEYS = {"keys": [{"customer": key} for key in range(CUSTOMERS + 10)]}
Read = Callable[[], tuple[Any, ...]]


class Readers:
    """Threads that read in loops, and what each of them saw: the version, the number of its rows and their sum."""

    def __init__(self, reads: dict[str, Read]) -> None:
        self.seen: dict[str, list[tuple[Any, ...]]] = {name: [] for name in reads}
        self.failures: list[BaseException] = []
        self._over = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._loop, args=item) for item in reads.items()]
        for thread in self._threads:
            thread.start()

    def until_all_have_read(self) -> None:
        """Wait until every reader has begun and ended a read."""
        with self._changed:
            before = {name: len(seen) for name, seen in self.seen.items()}
            assert self._changed.wait_for(lambda: self.failures or self._have_read(before), 60)
        assert self.failures == []

    def stop(self) -> None:
        """End all threads."""
        self._over = True
        for thread in self._threads:
            thread.join()

    def _have_read(self, before: dict[str, int]) -> bool:
        # The first of the reads may have begun before.
        return all(len(seen) >= before[name] + 2 for name, seen in self.seen.items())

    def _loop(self, name: str, read: Read) -> None:
        while not (self._over or self.failures):
            try:
                seen = read()
            except BaseException as error:
                with self._changed:
                    self.failures.append(error)
                    self._changed.notify_all()
                return
            with self._changed:
                self.seen[name].append(seen)
                self._changed.notify_all()


def _sql(connection: psycopg.Connection[Any], level: psycopg.IsolationLevel) -> Read:
    """Read a version three times in one transaction, in which it must stay the same at repeatable read."""
    connection.isolation_level = level
    statement = f"select min(version), max(version), {SEEN} from predictions.churn".encode()

    def read() -> tuple[Any, ...]:
        with connection.transaction():
            rows = [connection.execute(statement).fetchall()[0] for _ in range(3)]
        assert all(first == last for first, last, *_ in rows), rows
        if level == psycopg.IsolationLevel.REPEATABLE_READ:
            assert len(set(rows)) == 1
        _, *seen = rows[0]
        return tuple(seen)

    return read


def _http(client: httpx.Client) -> Read:
    def read() -> tuple[Any, ...]:
        response = client.post("/v1/predictions/churn/lookup", json=KEYS)
        assert response.status_code == 200, response.text
        answers = response.json()["answers"]
        (version,) = {answer["version"] for answer in answers}
        scores = [answer["prediction"]["score"] for answer in answers if answer["found"]]
        return version, len(scores), sum(scores)

    return read


def test_every_reader_sees_one_whole_version_through_deltas(nights: Nights, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "prescore_api")
    database = nights.project.database
    url = database.url
    nights.project.edit("[incremental]", "[lookup]\nin_memory = true\n[incremental]")
    # Few, so that readers read often.
    nights.frame = nights.frame.head(CUSTOMERS)
    nights.write()
    assert nights.project.cli("run", "churn", "--full").code == 0
    with (
        serving(build(database, OPEN)) as client,
        serving(build(database, replace(OPEN, memory_limit=0))) as other,
        psycopg.connect(url) as committed,
        psycopg.connect(url) as repeatable,
    ):
        until_in_memory(client, "churn", 2)
        readers = Readers(
            {
                "read committed": _sql(committed, psycopg.IsolationLevel.READ_COMMITTED),
                "repeatable read": _sql(repeatable, psycopg.IsolationLevel.REPEATABLE_READ),
                "http": _http(other),
                "in memory": _http(client),
            }
        )
        try:
            _publish_nights(nights, readers, client)
        finally:
            readers.stop()
    assert readers.failures == []
    # Nothing had changed in version 4, so its rows were in memory already.
    assert "churn version 3 is in memory" in caplog.text
    assert "churn version 4 is in memory" not in caplog.text
    versions = {version for version, _ in nights.catalog("version, state")}
    whole = {version: _whole(nights, version) for version in versions}
    for name, seen in readers.seen.items():
        assert {row[0] for row in seen} >= versions - {1, 2, 5}, name
        for version, count, total in seen:
            assert (count, round(float(total), 1)) == (whole[version][0], round(float(whole[version][1]), 1)), name


def _publish_nights(nights: Nights, readers: Readers, client: httpx.Client) -> None:
    """Publish a delta, the same rows again, a large delta that is rebased, then go back and forth."""
    frame = nights.frame
    frame.loc[:9, "spend"] += 1
    nights.frame = frame.drop(index=range(20, 30))
    for changed in (0, 0, 25):
        if changed:
            nights.frame.loc[100 : 100 + changed, "spend"] += 1
        report = nights.run()
        until_in_memory(client, "churn", report.served or report.version)
        readers.until_all_have_read()
    with nights.project.database.connect() as connection:
        for target in (3, 4, 2, 6):
            if target == 6:
                pointer.publish(connection, "churn", target, PublishOptions(allow_older=True))
            else:
                rollback(connection, "churn", target)
                hold.release(connection, "churn")
            until_in_memory(client, "churn", target)
            readers.until_all_have_read()


def _whole(nights: Nights, version: int) -> tuple[Any, ...]:
    return nights.project.rows(f"select {SEEN} from prescore_versions.churn_v{version}")[0]
