"""Errors of Postgres and of its driver: whose they are, and so which exit code a command ends with."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg

from fix_api import OPEN, Shelf, serving
from fix_postgres import at
from fix_project import Sandbox
from prescore.catalog import migrations
from prescore.catalog.database import Database
from prescore.catalog.driver_errors import translate_errors
from prescore.cli.errors import exit_code
from prescore.errors import PrescoreError
from prescore.public.project import Project
from prescore_api.http.app import build

EXIT_CODES = {
    # The environment: a retry may succeed.
    **dict.fromkeys(("08", "26", "40", "53", "57", "58", "F0", "XX"), 3),
    **dict.fromkeys(("25006", "25P03", "25P04", "55006", "55P03"), 3),
    # The user: a login, a right, an object that was dropped or is in the way, a limit.
    **dict.fromkeys(("0A", "0P", "28", "2B", "38", "39", "3D", "3F", "54", "55", "P0"), 2),
    **dict.fromkeys(("22021", "22P05", "42501"), 2),
    **dict.fromkeys(("42P01", "42703", "42704", "42883"), 2),
    **dict.fromkeys(("42701", "42710", "42723", "42809", "42P06", "42P07", "42P16", "42P17"), 2),
}
"""By SQLSTATE or by its class. Any other error is one of prescore's, 1."""
MESSAGES = {
    'connection to server at "h", port 5432 failed: Connection refused': 3,
    "failed to resolve host 'h': [Errno -2] Name or service not known": 3,
    "server closed the connection unexpectedly": 3,
    "the connection is lost": 3,
    "couldn't get a connection after 2.00 sec": 3,
    "FATAL:  sorry, too many clients already": 3,
    "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute": 3,
    "FATAL:  the database system is starting up": 3,
    'FATAL:  password authentication failed for user "u"': 2,
    'FATAL:  database "d" does not exist': 2,
    'FATAL:  role "r" is not permitted to log in': 2,
    'FATAL:  no pg_hba.conf entry for host "h", user "u", database "d", no encryption': 2,
    "server does not support SSL, but SSL was required": 2,
    "FATAL:  unsupported startup parameter: options": 2,
    'definition of service "s" not found': 2,
}
"""What libpq and poolers say without an SQLSTATE."""
URL = "postgresql://u:secret@h/d"


def _states() -> Iterator[type[psycopg.Error]]:
    for kind in vars(pg).values():
        if isinstance(kind, type) and issubclass(kind, psycopg.Error) and kind.sqlstate:
            yield kind


def _exit_code(error: psycopg.Error) -> int:
    with pytest.raises((PrescoreError, psycopg.Error)) as raised, translate_errors(URL):
        raise error
    assert "secret" not in str(raised.value)
    return exit_code(raised.value) if isinstance(raised.value, PrescoreError) else 1


def test_every_sqlstate_has_the_exit_code_of_its_kind() -> None:
    states = list(_states())
    assert len(states) > 200
    for kind in states:
        state = str(kind.sqlstate)
        expected = EXIT_CODES.get(state) or EXIT_CODES.get(state[:2], 1)
        assert _exit_code(kind("a message")) == expected, state


@pytest.mark.parametrize("message", MESSAGES)
def test_errors_while_connecting_are_classified_by_their_words(message: str) -> None:
    assert _exit_code(psycopg.OperationalError(message)) == MESSAGES[message]


def test_misuse_of_the_driver_is_an_error_of_prescores() -> None:
    for kind in (psycopg.ProgrammingError, psycopg.InterfaceError, psycopg.NotSupportedError, psycopg.DataError):
        assert _exit_code(kind("a bug")) == 1


def test_a_version_that_the_database_refuses_is_not_left_unfinished(sandbox: Sandbox) -> None:
    """As where a policy of the database's administrators rejects a statement."""
    with sandbox.database.connect() as connection:
        connection.execute(
            "create function refuse() returns event_trigger language plpgsql as $$"
            " begin raise exception 'no new constraints here'; end $$"
        )
        connection.execute(
            "create event trigger refuse on ddl_command_start when tag in ('ALTER TABLE') execute function refuse()"
        )
    done = sandbox.cli("run", "churn", "--json")
    assert done.code == 2, done.err
    error = json.loads(done.out)["error"]
    assert (error["code"], "no new constraints here" in error["message"]) == ("database_refused", True)
    assert sandbox.rows("select state from prescore.versions") == [("failed",)]


def test_an_internal_error_is_an_object_for_programs_too(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Project, "status", lambda _: 1 / 0)
    monkeypatch.setattr("sys.argv", ["prescore", "status", "--json"])
    from prescore.cli import main

    sandbox.capsys.readouterr()
    with pytest.raises(ZeroDivisionError):
        main.main()
    assert json.loads(sandbox.capsys.readouterr().out)["error"]["code"] == "internal"


def test_what_the_databases_encoding_cannot_spell_is_not_found_or_refused(server: str, sandbox: Sandbox) -> None:
    name = "prescore_latin1"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)".encode())
        connection.execute(f"create database {name} template template0 encoding 'LATIN1' locale 'C'".encode())
    database = Database(at(server, name))
    migrations.migrate(database)
    Shelf(database).publish("q", {"k": "text"}, [("Zürich", 0.5)])
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", database.url)
    looked_up = sandbox.cli("lookup", "q", "€uro", "--json")
    assert (looked_up.code, json.loads(looked_up.out)["found"]) == (2, False)
    with serving(build(database, OPEN)) as client:
        assert client.get("/v1/predictions/q/Zürich").json()["prediction"] == {"score": 0.5}
        assert client.get("/v1/predictions/q/€uro").json()["found"] is False
        assert client.get("/v1/predictions/€/1").status_code == 404
        keys = [{"k": key} for key in ("€", "Zürich", "b", "Ł", "c")]
        answers = client.post("/v1/predictions/q/lookup", json={"keys": keys}).json()["answers"]
        assert [answer["found"] for answer in answers] == [False, True, False, False, False]
    sandbox.edit("Chance that", "Chance — in € — that")
    refused = sandbox.cli("run", "churn")
    assert (refused.code, "Use a database in UTF8" in refused.err) == (2, True), refused.err
