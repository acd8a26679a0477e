"""`prescore serve` as a separate process: how it starts, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from fix_api import Shelf
from fix_grpc import grpc_client
from fix_project import Sandbox
from fix_server import grpc_target, served, workers_of
from prescore.catalog import migrations
from prescore.errors import Mistake, PortInUse
from prescore.run import materialize
from prescore.versions.options import RunOptions
from prescore_api.http import server
from prescore_api.tables.scratch_folder import scratch_folder

WAITS_TO_COPY = "select from pg_stat_activity where wait_event_type = 'Lock' and query ilike 'copy%'"


def test_a_run_is_served(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    output = json.loads(sandbox.cli("lookup", "churn", "7", "--json").out)
    with served("--port", "0", "--no-auth") as (process, url):
        first = httpx.get(f"{url}/v1/predictions/churn/7").json()
        assert {n: first[n] for n in ("model", "version", "key", "found", "prediction", "stale")} == {
            n: output[n] for n in ("model", "version", "key", "found", "prediction", "stale")
        }
        assert httpx.get(f"{url}/v1/models/churn").json()["rows"] == 1000
        materialize.run(sandbox.job(), RunOptions(full=True))
        assert httpx.get(f"{url}/v1/predictions/churn/7").json()["version"] == 2
        assert sandbox.cli("rollback", "churn").code == 0
        assert httpx.get(f"{url}/v1/predictions/churn/7").json()["version"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)


def test_ctrl_c_ends_the_server_silently(sandbox: Sandbox) -> None:
    migrations.migrate(sandbox.database)
    with served("--port", "0", "--no-auth") as (process, url):
        assert httpx.get(f"{url}/health/ready").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_port_in_use_exits_with_3(sandbox: Sandbox) -> None:
    with server.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        outcome = sandbox.cli("serve", "--port", str(port), "--grpc-port", str(port + 1))
    assert outcome.code == 3
    assert f"Port {port} on 127.0.0.1 is in use" in outcome.err
    # The suggestion is free, and not the port that this server needs for gRPC.
    suggested = int(outcome.err.rpartition("--port ")[2].strip(".\n"))
    assert suggested not in (port, port + 1)
    server.listen("127.0.0.1", suggested).close()


def test_invalid_ports_and_hosts_are_refused() -> None:
    for host, port, error in (("127.0.0.1", 70000, Mistake), ("no.such.host.invalid", 0, Mistake)):
        with pytest.raises(error):
            server.listen(host, port)
    with server.listen("127.0.0.1", 0) as taken, pytest.raises(PortInUse):
        server.listen(*taken.getsockname())


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")  # noqa: PTH110
def test_an_ipv6_address_is_bracketed() -> None:
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
    reason = "is 'embedded'" if url == "embedded" else "is not set"
    assert f"PRESCORE_DATABASE_URL {reason}" in outcome.err
    assert not (sandbox.root / ".prescore").exists()


def test_a_database_without_catalog_is_a_mistake(sandbox: Sandbox, server: str) -> None:
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", server)
    outcome = sandbox.cli("serve", "--port", "0")
    assert outcome.code == 2
    assert "prescore db migrate" in outcome.err


def test_postgres_away_at_the_start_exits_with_3(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", f"postgresql://postgres:swordfish@127.0.0.1:{port}/postgres")
    outcome = sandbox.cli("serve", "--port", "0")
    assert outcome.code == 3
    assert "Cannot work with Postgres" in outcome.err
    assert "swordfish" not in outcome.err


def test_a_worker_that_dies_is_replaced(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    with served("--port", "0", "--no-auth", "--workers", "2") as (process, url):
        workers = workers_of(process)
        assert len(workers) == 2
        workers[0].kill()
        workers[0].wait(10)
        until = time.monotonic() + 30
        while {child.pid for child in workers_of(process)} == {workers[1].pid}:
            assert time.monotonic() < until, "no other worker takes its place"
            assert httpx.get(f"{url}/v1/predictions/m/1").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert f"worker {workers[0].pid} ended with status -9; worker" in process.stderr.read()


def test_workers_end_with_the_process_that_started_them(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    with served("--port", "0", "--no-auth", "--workers", "2") as (process, url):
        workers = workers_of(process)
        process.kill()
        assert psutil.wait_procs(workers, 30)[1] == []
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health/live")


def test_a_graceful_shutdown_loses_no_request(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request that arrives before the server stops listening is answered, on old and new connections."""
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    with served("--port", "0", "--no-auth", "--no-access-log") as (process, url), ThreadPoolExecutor(8) as pool:
        all_answered = threading.Barrier(9)
        asking = [pool.submit(_request_until_refused, url, all_answered, keep=n % 2 == 0) for n in range(8)]
        all_answered.wait(30)
        process.send_signal(signal.SIGTERM)
        for future in asking:
            future.result(30)
        assert process.wait(20) in (0, -signal.SIGTERM)


