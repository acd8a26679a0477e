"""What is served is what was published: rows of another version, or none, are never taken for the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from fix_api import OPEN, Shelf, serving, until_in_memory
from fix_postgres import at, recreate
from fix_project import Sandbox
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.errors import DatabaseRefused, NotAllowed
from prescore.public.project import Project
from prescore.versions import pointer
from prescore_api.http.app import build

KEY = {"k": "bigint"}
IN_MEMORY: Any = {"lookup": {"in_memory": True}}
ROWS = [(1, 0.25), (2, 0.5)]
LOSSES = {
    "truncated": "truncate prescore_versions.m_v2",
    "dropped": "drop table prescore_versions.m_v2",
    "detached": "alter table prescore_versions.m detach partition prescore_versions.m_v2",
}


def _execute(database: Database, statement: str) -> None:
    with database.connect() as connection:
        connection.execute(statement.encode())


def _until(described: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + 20
    while (seen := described()) != expected:
        assert time.monotonic() < deadline, seen


@pytest.mark.parametrize("loss", LOSSES)
def test_a_key_is_never_missing_because_its_table_is(
    sandbox: Sandbox, shelf: Shelf, client: httpx.Client, loss: str
) -> None:
    for _ in range(2):
        shelf.publish("m", KEY, ROWS)
    path = "/v1/predictions/m"
    assert client.get(f"{path}/9").status_code == 404
    _execute(shelf.database, LOSSES[loss])
    lookups = [
        client.get(f"{path}/1"),
        client.get(f"{path}/9"),
        client.post(f"{path}/lookup", json={"keys": [{"k": 1}, {"k": 9}]}),
        client.get(f"{path}/rows"),
        # Its own table is still there if it was only detached.
        *([] if loss == "detached" else [client.get(f"{path}/1?version=2"), client.get(f"{path}/rows?version=2")]),
    ]
    assert {reply.status_code for reply in lookups} == {503}, [reply.text for reply in lookups]
    # The client may have logged only the message.
    assert all("'m'" in reply.json()["error"]["message"] for reply in lookups)
    assert client.get(f"{path}/1?version=1").json()["found"] is True
    looked_up = sandbox.cli("lookup", "m", "1")
    assert (looked_up.code, "m version 2 has 2 rows according to the catalog, and 0" in looked_up.err) == (2, True)


def test_a_key_is_not_missing_if_rows_were_deleted_by_hand(
    sandbox: Sandbox, shelf: Shelf, client: httpx.Client
) -> None:
    shelf.publish("m", KEY, ROWS)
    shelf.publish("whole", KEY, ROWS)
    path = "/v1/predictions"

    def lookups() -> list[int]:
        return [
            client.get(f"{path}/m/1").status_code,
            client.get(f"{path}/m/1?version=1").status_code,
            client.post(f"{path}/m/lookup", json={"keys": [{"k": 1}, {"k": 2}]}).status_code,
            client.get(f"{path}/m/2").status_code,
        ]

    with shelf.database.connect() as connection:
        with connection.transaction(force_rollback=True):
            connection.execute("delete from prescore_versions.whole_v1")
        connection.execute("delete from prescore_versions.m_v1 where k = 1")
    # Postgres counts changes when the session ends at the latest, and the API reads the counts every second.
    _until(lookups, [503, 503, 503, 200])
    assert client.get(f"{path}/m/rows").status_code == 503
    # What was rolled back counts as a change, but no row is missing.
    assert _changes(shelf.database, "whole") == 2
    _until(lambda: client.get(f"{path}/whole/3").status_code, 404)
    looked_up = sandbox.cli("lookup", "m", "1")
    assert (looked_up.code, "m version 1 has 2 rows according to the catalog, and 1 can" in looked_up.err) == (2, True)
    assert sandbox.cli("lookup", "m", "2").code == 0
    assert sandbox.cli("lookup", "whole", "3").out == "whole version 1 has no k=3\n"


def _changes(database: Database, model: str) -> int:
    with database.connect() as connection:
        row = Catalog(connection).one("lookup_version", model=model, version=None)
        return int(row["changes"])


def test_a_table_that_lost_rows_is_not_read_as_a_whole(shelf: Shelf, sandbox: Sandbox) -> None:
    for _ in range(2):
        shelf.publish("m", KEY, ROWS)
    _execute(shelf.database, "delete from prescore_versions.m_v2 where k = 1")
    with pytest.raises(DatabaseRefused, match="m version 2 has 2 rows according to the catalog, and 1 can be read"):
        Project(sandbox.root).read("m")
    compared = sandbox.cli("compare", "m", "1", "2")
    assert (compared.code, "1 can be read" in compared.err) == (2, True), compared.err


def test_a_version_is_not_held_in_memory_without_all_its_rows(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", KEY, ROWS, **IN_MEMORY)
    until_in_memory(client, "m")
    with shelf.database.connect() as connection, connection.transaction():
        connection.execute("delete from prescore_versions.m_v1 where k = 1")
        # As if another version had got the number.
        connection.execute("update prescore.versions set id = gen_random_uuid()")
    _until(lambda: (client.get("/v1/models/m").json()["in_memory"] or {}).get("version"), None)
    assert "its rows cannot be read" in client.get("/v1/models/m").json()["in_memory"]["refused"]
    assert client.get("/v1/predictions/m/2").json()["prediction"] == {"score": 0.5}


def test_a_restored_server_that_gives_out_a_number_again_is_noticed(server: str, shelf: Shelf) -> None:
    """The address moves to a server restored from a dump, which has since made another version of the same number."""
    name = conninfo_to_dict(shelf.database.url)["dbname"]
    restored = Shelf(Database(at(server, f"{name}_restored")))
    models: dict[str, Any] = {"memory": IN_MEMORY, "table": {}}
    clock = datetime.now(UTC)

    def publish(target: Shelf, score: float) -> None:
        for model, more in models.items():
            target.publish(model, KEY, [(1, score)], data_as_of=clock, **more)

    publish(shelf, 0.5)
    recreate(server, f"{name}_restored", template=str(name))
    publish(shelf, 3.0)
    publish(restored, 30.0)
    with serving(build(shelf.database, OPEN)) as client:
        until_in_memory(client, "memory", 2)
        _replace_database(server, name=str(name), by=f"{name}_restored")
        for model in models:
            _until(partial(_prediction, client, model), {"score": 30.0})


def _prediction(client: httpx.Client, model: str) -> Any:
    return client.get(f"/v1/predictions/{model}/1").json().get("prediction")


def _replace_database(server: str, *, name: str, by: str) -> None:
    """Give a database the name of another one, which is dropped."""
    with psycopg.connect(server, autocommit=True) as connection:
        old, new, lost = (sql.Identifier(text) for text in (name, by, f"{name}_lost"))
        connection.execute(sql.SQL("alter database {} allow_connections false").format(old))
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = any(%s)", [[name, by]]
        )
        connection.execute(sql.SQL("alter database {} rename to {}").format(old, lost))
        connection.execute(sql.SQL("alter database {} rename to {}").format(new, old))
        connection.execute(sql.SQL("drop database {}").format(lost))


@pytest.mark.parametrize("loss", LOSSES)
def test_status_names_a_lost_table_and_rollback_skips_it(sandbox: Sandbox, shelf: Shelf, loss: str) -> None:
    for _ in range(4):
        shelf.publish("m", KEY, ROWS)
    for version in (4, 3):
        _execute(shelf.database, LOSSES[loss].replace("m_v2", f"m_v{version}"))
    assert f"4, whose table was {loss}" in sandbox.cli("status").out
    if loss != "detached":
        words = "dropped or renamed" if loss == "dropped" else loss
        message = f"The table of m version 3 was {words} by hand"
        refused = sandbox.cli("rollback", "m", "--to", "3")
        assert (refused.code, message in refused.err) == (2, True)
        with shelf.database.connect() as connection, pytest.raises(NotAllowed, match=message):
            pointer.publish(connection, "m", 3)
    assert sandbox.cli("rollback", "m").code == 0
    # A detached table is whole, and is attached again.
    assert sandbox.rows("select version, count(*) from predictions.m group by 1") == [
        (3 if loss == "detached" else 2, 2)
    ]
