"""docker-compose.yml brought up from a clean checkout, and hands to reach into it."""

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

ROOT = Path(__file__).resolve().parents[2]
DAG = "/api/v2/dags/prescore_flight_delay"
# Many small chunks, one after the other: a worker can then be killed between two of them.
PROJECT = "chunk_rows = 2000\nworkers = 1\n"
OVERRIDE = """
services:
  worker:
    volumes: ["./small.toml:/srv/prescore/prescore.toml:ro"]
"""
PORTS = ("API_PORT", "AIRFLOW_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
T = TypeVar("T")


def until(what: Callable[[], T], seconds: float, doing: str) -> T:
    """Ask until the answer is true; fail after so many seconds, with what was waited for."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, f"{doing}: not within {seconds:.0f} s; the last answer was {answer!r}"
        time.sleep(0.3)
    return answer


def absent() -> str | None:
    """Why this machine cannot run the file, if so."""
    if shutil.which("docker") is None:
        return "there is no docker command here"
    engine = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if engine.returncode:
        return f"there is no Docker engine here: {engine.stderr.strip()}"
    return None if _compose() else "there is neither `docker compose` nor docker-compose here"


def _compose() -> list[str]:
    v2 = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if v2.returncode == 0 else ["docker-compose"] if shutil.which("docker-compose") else []


@dataclass
class Stack:
    """A checkout of its own with secrets of its own, under a project name and ports of its own."""

    folder: Path
    name: str

    @classmethod
    def checkout(cls, folder: Path) -> Stack:
        """What git has of this tree, and nothing else of it."""
        listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
        for file in (Path(name) for name in listed.split("\0") if name):
            (folder / file.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        return cls(folder, f"prescore{os.getpid()}")

    def configure(self) -> None:
        """Secrets as the documentation makes them, free ports, small chunks."""
        made = subprocess.check_output(["sh", "docker/secrets.sh"], cwd=self.folder, text=True)
        for port, number in zip(PORTS, _free_ports(len(PORTS)), strict=True):
            made = "\n".join(f"{port}={number}" if line.startswith(f"{port}=") else line for line in made.splitlines())
        (self.folder / ".env").write_text(made)
        (self.folder / "small.toml").write_text(PROJECT)
        (self.folder / "docker-compose.override.yml").write_text(OVERRIDE)

    @property
    def settings(self) -> dict[str, str]:
        """What .env says."""
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def compose(self, *arguments: str, seconds: float = 60, expected: int = 0) -> str:
        """A compose command's output; it must end as expected."""
        done = subprocess.run(
            [*_compose(), "--project-name", self.name, *arguments],
            cwd=self.folder, timeout=seconds, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert (done.returncode == 0) == (expected == 0), f"compose {' '.join(arguments)}:\n{done.stdout[-4000:]}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Ids of a service's containers that run."""
        labels = (f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}")
        return docker("ps", "--quiet", *(part for label in labels for part in ("--filter", f"label={label}"))).split()

    def sql(self, statement: str, database: str = "predictions") -> str:
        """What psql answers inside the Postgres container, columns and rows bare."""
        return self.compose("exec", "-T", "postgres", *_psql(database), "--command", statement).strip()

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Nobody else writes to a table meanwhile: what wants to, stands still in the middle of its work."""
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
        """A client of what listens on a port of .env's."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.settings[port]}", timeout=30)

    @contextmanager
    def airflow(self) -> Iterator[httpx.Client]:
        """A client of Airflow's, logged in as admin."""
        with self.client("AIRFLOW_PORT") as client:
            user = {"username": "admin", "password": self.settings["AIRFLOW_ADMIN_PASSWORD"]}
            token = client.post("/auth/token", json=user).raise_for_status().json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield client


def docker(*arguments: str) -> str:
    """A docker command's output."""
    return subprocess.check_output(["docker", *arguments], text=True, timeout=120)


def inspected(container: str) -> dict[str, Any]:
    """All that Docker knows of a container."""
    told: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return told


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


def _free_ports(n: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
