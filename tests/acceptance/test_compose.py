"""docker-compose.yml does what docs/compose.md says: `make test-compose`, 15 minutes on two cores.

The tests share one stack and depend on their order.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from acceptance.compose_stack import DAG, HANG_SECONDS, Stack, docker, inspect, missing_engine, until

FLIGHT = "/v1/predictions/flight_delay?carrier=UA&flight=1545&origin=EWR&date=2013-01-01"
FLIGHTS = 336_776
CONFIG = "/etc/prometheus/prometheus.yml"
RUNNING = ("api", "airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "worker", "redis")

LEDGER = """
select v.state, v.rows, v.snapshot_chunks, count(c.*), sum(c.rows)
from prescore.versions v left join prescore.chunks c using (model, version)
where version = {version} group by v.state, v.rows, v.snapshot_chunks
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    if reason := missing_engine():
        pytest.skip(reason)
    return Stack.checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def stack(checkout: Stack) -> Iterator[Stack]:
    """The stack with two workers, started with one command and removed afterwards with its volumes."""
    checkout.configure()
    try:
        checkout.compose("build")
        checkout.compose("up", "--detach", "--scale", "worker=2")
        yield checkout
    finally:
        print(checkout.compose("logs", "--no-color", "--tail", "60"))  # noqa: T201 # shown when a test fails
        checkout.compose("--profile", "monitoring", "down", "--volumes")


@pytest.fixture
def airflow(stack: Stack) -> Iterator[httpx.Client]:
    with stack.airflow() as client:
        yield client


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """An API key, created as in the documentation, while all workers are running."""
    output = stack.compose("exec", "-T", "worker", "prescore", "keys", "create", "me")
    match = re.search(r"psk_\S+", output)
    assert match, output
    return match[0]


@pytest.fixture
def api(stack: Stack, key: str) -> Iterator[httpx.Client]:
    with stack.client("API_PORT") as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


@pytest.fixture
def prometheus(stack: Stack) -> Iterator[httpx.Client]:
    stack.compose("--profile", "monitoring", "up", "--detach", "prometheus")
    with stack.client("PROMETHEUS_PORT") as client:
        until(lambda: _is_ready(client), "Prometheus is ready")
        yield client


def _is_ready(client: httpx.Client) -> bool:
    """Return whether Prometheus responds; Docker accepts connections before the container does."""
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_nothing_starts_without_secrets(checkout: Stack) -> None:
    assert "set it in .env" in checkout.compose("up", "--detach", expected=1)


def test_everything_becomes_healthy(stack: Stack) -> None:
    for service in ("postgres", *RUNNING):
        assert len(stack.containers(service)) == (2 if service == "worker" else 1)
        for container in stack.containers(service):
            until(partial(_is_healthy, container), f"{service} is healthy")


def _is_healthy(container: str) -> bool:
    return bool(inspect(container)["State"]["Health"]["Status"] == "healthy")


def test_ports_are_open_only_to_this_machine(stack: Stack) -> None:
    hosts = []
    for service in ("postgres", *RUNNING):
        for bindings in inspect(stack.containers(service)[0])["NetworkSettings"]["Ports"].values():
            hosts += [binding["HostIp"] for binding in bindings or ()]
    assert hosts == ["127.0.0.1", "127.0.0.1"]


def test_our_images_run_as_unprivileged_users(stack: Stack) -> None:
    for service in RUNNING[:-1]:
        assert int(docker("exec", stack.containers(service)[0], "id", "--user")) >= 50000


def test_each_role_has_only_the_rights_that_it_needs(stack: Stack) -> None:
    superusers = stack.sql("select string_agg(rolname, ' ') from pg_roles where rolsuper and rolcanlogin")
    assert superusers == "postgres"
    assert (
        stack.sql("select count(*) from pg_stat_activity where usename = 'postgres' and client_addr is not null") == "0"
    )
    secrets = stack.settings
    for login, database, error in (
        (f"postgres:{secrets['POSTGRES_PASSWORD']}", "predictions", "password authentication failed"),
        (f"airflow:{secrets['AIRFLOW_DB_PASSWORD']}", "predictions", "permission denied for database"),
        (f"prescore_writer:{secrets['WRITER_PASSWORD']}", "airflow", "permission denied for database"),
        (f"prescore_reader:{secrets['READER_PASSWORD']}", "predictions", "permission denied for table models"),
    ):
        assert error in _attempt_delete(stack, f"postgresql://{login}@postgres/{database}")


