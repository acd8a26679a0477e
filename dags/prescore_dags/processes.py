"""Airflow's parts as processes of their own: started, watched, and ended together with all that they started."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from prescore.errors import Transient

# --skip-serve-logs: the API server reads the log files, and serving them would open a port to the network.
PARTS = {
    "api-server": [],
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}
_HEALTH_PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
_STOP_TIMEOUT_SECONDS = 20.0
# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
Parts = dict[str, subprocess.Popen[bytes]]


def start(variables: dict[str, str], log: IO[bytes], *command: str) -> subprocess.Popen[bytes]:
    """Start a command of Airflow in a session of its own, with its output in the log."""
    airflow = str(Path(sys.executable).with_name("airflow"))
    return subprocess.Popen(  # noqa: S603 # no part of the command comes from outside
        [airflow, *command],
        env=variables,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """Let the kernel send SIGTERM to a part of Airflow when this process ends, even by SIGKILL. Only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def migrate(variables: dict[str, str], log: IO[bytes]) -> None:
    """Migrate Airflow's metadata database; raise Transient if that fails."""
    migration = start(variables, log, "db", "migrate")
    try:
        if migration.wait() != 0:
            raise Transient(f"Airflow could not migrate its metadata database. See {log.name} for the reason.")
    finally:
        end(migration)


def ended(parts: Parts) -> str:
    """Return the names of the parts whose processes have ended, "" if none has."""
    return ", ".join(name for name, process in parts.items() if process.poll() is not None)


def unhealthy(port: int) -> str:
    """Return the names of the parts that the API server does not report as healthy, "" if there are none."""
    health = _get_json(f"http://127.0.0.1:{port}/api/v2/monitor/health") or {}
    unhealthy = []
    for part in _HEALTH_PARTS:
        status = health.get(part, {}).get("status")
        if status != "healthy":
            unhealthy.append(part)
    return ", ".join(unhealthy)


def _get_json(url: str) -> Any:
    """Return the JSON content at an HTTP URL, or None when there is no answer."""
    with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 # an http URL
        return json.load(response)
    return None


def end(*processes: subprocess.Popen[bytes]) -> None:
    """Stop processes that each lead a session of their own, together with everything that they started."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
