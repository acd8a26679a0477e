"""Publications and rollbacks under load: whether any request is lost or fails."""

from __future__ import annotations

import argparse
import threading
import time

from benchmarks import singles
from benchmarks.http_load import Server
from benchmarks.meter import Row
from benchmarks.world import World

from prescore.catalog.database import Database
from prescore.versions import hold, pointer
from prescore.versions.options import PublishOptions
from prescore.versions.rollback import rollback


def measure(where: World, rows: int, swaps: int) -> list[Row]:
    """Measure `swaps` swaps, spread over the load, of a model in Postgres and of one in memory."""
    for model in ("stored", "held"):
        where.prescore("run", model, "--full")
    return [_under_load(where, model, rows, swaps) for model in ("stored", "held")]


def _under_load(where: World, model: str, rows: int, swaps: int) -> Row:
    seconds = max(10, swaps // 4)
    done = threading.Event()
    with Server.prescore(where) as server:
        server.wait_until_in_memory("held")
        swapping = threading.Thread(target=_swap, args=(where, model, swaps, seconds / (swaps + 1), done))
        swapping.start()
        measured = singles.http(server, model, 16, argparse.Namespace(rows=rows, seconds=seconds + 2))
        swapping.join()
    if not done.is_set():
        raise SystemExit("Not every swap succeeded: see the error above.")
    return {
        "": model,
        "swaps": swaps,
        "requests": round(measured["rate"] * (seconds + 2)),
        "lost or wrong": measured["errors"],
        "p99, ms": f"{measured['p99']:.2f}",
    }


def _swap(where: World, model: str, swaps: int, pause: float, done: threading.Event) -> None:
    with Database(where.database).connect() as connection:
        for n in range(swaps):
            time.sleep(pause)
            if n % 2:
                pointer.publish(connection, model, 2, PublishOptions(allow_older=True))
            else:
                rollback(connection, model, 1)
                hold.release(connection, model)
    done.set()
