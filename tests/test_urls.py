"""URLs of the database: every way in which libpq names a server, and a message for every mistake in one."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from fix_api import OPEN, serving
from fix_postgres import LOCKED, at
from fix_project import Sandbox, linear
from fix_relay import relay
from prescore.catalog import driver_errors
from prescore.catalog.database import Database
from prescore_api.http.app import build
from test_file_sources import write_spec

PARAMETERS = ("host", "port", "dbname", "user", "password")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("service=nosuch", 'service nosuch: connection is bad: definition of service "nosuch" not found. Define the'),
        ("postgresql://?service=nosuch", "or in the file that PGSERVICEFILE names"),
        ("postgresql://u:hunter2@127.0.0.1:99999/x", "Its port is not a number from 1 to 65535"),
        ("postgresql://u:hunter2@127.0.0.1:abc/x", "Its port is not a number from 1 to 65535"),
        ("postgresql://u:p@127.0.0.1:hunter2@db/x", "write %40 for @"),
        ("host=127.0.0.1 port=1,2,3", "Give one port for all hosts, or one for each"),
        ("host=127.0.0.1 connect_timeout=soon", "Its connect_timeout is not a number of seconds"),
        ("host=127.0.0.1 password='hunter2", "write a backslash before each quote"),
        ("hunter2", "Use the form postgresql://"),
        ("host=127.0.0.1 sslmode=on", 'invalid sslmode value: "on". Correct it'),
    ],
)
def test_a_mistake_in_a_url_is_named(sandbox: Sandbox, url: str, message: str) -> None:
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
    failed = sandbox.cli("status", "--json")
    assert (failed.code, json.loads(failed.out)["error"]["code"]) == (2, "database_refused"), failed.err
    assert message in failed.err
    assert "hunter2" not in failed.err


def test_a_line_break_behind_a_url_is_no_part_of_it(sandbox: Sandbox) -> None:
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", f"{sandbox.database.url}\n")
    assert sandbox.cli("status").code == 0
    sandbox.settings('[sources]\npg = "env:PG_URL"\n')
    sandbox.monkeypatch.setenv("PG_URL", f"{sandbox.database.url}\n")
    sandbox.query("select 1 as customer, 1::real as visits, 1::real as spend")
    sandbox.edit("[domain]", '[domain]\nsource = "pg"')
    assert sandbox.cli("validate", "churn").code == 0


@pytest.fixture
def parts(database: Database) -> dict[str, str]:
    """The parameters of the test's database."""
    parts = conninfo_to_dict(database.url)
    return {name: str(parts[name]) for name in PARAMETERS if name in parts}


def _run_and_serve(sandbox: Sandbox, url: str) -> None:
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
    done = sandbox.cli("run", "churn")
    assert (done.code, "published" in done.out) == (0, True), done.err
    with serving(build(Database.from_url(url), OPEN)) as client:
        assert client.get("/v1/predictions/churn/7").json()["found"] is True


@pytest.mark.parametrize("url", ["service=predictions", "postgresql://?service=predictions"])
def test_a_url_may_name_a_service(sandbox: Sandbox, tmp_path: Path, parts: dict[str, str], url: str) -> None:
    services = tmp_path / "services.conf"
    services.write_text("[predictions]\n" + "".join(f"{name}={value}\n" for name, value in parts.items()))
    sandbox.monkeypatch.setenv("PGSERVICEFILE", str(services))
    _run_and_serve(sandbox, url)


def test_variables_of_libpq_complete_a_url(sandbox: Sandbox, parts: dict[str, str]) -> None:
    for name, variable in zip(PARAMETERS, ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD"), strict=True):
        if name in parts:
            sandbox.monkeypatch.setenv(variable, parts[name])
    _run_and_serve(sandbox, "postgresql://")
    sandbox.monkeypatch.setenv("PGDATABASE", "nosuch")
    refused = sandbox.cli("status")
    assert (refused.code, "nosuch" in refused.err) == (2, True), refused.err


@pytest.mark.parametrize("form", ["postgresql://{user}@127.0.0.1:{closed},127.0.0.1:{port}/{dbname}", "parameters"])
def test_a_url_may_have_several_hosts(sandbox: Sandbox, parts: dict[str, str], form: str) -> None:
    if form == "parameters":
        form = "host=127.0.0.1,127.0.0.1 port={closed},{port} dbname={dbname} user={user}"
    if "password" in parts:
        sandbox.monkeypatch.setenv("PGPASSWORD", parts["password"])
    with relay(sandbox.database.url) as port, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hosts = {**parts, "port": port, "closed": closed.getsockname()[1]}
        _run_and_serve(sandbox, form.format(**hosts))
        # The message is about the host that refused the login, and not about the one that is away.
        refused = {**hosts, "port": hosts["closed"], "closed": port, "dbname": "nosuch"}
        sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", form.format(**refused))
        failed = sandbox.cli("status")
        assert (failed.code, 'database "nosuch" does not exist' in failed.err) == (2, True), failed.err


@pytest.mark.parametrize("words", [driver_errors._WORDS, {}])
def test_a_refused_login_needs_no_word_of_the_servers_language(
    server: str, sandbox: Sandbox, words: dict[str, str]
) -> None:
    """Without the words, as with a server that speaks another language, its SQLSTATE decides."""
    if "host=/" not in server:
        pytest.skip("the role that has to log in with a password is on the embedded server")
    sandbox.monkeypatch.setattr(driver_errors, "_WORDS", words)
    parts = conninfo_to_dict(sandbox.database.url)
    wrong = f"host={parts['host']} user={LOCKED} password=wrong dbname={parts['dbname']}"
    for url, message in (
        (wrong, "refuses the login"),
        (at(server, "nosuch"), "refuses the login"),
        (f"{sandbox.database.url}&options=-c%20nosuch%3D1", "Correct it in PRESCORE_DATABASE_URL"),
    ):
        sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
        failed = sandbox.cli("status")
        assert (failed.code, message in failed.err) == (2, True), failed.err


def test_a_source_that_refuses_the_login_needs_no_word_either(server: str, sandbox: Sandbox) -> None:
    sandbox.settings('[sources]\npg = "env:PG_URL"\n')
    sandbox.onnx(linear([1.0]), "m")
    write_spec(sandbox, 'id = "bigint"')
    sandbox.edit("[domain]", '[domain]\nsource = "pg"', "m")
    sandbox.query("select 1 as id, 1::real as x", "m")
    for url in (at(server, "nosuch"), "service=nosuch", f"{sandbox.database.url}&options=-c%20nosuch%3D1"):
        sandbox.monkeypatch.setenv("PG_URL", url)
        failed = sandbox.cli("validate", "m", "--json")
        assert (failed.code, json.loads(failed.out)["error"]["code"]) == (2, "database_refused"), failed.err
