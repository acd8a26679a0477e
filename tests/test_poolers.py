"""PgBouncer between prescore and Postgres: lookups through either mode, jobs through session mode only.

Needs PgBouncer itself, which no wheel carries: apt-get install pgbouncer.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from fix_api import OPEN, Shelf, serving, until_in_memory
from fix_project import Sandbox
from prescore.catalog.database import Database
from prescore_api.http.app import build

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH')}:/usr/sbin")
KEYS = range(1, 200)

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")


@contextmanager
def pooler(server: str, mode: str) -> Iterator[int]:
    """Run PgBouncer with its defaults and three connections to the server; yield its port."""
    parts = conninfo_to_dict(server)
    sockets = Path(str(parts.get("host", "localhost")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The server's user, who may enter the folder of its socket, must be able to read this folder.
    with tempfile.TemporaryDirectory(prefix="prescore-pooler-") as folder:
        Path(folder).chmod(0o755)
        settings = Path(folder, "pgbouncer.ini")
        settings.write_text(
            f"[databases]\n* = host={sockets} port={parts.get('port', 5432)} user={parts['user']}"
            f" password={parts.get('password', 'none')}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = {3 if mode == 'transaction' else 20}\n"
        )
        user = ["-u", sockets.owner()] if os.geteuid() == 0 and sockets.is_dir() else ["-q"]
        with subprocess.Popen([str(PGBOUNCER), *user, str(settings)], stderr=subprocess.DEVNULL) as process:
            try:
                _until_listening(port)
                yield port
            finally:
                process.kill()


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _through(database: Database, port: int) -> Database:
    parts = conninfo_to_dict(database.url)
    return Database(f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}")


def test_two_models_are_never_confused_in_transaction_mode(server: str, shelf: Shelf) -> None:
    """Two processes of the API share three sessions, and ask for models of the same shape and version."""
    rows = {"churn": 0.25, "other": 0.75, "held": 0.5}
    for model, score in rows.items():
        more: Any = {"lookup": {"in_memory": True}} if model == "held" else {}
        shelf.publish(model, {"k": "bigint"}, [(k, score) for k in KEYS], **more)
    with pooler(server, "transaction") as port:
        pooled = _through(shelf.database, port)
        with serving(build(pooled, OPEN)) as one, serving(build(pooled, OPEN)) as two, ThreadPoolExecutor(6) as pool:
            until_in_memory(one, "held")
            clients = {"churn": one, "other": two}
            lookups = [(model, key) for key in KEYS for model in clients]
            replies = pool.map(lambda one: clients[one[0]].get(f"/v1/predictions/{one[0]}/{one[1]}"), lookups)
            for (model, key), reply in zip(lookups, replies, strict=True):
                assert (reply.status_code, reply.json()["key"]) == (200, {"k": key}), reply.text
                assert reply.json()["prediction"] == {"score": rows[model]}
            bulk = two.post("/v1/predictions/churn/lookup", json={"keys": [{"k": key} for key in [*KEYS, 999]]})
            assert [answer["found"] for answer in bulk.json()["answers"]] == [True] * len(KEYS) + [False]
        with psycopg.connect(pooled.url) as others:
            for name in ("default_transaction_read_only", "statement_timeout", "row_security"):
                found = others.execute(f"select setting = boot_val from pg_settings where name = '{name}'".encode())
                assert found.fetchone() == (True,), name


def test_jobs_are_refused_in_transaction_mode_and_run_in_session_mode(server: str, sandbox: Sandbox) -> None:
    for mode, expected in (("transaction", 2), ("session", 0)):
        with pooler(server, mode) as port:
            sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", _through(sandbox.database, port).url)
            done = sandbox.cli("run", "churn")
            assert done.code == expected, done.err
            assert ("A pooler in transaction mode is between prescore and Postgres" in done.err) == (expected == 2)
    assert sandbox.rows("select state from prescore.versions") == [("published",)]
