"""Readers of every kind in loops, through publications and rollbacks, attachments and retirements.

Every prediction of version N is N, so the numbers of a read show whether it mixed versions or missed rows.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psycopg

from fix_api import Shelf
from fix_soak import SOAK
from prescore.catalog.catalog import Catalog
from prescore.project.spec import Retention
from prescore.store.store import Store
from prescore.versions import hold, pointer, retirement
from prescore.versions.options import PublishOptions
from prescore.versions.rollback import rollback

ROWS, EPOCH = 200, 10
SWAPS = 200 if SOAK else 40
KEY = {"k": "bigint"}
SEEN = "count(*), min(version), max(version), min(score)::int, max(score)::int"
RETENTION = Retention.model_validate({"versions": 3, "grace": "0s", "candidates": "0s"})
Read = Callable[[], int]


class Course:
    """The state that readers and the writer share: the number of swaps, and the versions that each reader has seen."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.swaps = 0
        self.over = False
        self.seen: dict[str, list[int]] = {}
        self.failures: list[BaseException] = []

    def update(self, **changes: Any) -> None:
        with self.changed:
            self.__dict__.update(changes)
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: condition() or self.over or bool(self.failures), 60)
            if self.failures:
                raise self.failures[0]

    def record(self, reader: str, version: int) -> None:
        with self.changed:
            self.seen.setdefault(reader, []).append(version)
            self.changed.notify_all()


def _whole(row: Any) -> int:
    """Return the one version that a row of SEEN shows."""
    count, *numbers = row
    assert count == ROWS, row
    assert len(set(numbers)) == 1, row
    return int(numbers[0])


@contextmanager
def _sql(url: str, statement: str, **more: Any) -> Iterator[Read]:
    with psycopg.connect(url, autocommit=True, **more) as connection:
        yield lambda: _whole(connection.execute(statement.encode()).fetchone())


@contextmanager
def _repeatable(url: str) -> Iterator[Read]:
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def read() -> int:
            with connection.transaction():
                versions = {
                    _whole(connection.execute(f"select {SEEN} from predictions.m".encode()).fetchone())
                    for _ in range(3)
                }
                row = connection.execute("select version from predictions.freshness where model = 'm'").fetchone()
                assert versions == {row and row[0]}
                return versions.pop()

        yield read


@contextmanager
def _bulk(client: httpx.Client) -> Iterator[Read]:
    def read() -> int:
        response = client.post("/v1/predictions/m/lookup", json={"keys": [{"k": k} for k in range(ROWS)]})
        assert response.status_code == 200, response.text
        answers = response.json()["answers"]
        numbers = {answer["version"] for answer in answers}
        numbers |= {answer["prediction"]["score"] for answer in answers}
        return _whole((len(answers), *numbers))

    yield read


def _loop(course: Course, name: str, opened: Any) -> None:
    try:
        with opened as read:
            while not course.over:
                course.record(name, read())
    except BaseException as error:
        course.update(failures=[*course.failures, error])


def _hold_cursors(course: Course, url: str) -> None:
    """Open a cursor, fetch one row, let several swaps pass, and fetch the rest."""
    try:
        with psycopg.connect(url) as connection:
            while not course.over:
                began = course.swaps
                with connection.transaction(), connection.cursor("held") as cursor:
                    cursor.execute("select version, score::int from predictions.m")
                    rows = cursor.fetchmany(1)
                    course.wait_for(lambda since=began: course.swaps >= since + 4)  # type: ignore[misc]
                    rows += cursor.fetchall()
                assert (len(rows), len({number for row in rows for number in row})) == (ROWS, 1)
                course.record("cursor", rows[0][0])
                course.wait_for(lambda since=began: course.swaps >= since + EPOCH)  # type: ignore[misc]
    except BaseException as error:
        course.update(failures=[*course.failures, error])


def test_every_reader_sees_one_whole_version(shelf: Shelf, client: httpx.Client, tmp_path: Path) -> None:
    shelf.publish("m", KEY, [(k, 1.0) for k in range(ROWS)])
    url = shelf.database.url
    with shelf.database.connect() as connection:
        connection.execute("create table public.people as select k::bigint from generate_series(0, 199) k")
        connection.execute("create view public.mine as select m.* from predictions.m m join public.people using (k)")
    readers = {
        "autocommit": _sql(url, f"select {SEEN} from predictions.m"),
        "repeatable read": _repeatable(url),
        "prepared": _sql(url, f"select {SEEN} from predictions.m where k >= 0", prepare_threshold=0),
        "own view": _sql(url, f"select {SEEN} from public.mine"),
        "http": _bulk(client),
    }
    course = Course()
    threads = [threading.Thread(target=_loop, args=(course, name, opened)) for name, opened in readers.items()]
    threads.append(threading.Thread(target=_hold_cursors, args=(course, url)))
    for thread in threads:
        thread.start()
    try:
        published = _swap(course, shelf, list(readers), Store(tmp_path))
    finally:
        course.update(over=True)
        for thread in threads:
            thread.join()
    assert course.failures == []
    # Each reader read after each swap, so it saw them all, or all but the few that were undone while it read.
    for name in readers:
        assert sum(before != after for before, after in pairwise(course.seen[name])) >= SWAPS - 10, name
    assert len(course.seen["cursor"]) >= SWAPS // EPOCH - 1
    assert published > SWAPS // 5
    with shelf.database.connect() as connection:
        tables = connection.execute("select count(*) from pg_tables where tablename ~ '^m_v'").fetchone()
        assert tables is not None
        # The others were retired while the readers read.
        assert tables["count"] <= 8


def _swap(course: Course, shelf: Shelf, readers: list[str], store: Store) -> int:
    """Publish new and old versions, roll back, retire; after each swap, wait until every reader has read twice.

    Returns the number of versions made.
    """
    chance, newest = random.Random(1), 1
    with shelf.database.connect() as connection:
        for swap in range(1, SWAPS + 1):
            if swap % 4 == 1:
                newest += 1
                assert shelf.publish("m", KEY, [(k, float(newest)) for k in range(ROWS)]) == newest
            else:
                versions = Catalog(connection).versions("m")
                superseded = [v["version"] for v in versions if v["state"] == "superseded"]
                other = chance.choice(superseded)
                if swap % 2:
                    rollback(connection, "m", other)
                    hold.release(connection, "m")
                else:
                    pointer.publish(connection, "m", other, PublishOptions(allow_older=True))
            course.update(swaps=swap)
            reads = {name: len(course.seen.get(name, [])) for name in readers}
            course.wait_for(lambda had=reads: all(len(course.seen.get(n, [])) >= had[n] + 2 for n in had))  # type: ignore[misc]
            # The cursor is closed by now.
            if swap % EPOCH == EPOCH - 2:
                course.wait_for(lambda at=swap: len(course.seen.get("cursor", [])) > at // EPOCH)  # type: ignore[misc]
                list(retirement.retire(connection, store, "m", RETENTION))
    return newest
