"""The command `prescore` for tests that run it many times."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import fork_server


@pytest.fixture(scope="session")
def command() -> Iterator[Path]:
    """A command `prescore` whose processes have their imports from the start: see fork_server.py."""
    # Two threads of OpenMP that wait for each other are slow where other tests run, and a copy of a process has one.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "GX_ANALYTICS_ENABLED": "False"}
    # The path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="prescore-", dir="/tmp") as folder:
        address, path = Path(folder, "socket"), Path(folder, "prescore")
        start = [sys.executable, fork_server.__file__, str(address)]
        with subprocess.Popen(start, env=environment, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            fork_server.write_client(path, address)
            yield path
            server.terminate()


@pytest.fixture
def quick_command(command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `prescore` be that command for the processes that this test starts."""
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