def test_a_shutdown_does_not_wait_for_a_version_that_is_being_loaded(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)], lookup={"in_memory": True})
    with shelf.database.connect() as connection, shelf.database.connect() as other, other.transaction():
        other.execute("lock table prescore_versions.m_v1 in access exclusive mode")
        with served("--port", "0", "--no-auth") as (process, _):
            deadline = time.monotonic() + 20
            while not connection.execute(WAITS_TO_COPY).fetchall():
                assert time.monotonic() < deadline
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGTERM)


def test_an_access_log_that_is_not_read_delays_no_request(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    with served("--port", "0", "--no-auth", log=True) as (process, url), httpx.Client(base_url=url) as client:
        # A pipe holds 64 kB, about 250 lines.
        for _ in range(2000):
            assert client.get("/health/live").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_server_stops_listening_before_the_last_response(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """Later connections are refused immediately, not reset when the last request has been answered."""
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    with served("--port", "0", "--no-auth", "--no-access-log", "--workers", workers) as (process, url):
        where = (httpx.URL(url).host, httpx.URL(url).port or 0)
        with socket.create_connection(where, 20) as asking:
            asking.sendall(b"POST /v1/predictions/m/lookup HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n")
            asking.sendall(b"Content-Length: 18\r\n\r\n")
            # The server waits for the rest of the request.
            assert asking.recv(65536).startswith(b"HTTP/1.1 100 ")
            process.send_signal(signal.SIGTERM)
            _wait_until_refused(where)
            assert process.poll() is None
            asking.sendall(b'{"keys":[{"k":1}]}')
            assert asking.recv(65536).startswith(b"HTTP/1.1 200 ")


def _wait_until_refused(where: tuple[str, int]) -> None:
    while True:
        try:
            # The connection was queued when the server stopped listening.
            with suppress(ConnectionResetError):
                socket.create_connection(where, 20).close()
        except ConnectionRefusedError:
            return


def _request_until_refused(url: str, all_answered: threading.Barrier, *, keep: bool) -> None:
    """Send requests until a connection is refused, or reset while it was queued; any other error is a failure."""
    with httpx.Client(limits=httpx.Limits(max_keepalive_connections=1 if keep else 0)) as client:
        assert client.get(f"{url}/v1/predictions/m/1").status_code == 200
        all_answered.wait(30)
        while True:
            try:
                assert client.get(f"{url}/v1/predictions/m/1").status_code == 200
            except (httpx.ConnectError, httpx.ReadError):
                return


def test_https_is_served_with_a_certificate(shelf: Shelf, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    arguments = ("--port", "0", "--grpc-port", "0", "--no-auth", "--tls-cert", str(cert), "--tls-key", str(key))
    with served(*arguments, verify=False) as (process, url):
        assert url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(cert))
        assert httpx.get(f"{url}/v1/predictions/m/1", verify=trusted).status_code == 200
        with grpc_client(grpc_target(process), grpc.ssl_channel_credentials(cert.read_bytes())) as client:
            assert client.call("ServerLive").live
    for wrong, words in (
        (("--tls-cert", str(cert)), "--tls-cert and --tls-key"),
        (("--tls-cert", str(key), "--tls-key", str(cert)), "The certificate cannot be used"),
        (("--tls-cert", "none.pem", "--tls-key", str(key)), "The file none.pem does not exist"),
    ):
        outcome = sandbox.cli("serve", "--port", "0", "--no-auth", *wrong)
        assert (outcome.code, words in outcome.err) == (2, True), outcome.err


def test_behind_a_trusted_proxy_the_log_names_the_client(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    for proxies, client in (("127.0.0.1", "192.0.2.7"), ("192.0.2.1", "127.0.0.1")):
        with served("--port", "0", "--no-auth", "--proxies", proxies, log=True) as (process, url):
            httpx.get(f"{url}/v1/models", headers={"X-Forwarded-For": "192.0.2.7"})
            with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 0), 20) as connection:
                connection.sendall(b"not HTTP\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
            process.terminate()
            assert process.stdout is not None
            lines = [json.loads(line) for line in process.stdout]
        assert [line["client"] for line in lines if line["route"] == "list_models"] == [client]
        # What is not HTTP names no client of its own.
        assert [line["client"] for line in lines if line["status"] == 400] == ["127.0.0.1"]


def test_pages_answer_head_without_a_body(client: httpx.Client) -> None:
    for path in ("/health/live", "/v1/models", "/metrics", "/"):
        response = client.head(path)
        assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("sent", ["/pre", ""], ids=["kept", "removed"])
def test_behind_a_path_prefix_examples_and_document_contain_it(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    """The proxy may pass the prefix on or remove it."""
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    with served("--port", "0", "--no-auth", "--root-path", "/pre/") as (_, url):
        assert httpx.get(f"{url}{sent}/v1/predictions/m/1").json()["prediction"] == {"score": 0.5}
        assert httpx.get(f"{url}{sent}/openapi.json").json()["servers"] == [{"url": "/pre"}]
        assert f"{url}/pre/v1/predictions/churn/42" in httpx.get(f"{url}{sent}/docs").text
        assert httpx.get(f"{url}/prefix/v1/models").status_code == 404


def test_a_proxy_can_report_its_path_prefix(client: httpx.Client) -> None:
    headers = {"X-Forwarded-Prefix": "/a/b-1/"}
    assert client.get("/openapi.json", headers=headers).json()["servers"] == [{"url": "/a/b-1"}]
    assert f"{client.base_url}/a/b-1/v1/predictions/churn/42" in client.get("/docs", headers=headers).text
    headers["X-Forwarded-Host"] = "api.example.org"
    assert "http://api.example.org/a/b-1/v1/predictions/churn/42" in client.get("/docs", headers=headers).text
    for prefix in ("", "/", "//evil.example.org", "/a?b", '/"><script>', "https://evil.example.org"):
        assert "servers" not in client.get("/openapi.json", headers={"X-Forwarded-Prefix": prefix}).json()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--root-path", "pre", "is not a root path"),
        ("--root-path", "/v1", "is not a root path"),
        ("--root-path", "/docs/x", "is not a root path"),
        ("--cors-origin", "app.example.org", "is not an origin"),
        ("--cors-origin", "https://app.example.org/", "is not an origin"),
        ("--cors-origin", "https://a.example.org,https://b.example.org", "is not an origin"),
    ],
)
def test_options_that_would_never_work_are_refused(sandbox: Sandbox, option: str, value: str, message: str) -> None:
    outcome = sandbox.cli("serve", "--port", "0", option, value)
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err


def test_options_reach_the_server(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    options = ("--cors-origin", "https://a.example.org", "--cors-origin", "https://b.example.org", "--keep-alive", "1")
    with served("--port", "0", "--no-auth", *options) as (_, url):
        for origin in ("https://a.example.org", "https://b.example.org"):
            response = httpx.get(f"{url}/health/live", headers={"Origin": origin})
            assert response.headers["access-control-allow-origin"] == origin
        with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 0), 20) as connection:
            assert connection.recv(1) == b""


def test_the_folder_of_a_killed_process_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, those of a server's metrics. Folders in use stay, and so do those that are not ours."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hold = (
        "from prescore_api.tables.scratch_folder import scratch_folder\n"
        "with scratch_folder('prescore-metrics-') as folder: print(folder, flush=True); input()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", hold]
    holders = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    left, used = [Path((holder.stdout or sys.stdin).readline().strip()) for holder in holders]
    (left / "counter_7.db").write_text("x")
    other = tmp_path / "prescore-other"
    other.mkdir()
    holders[0].kill()
    holders[0].communicate()
    for folder in (left, used, other):
        os.utime(folder, (0, 0))
    young = tmp_path / "prescore-metrics-young"
    young.mkdir()
    with scratch_folder("prescore-metrics-") as folder:
        assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (folder, used, other, young)}
    assert not folder.exists()
    holders[1].communicate("\n", timeout=20)
    assert not used.exists()


def test_workers_share_a_folder_that_ends_with_the_server(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", shelf.database.url)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with served("--port", "0", "--no-auth", "--workers", "2") as (process, _):
        (folder,) = tmp_path.glob("prescore-metrics-*")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert not folder.exists()