def _attempt_delete(stack: Stack, url: str) -> str:
    """Try to delete from the catalog in the API's container, and return the error."""
    program = f"import psycopg; psycopg.connect({url!r}).execute('delete from prescore.models')"
    command = ["docker", "exec", stack.containers("api")[0], "python", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_SECONDS).stderr


def test_lookups_require_an_api_key(stack: Stack) -> None:
    with stack.client("API_PORT") as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/").headers["www-authenticate"]


def test_the_api_image_contains_no_airflow_pandas_or_onnxruntime(stack: Stack) -> None:
    program = "import importlib.util as u; print([n for n in ('airflow', 'pandas', 'onnxruntime') if u.find_spec(n)])"
    assert docker("exec", stack.containers("api")[0], "python", "-c", program) == "[]\n"


def test_two_workers_share_a_run(stack: Stack, airflow: httpx.Client, api: httpx.Client) -> None:
    until(lambda: airflow.get(DAG).status_code == 200, "the DAG is loaded")
    run = _trigger(airflow)
    until(lambda: _state(airflow, run) in ("success", "failed"), "the run ends")
    assert _state(airflow, run) == "success", _tasks(airflow, run)
    assert len({task["hostname"] for task in _tasks(airflow, run, "score")}) == 2
    _assert_complete(stack, version=1)
    response = api.get(FLIGHT).json()
    assert (response["version"], response["found"], response["stale"]) == (1, True, False)
    assert 0 < response["prediction"]["late_probability"] < 1


def test_a_worker_killed_during_scoring_loses_no_chunk(stack: Stack, airflow: httpx.Client, api: httpx.Client) -> None:
    run = _trigger(airflow)
    finished_chunks = "select count(*) from prescore.chunks where model = 'flight_delay' and version = 2"
    until(lambda: int(stack.sql(finished_chunks)) > 0, "the first chunk")
    with stack.locked("prescore.chunks"):
        scoring = until(lambda: _scoring(airflow, run), "a worker scores")
        killed = next(c for c in stack.containers("worker") if c.startswith(scoring[0]["hostname"]))
        docker("kill", killed)
        assert 0 < int(stack.sql(finished_chunks)) < _chunks(stack, 2)
    assert api.get(FLIGHT).json()["version"] == 1
    until(lambda: _state(airflow, run) in ("success", "failed"), "the run ends")
    assert _state(airflow, run) == "success", _tasks(airflow, run)
    retried = [task for task in _tasks(airflow, run, "score") if task["try_number"] > 1]
    assert {task["map_index"] for task in retried} >= {task["map_index"] for task in scoring[:1]}
    assert not any(killed.startswith(task["hostname"]) for task in retried)
    _assert_complete(stack, version=2)
    assert api.get(FLIGHT).json()["version"] == 2


def _trigger(airflow: httpx.Client) -> str:
    response = airflow.post(f"{DAG}/dagRuns", json={"logical_date": None}).raise_for_status()
    return str(response.json()["dag_run_id"])


def _state(airflow: httpx.Client, run: str) -> str:
    return str(airflow.get(f"{DAG}/dagRuns/{run}").raise_for_status().json()["state"])


def _tasks(airflow: httpx.Client, run: str, task: str | None = None) -> list[dict[str, Any]]:
    response = airflow.get(f"{DAG}/dagRuns/{run}/taskInstances", params={"limit": 100}).raise_for_status()
    instances: list[dict[str, Any]] = response.json()["task_instances"]
    return [instance for instance in instances if task in (None, instance["task_id"])]


def _scoring(airflow: httpx.Client, run: str) -> list[dict[str, Any]]:
    return [task for task in _tasks(airflow, run, "score") if task["state"] == "running" and task["hostname"]]


def _chunks(stack: Stack, version: int) -> int:
    statement = "select snapshot_chunks from prescore.versions where model = 'flight_delay' and version = "
    return int(stack.sql(f"{statement}{version}"))


def _assert_complete(stack: Stack, version: int) -> None:
    """Assert that the version is published, with each chunk once in the ledger and each flight once in the table."""
    chunks = _chunks(stack, version)
    assert chunks > 100
    assert stack.sql(LEDGER.format(version=version)) == f"published|{FLIGHTS}|{chunks}|{chunks}|{FLIGHTS}"
    rows = stack.sql("select version, count(*), count(distinct (carrier, flight, origin, date)) from"
                     " predictions.flight_delay group by version")  # fmt: skip
    assert rows == f"{version}|{FLIGHTS}|{FLIGHTS}"


