"""The stack of docker-compose.yml, started from a clean checkout, with helpers to inspect and disturb it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from acceptance.nightly import cron_far_from_now

ROOT = Path(__file__).resolve().parents[2]
DAG = "/api/v2/dags/prescore_flight_delay"
# Many small chunks, scored one after the other, so that a worker can be killed between two of them.
PROJECT = "chunk_rows = 2000\nworkers = 1\n"
OVERRIDE = """
services:
  worker:
    volumes: ["./small.toml:/srv/prescore/prescore.toml:ro"]
"""
NIGHTLY = 'cron = "0 5 * * *"'
HANG_SECONDS = 1800.0
"""Tests wait for states. On a busy machine, a state may take minutes; one that takes this long never comes."""
PORTS = ("API_PORT", "AIRFLOW_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
T = TypeVar("T")


def until(condition: Callable[[], T], description: str) -> T:
    """Call `condition` until its result is true, and return that; fail with `description` if it hangs."""
    deadline = time.monotonic() + HANG_SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited in vain until {description}; the last result was {result!r}"
        time.sleep(0.3)
    return result


def missing_engine() -> str | None:
    """Return why this machine cannot run the stack, None if it can."""
    if shutil.which("docker") is None:
        return "the docker command is not installed"
    engine = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if engine.returncode:
        return f"no Docker engine is running: {engine.stderr.strip()}"
    return None if _compose() else "neither `docker compose` nor docker-compose is installed"


def _compose() -> list[str]:
    v2 = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if v2.returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


@dataclass
class Stack:
    """A separate checkout with its own secrets, compose project name and ports."""

    folder: Path
    name: str

    @classmethod
    def checkout(cls, folder: Path) -> Stack:
        """Copy the files that git tracks into a folder, and nothing else."""
        output = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
        for file in (Path(name) for name in output.split("\0") if name):
            (folder / file.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        return cls(folder, f"prescore{os.getpid()}")

    def configure(self) -> None:
        """Write secrets as the documentation does, free ports, and a project with small chunks."""
        lines = subprocess.check_output(["sh", "docker/secrets.sh"], cwd=self.folder, text=True).splitlines()
        ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        for index, line in enumerate(lines):
            name = line.partition("=")[0]
            if name in ports:
                lines[index] = f"{name}={ports[name]}"
        (self.folder / ".env").write_text("\n".join(lines))
        (self.folder / "small.toml").write_text(PROJECT)
        (self.folder / "docker-compose.override.yml").write_text(OVERRIDE)
        spec = self.folder / "specs/flight_delay.toml"
        text = spec.read_text()
        assert NIGHTLY in text
        spec.write_text(text.replace(NIGHTLY, f'cron = "{cron_far_from_now("America/New_York")}"'))

    @property
    def settings(self) -> dict[str, str]:
        """The variables in .env."""
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def compose(self, *arguments: str, expected: int = 0) -> str:
        """Run a compose command and return its output; fail unless it succeeds, or fails if `expected` is not 0."""
        process = subprocess.run(
            [*_compose(), "--project-name", self.name, *arguments],
            cwd=self.folder,
            timeout=HANG_SECONDS,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert (process.returncode == 0) == (expected == 0), f"compose {' '.join(arguments)}:\n{process.stdout[-4000:]}"
        return process.stdout

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        project_filter = f"label=com.docker.compose.project={self.name}"
        service_filter = f"label=com.docker.compose.service={service}"
        return docker("ps", "--quiet", "--filter", project_filter, "--filter", service_filter).split()

    def sql(self, statement: str, database: str = "predictions") -> str:
        """Run a statement with psql inside the Postgres container; return the rows without headers."""
        return self.compose("exec", "-T", "postgres", *_psql(database), "--command", statement).strip()

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Lock a table against writes by others, which block in the middle of their work."""
        container = self.containers("postgres")[0]
        command = ["docker", "exec", "--interactive", container, *_psql("predictions"), "--quiet"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
            assert session.stdin is not None
            assert session.stdout is not None
            session.stdin.write(f"begin; lock table {table} in share mode; select 'locked';\n")
            session.stdin.flush()
            assert session.stdout.readline() == "locked\n"
            yield
            session.stdin.close()

    def client(self, port: str) -> httpx.Client:
        """Return a client of the service on a port named in .env."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.settings[port]}", timeout=30)

    @contextmanager
    def airflow(self) -> Iterator[httpx.Client]:
        """Yield a client of Airflow's REST API, logged in as admin."""
        with self.client("AIRFLOW_PORT") as client:
            user = {"username": "admin", "password": self.settings["AIRFLOW_ADMIN_PASSWORD"]}
            token = client.post("/auth/token", json=user).raise_for_status().json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield client


def docker(*arguments: str) -> str:
    """Run a docker command and return its output."""
    return subprocess.check_output(["docker", *arguments], text=True, timeout=HANG_SECONDS)


def inspect(container: str) -> dict[str, Any]:
    """Return Docker's description of a container."""
    description: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return description


def _psql(database: str) -> list[str]:
    return [
        "psql",
        "--username=postgres",
        f"--dbname={database}",
        "--no-align",
        "--tuples-only",
        "-v",
        "ON_ERROR_STOP=1",
    ]


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
