"""`prescore serve`: a process of its own, and what keeps it from starting."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fix_project import Sandbox
from prescore import materialize
from prescore.contract.errors import Mistake, PortTaken
from prescore.job import Ask
from prescore_api import server

COMMAND = Path(sys.executable).with_name("prescore")


@contextmanager
def _served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen([COMMAND, "serve", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://\S+:\d+", said)
        assert found, said + process.stderr.read()
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def test_a_run_is_served(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    told = json.loads(sandbox.cli("lookup", "churn", "7", "--json").out)
    with _served("--port", "0") as (process, url):
        first = httpx.get(f"{url}/v1/predictions/churn/7").json()
        assert {n: first[n] for n in ("model", "version", "key", "found", "prediction", "stale")} == {
            n: told[n] for n in ("model", "version", "key", "found", "prediction", "stale")
        }
        assert httpx.get(f"{url}/v1/models/churn").json()["rows"] == 1000
        materialize.run(sandbox.job(), Ask(full=True))
        assert httpx.get(f"{url}/v1/predictions/churn/7").json()["version"] == 2
        assert sandbox.cli("rollback", "churn").code == 0
        assert httpx.get(f"{url}/v1/predictions/churn/7").json()["version"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)


def test_ctrl_c_ends_it_without_a_word(sandbox: Sandbox) -> None:
    sandbox.database.migrate()
    with _served("--port", "0") as (process, url):
        assert httpx.get(f"{url}/health/ready").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_port_in_use_is_worth_a_retry(sandbox: Sandbox) -> None:
    with server.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        outcome = sandbox.cli("serve", "--port", str(port))
    assert outcome.code == 3
    assert f"Port {port} on 127.0.0.1 is taken" in outcome.err


def test_ports_and_hosts_that_do_not_exist() -> None:
    for host, port, error in (("127.0.0.1", 70000, Mistake), ("no.such.host.invalid", 0, Mistake)):
        with pytest.raises(error):
            server.listen(host, port)
    with server.listen("127.0.0.1", 0) as taken, pytest.raises(PortTaken):
        server.listen(*taken.getsockname())


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")  # noqa: PTH110
def test_ipv6() -> None:
    with server.listen("::1", 0) as listening:
        assert server.address(listening).startswith("http://[::1]:")


@pytest.mark.parametrize("url", [None, "", "embedded"])
def test_the_database_comes_from_the_environment_alone(sandbox: Sandbox, url: str | None) -> None:
    sandbox.settings('database = "embedded"\n')
    if url is None:
        sandbox.monkeypatch.delenv("PRESCORE_DATABASE_URL")
    else:
        sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
    outcome = sandbox.cli("serve", "--port", "0")
    assert outcome.code == 2
    assert f"PRESCORE_DATABASE_URL {'says embedded' if url == 'embedded' else 'is not set'}" in outcome.err
    assert not (sandbox.root / ".prescore").exists()


def test_a_database_without_catalog_is_a_mistake(sandbox: Sandbox, server: str) -> None:
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", server)
    outcome = sandbox.cli("serve", "--port", "0")
    assert outcome.code == 2
    assert "prescore db migrate" in outcome.err


def test_postgres_away_at_the_start_is_worth_a_retry(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", f"postgresql://postgres:swordfish@127.0.0.1:{port}/postgres")
    outcome = sandbox.cli("serve", "--port", "0")
    assert outcome.code == 3
    assert "Cannot work with Postgres" in outcome.err
    assert "swordfish" not in outcome.err