def test_airflow_shows_the_logs_of_tasks(airflow: httpx.Client) -> None:
    run = airflow.get(f"{DAG}/dagRuns", params={"order_by": "-run_after"}).json()["dag_runs"][0]["dag_run_id"]
    log = airflow.get(f"{DAG}/dagRuns/{run}/taskInstances/publish/logs/1").raise_for_status().text
    assert "publish" in log
    assert "Could not read" not in log


def test_no_secret_is_in_the_logs(stack: Stack) -> None:
    logs = stack.compose("logs", "--no-color")
    secrets = {
        name: value for name, value in stack.settings.items() if not name.endswith(("_PORT", "_TASKS", "_IMAGE"))
    }
    assert len(secrets) == 11
    assert [name for name, value in secrets.items() if value in logs] == []


def test_starting_the_stack_again_changes_nothing(stack: Stack, api: httpx.Client) -> None:
    stack.compose("up", "--detach", "--scale", "worker=2")
    assert api.get(FLIGHT).json()["version"] == 2


def test_prometheus_scrapes_the_api_and_loads_the_alerts(stack: Stack, prometheus: httpx.Client) -> None:
    until(lambda: _query(prometheus, 'up{job="prescore"} == 1'), "the API is scraped")
    rules = prometheus.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert {rule["name"] for rule in rules} == {
        "LookupsDown",
        "LookupsWithoutDatabase",
        "LookupsFail",
        "LookupsSlow",
        "ModelTooLarge",
        "PredictionsStale",
        "PredictionsNearlyStale",
        "PredictionsHeld",
    }
    until(lambda: all(_rule(prometheus, n)["health"] == "ok" for n in range(len(rules))), "rules are evaluated")
    until(lambda: not prometheus.get("/api/v1/alerts").json()["data"]["alerts"], "no alert is left")
    panels = json.loads((stack.folder / "docker/grafana/dashboards/prescore.json").read_text())["panels"]
    for expression in (target["expr"] for panel in panels for target in panel["targets"]):
        # This stack keeps no model in memory.
        if "in_memory" not in expression:
            # Rates need several scrapes.
            until(partial(_query, prometheus, expression), f"{expression} has a value")
    output = docker("exec", stack.containers("prometheus")[0], "promtool", "check", "config", CONFIG)
    assert "SUCCESS" in output


def test_a_hold_raises_a_pending_alert(stack: Stack, prometheus: httpx.Client) -> None:
    """The alert is pending until the hold has lasted for a day."""
    command = ("prescore", "hold", "flight_delay", "--reason", "a test")
    stack.compose("exec", "-T", "--index=1", "worker", *command)
    alerts = until(lambda: prometheus.get("/api/v1/alerts").json()["data"]["alerts"], "an alert")
    assert [(a["labels"]["alertname"], a["labels"]["model"]) for a in alerts] == [("PredictionsHeld", "flight_delay")]


def _query(prometheus: httpx.Client, expression: str) -> list[Any]:
    response = prometheus.get("/api/v1/query", params={"query": expression}).json()
    assert response["status"] == "success", response
    result: list[Any] = response["data"]["result"]
    return result


def _rule(prometheus: httpx.Client, n: int) -> dict[str, Any]:
    rule: dict[str, Any] = prometheus.get("/api/v1/rules").json()["data"]["groups"][0]["rules"][n]
    return rule


def test_grafana_has_the_dashboard(stack: Stack) -> None:
    image = "grafana/grafana:12.1.1"
    assert f"image: {image}" in Path(stack.folder / "docker-compose.yml").read_text()
    is_present = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0
    if (
        not is_present
        and subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{image} is not on this machine and cannot be pulled")
    stack.compose("--profile", "monitoring", "up", "--detach")
    with stack.client("GRAFANA_PORT") as grafana:
        until(lambda: grafana.get("/api/health").json()["database"] == "ok", "Grafana is healthy")
        assert grafana.get("/api/dashboards/uid/prescore").status_code == 401
        login = ("admin", stack.settings["GRAFANA_ADMIN_PASSWORD"])
        assert grafana.get("/api/dashboards/uid/prescore", auth=login).json()["dashboard"]["title"] == "prescore"
        source = grafana.get("/api/datasources/uid/prometheus/health", auth=login).json()
        assert source["status"] == "OK"
