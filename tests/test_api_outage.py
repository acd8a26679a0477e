"""Postgres is away, stuck, or back: a 503 in time, and recovery without a restart of the server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fix_api import Shelf, serving
from fix_postgres import LOCKED
from prescore.catalog import roles
from prescore.catalog.database import Database
from prescore.embedded import server
from prescore.errors import DatabaseUnavailable
from prescore.project.project import Project
from prescore_api.http.app import ServerSettings, build
from prescore_api.service.poller import end
from prescore_api.tables.database import Bounds, ReaderPool

BOUNDS = Bounds(connection_seconds=0.5, statement_seconds=0.2, connections=2)
SHORT = ServerSettings(open_to_all=True, bounds=BOUNDS)
AWAY = "postgresql://postgres:swordfish@127.0.0.1:1/secret_name"
ENDPOINTS = ("/v1/predictions/m/1", "/v1/predictions/m?k=1", "/v1/models", "/v1/models/m", "/health/ready")


def _unavailable(client: httpx.Client, path: str = ENDPOINTS[0]) -> None:
    began = time.monotonic()
    # Readiness may be a second old.
    while (response := client.get(path)).status_code == 200 and path == "/health/ready":
        assert time.monotonic() - began < 10
    assert response.elapsed.total_seconds() < 5
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
    assert int(response.headers["retry-after"]) > 0


def test_without_postgres_every_response_is_503() -> None:
    with serving(build(Database(AWAY), SHORT)) as client:
        for path in ENDPOINTS:
            _unavailable(client, path)
        response = client.post("/v1/predictions/m/lookup", json={"keys": [{"k": 1}]})
        assert response.status_code == 503
        assert [word for word in ("swordfish", "secret_name", "127.0.0.1") if word in response.text] == []
        assert client.get("/health/live").status_code == 200
        page = client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "<p>The database is not available.</p>" in page.text
        assert int(page.headers["retry-after"]) > 0
        assert client.get("/").json()["error"]["code"] == "database_unavailable"


def test_a_restart_of_postgres_is_survived(own_postgres: Project) -> None:
    database = Database(server.start(own_postgres))
    Shelf(database).publish("m", {"k": "bigint"}, [(1, 0.5)])
    with serving(build(database, SHORT)) as client:
        assert client.get("/v1/predictions/m/1").status_code == 200
        server.stop(own_postgres)
        for path in ENDPOINTS:
            _unavailable(client, path)
        # Each lookup waits for a connection for a while, so that these probes meet several rounds of the poller.
        for _ in range(8):
            _unavailable(client)
            assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        server.start(own_postgres)
        _eventually(client, "/health/ready", 200)
        assert client.get("/v1/predictions/m/1").json()["prediction"] == {"score": 0.5}


def test_a_quick_restart_of_postgres_goes_unnoticed(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    for _ in range(3):
        assert client.get("/v1/predictions/m/1").status_code == 200
        assert shelf.end_connections() > 0


def test_the_log_says_that_a_changed_password_is_the_reason(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """The pool reports only that it waited. Without the reason, an operator would look for a network problem."""

    def set_password(password: str) -> None:
        with shelf.database.connect() as connection:
            connection.execute(f"alter role {LOCKED} password '{password}'".encode())

    with shelf.database.connect() as connection:
        roles.grant(connection, readers=[LOCKED])
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    parts: dict[str, Any] = conninfo_to_dict(shelf.database.url)
    url = make_conninfo(**{**parts, "user": LOCKED, "password": "right"})
    with serving(build(Database(url), SHORT)) as client:
        assert client.get("/v1/predictions/m/1").status_code == 200
        try:
            set_password("rotated")
            assert shelf.end_connections() > 0
            response = client.get("/v1/predictions/m/1")
            assert (response.status_code, response.json()["error"]["code"]) == (503, "database_refused")
            reason = f'password authentication failed for user "{LOCKED}"'
            assert [record for record in caplog.records if record.name == "prescore_api" and reason in record.message]
            assert LOCKED not in response.text
        finally:
            set_password("right")
        _eventually(client, "/v1/predictions/m/1", 200)


def test_a_task_that_loses_a_cancellation_ends() -> None:
    async def lose_one() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def has_ended() -> bool:
        task = asyncio.create_task(lose_one())
        await asyncio.wait([task], timeout=0)
        ending = asyncio.create_task(end(task))
        await asyncio.wait([ending], timeout=20)
        return task.done()

    assert asyncio.run(has_ended())


def test_a_lock_gives_503_in_time(shelf: Shelf) -> None:
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    with serving(build(shelf.database, SHORT)) as client:
        with shelf.database.connect() as connection, connection.transaction():
            connection.execute("lock table prescore.models in access exclusive mode")
            for path in ENDPOINTS:
                _unavailable(client, path)
            left = connection.execute(
                "select pid from pg_stat_activity where application_name = 'prescore api' and state = 'active' "
                # The server itself keeps polling.
                "and query_start < clock_timestamp() - interval '1 second'"
            )
            # Postgres has canceled every query: nothing piles up behind the lock.
            assert left.fetchall() == []
        assert client.get("/v1/predictions/m/1").status_code == 200


def test_a_frozen_server_gives_503_in_time(own_postgres: Project) -> None:
    database = Database(server.start(own_postgres))
    Shelf(database).publish("m", {"k": "bigint"}, [(1, 0.5)])
    with serving(build(database, SHORT)) as client:
        assert client.get("/v1/predictions/m/1").status_code == 200
        with _frozen(database):
            _unavailable(client)
        _eventually(client, "/v1/predictions/m/1", 200)


def test_the_api_cannot_write(database: Database) -> None:
    async def write() -> None:
        async with ReaderPool(database, BOUNDS) as reader:
            await reader.rows(b"create table mine ()", {})

    with pytest.raises(DatabaseUnavailable, match="in a read-only transaction"):
        asyncio.run(write())


def _eventually(client: httpx.Client, path: str, status: int, within: float = 10) -> None:
    """Repeat the request until it has the status; each attempt waits for the server."""
    until = time.monotonic() + within
    while client.get(path).status_code != status:
        assert time.monotonic() < until, f"{path} does not come to give {status}"


@contextmanager
def _frozen(database: Database) -> Iterator[None]:
    """Suspend the API's Postgres backends, as a dead disk or a paused machine would."""
    with database.connect() as connection:
        rows = connection.execute("select pid from pg_stat_activity where application_name = 'prescore api'")
        backends = [row["pid"] for row in rows]
    assert backends
    for process in backends:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in backends:
            os.kill(process, signal.SIGCONT)
