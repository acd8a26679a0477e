"""Airflow with CeleryExecutor, a real Redis and two workers, all as processes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from acceptance.fix_standalone import DAG, Airflow, free_port, until
from fix_postgres import at, recreate
from fix_project import Sandbox
from prescore.project.project import Project
from prescore_dags.configuration import environment
from prescore_dags.processes import end

ROOT = Path(__file__).parents[2]
WORKERS = ("first", "second")
_REDIS = "redis-server"


@dataclass
class Celery(Airflow):
    """A running Airflow whose tasks run on two workers."""

    workers: dict[str, subprocess.Popen[bytes]]
    logs: Path
    redis: subprocess.Popen[bytes]
    start_redis: Callable[[], subprocess.Popen[bytes]]
    scheduler: subprocess.Popen[bytes]
    start_scheduler: Callable[[], subprocess.Popen[bytes]]

    def received_tasks(self, worker: str) -> int:
        """Return the number of tasks that a worker has received."""
        return (self.logs / f"{worker}.log").read_text().count("received")

    def signal_workers(self, number: int) -> None:
        """Send a signal to the processes of all workers that still run."""
        for worker in self.workers.values():
            if worker.poll() is None:
                os.killpg(worker.pid, number)

    def crash_redis(self) -> None:
        """Send SIGKILL to Redis and start it again."""
        self.redis.kill()
        self.redis.wait()
        self.redis = self.start_redis()

    def _end_state(self, run: str) -> str | None:
        # Airflow's scheduler ends when Redis refuses a connection. Docker starts it again in docker-compose.yml.
        if self.scheduler.poll() is not None:
            self.scheduler = self.start_scheduler()
        return super()._end_state(run)

    def kill(self, worker: str) -> None:
        """Send SIGKILL to a worker and all of its processes."""
        os.killpg(self.workers[worker].pid, signal.SIGKILL)
        self.workers[worker].wait(30)


@pytest.fixture(scope="session")
def celery(airflow_project: Sandbox, server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celery]:
    """Redis, Airflow's parts and its workers, running and with the DAGs loaded."""
    if shutil.which(_REDIS) is None:
        pytest.skip(f"{_REDIS} is not installed: install Debian's package of that name")
    home, port, redis = tmp_path_factory.mktemp("celery"), free_port(), free_port()
    recreate(server, "prescore_airflow_metadata")
    variables = environment(Project.find(airflow_project.root), home, airflow_project.database.url, port)
    variables |= _celery_variables(at(server, "prescore_airflow_metadata"), redis)
    binary = Path(sys.executable).with_name("airflow")
    with ExitStack() as running:

        def start(name: str, *command: str) -> subprocess.Popen[bytes]:
            return running.enter_context(_running(home / f"{name}.log", list(command), variables))

        def start_redis() -> subprocess.Popen[bytes]:
            return start("redis", _REDIS, str(settings), "--port", str(redis), "--bind", "127.0.0.1")

        def start_scheduler() -> subprocess.Popen[bytes]:
            return start("scheduler", str(binary), "scheduler")

        settings = home / "redis.conf"
        settings.write_text(_redis_settings(home))
        redis_process = start_redis()
        subprocess.run([binary, "db", "migrate"], env=os.environ | variables, check=True, capture_output=True)
        for part in ("api-server", "dag-processor"):
            start(part, str(binary), part)
        scheduler = start_scheduler()
        workers = {
            name: start(name, str(binary), "celery", "worker", "--celery-hostname", name, "--concurrency", "2")
            for name in WORKERS
        }
        passwords = home / "simple_auth_manager_passwords.json.generated"
        address = variables["AIRFLOW__API__BASE_URL"]
        until(lambda: passwords.exists() and _responds(address), "Airflow responds")
        password = json.loads(passwords.read_text())["admin"]
        airflow = Celery(
            address,
            password,
            airflow_project,
            workers["first"],  # type: ignore[arg-type]
            workers,
            home,
            redis_process,
            start_redis,
            scheduler,
            start_scheduler,
        )
        until(lambda: airflow.client.get(f"/dags/{DAG}").status_code == 200, "the DAG is loaded")
        until(lambda: all("ready." in (home / f"{name}.log").read_text() for name in WORKERS), "the workers are ready")
        yield airflow
        airflow.client.close()


def _redis_settings(folder: Path) -> str:
    """Return the settings of Redis in docker-compose.yml, without its password and with another folder."""
    service = (ROOT / "docker-compose.yml").read_text().partition("<<END\n")[2].partition("END\n")[0]
    lines = [line.strip() for line in service.splitlines()]
    return "".join(f"{line}\n" for line in lines if not line.startswith(("requirepass", "dir "))) + f"dir {folder}\n"


def _celery_variables(metadata: str, redis: int) -> dict[str, str]:
    """Return variables for CeleryExecutor; a task without a heartbeat for 15 seconds counts as lost."""
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{redis}/0",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"redis://127.0.0.1:{redis}/1",
        "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of this test alone, as long as it has to be",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata.replace("postgresql://", "postgresql+psycopg://", 1),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": metadata.replace("postgresql://", "postgresql+psycopg://", 1),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "0",
        # Airflow does not queue a task again whose message was lost.
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "86400",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    }


@contextmanager
def _running(log: Path, command: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def _responds(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{address}/api/v2/monitor/health", timeout=5).status_code == 200
    return False
