"""The figures of docs/benchmarks.md: `python benchmarks/materialize.py FIGURE`, or `all` of them.

Everything happens in a temporary project with its own Postgres. Both are removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# When a script is run, Python searches only the script's own folder for modules.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import faults, incremental, memory, naive, scheduled, speed, swap, verification, world
from benchmarks.meter import Row
from benchmarks.models import KINDS


def main() -> None:
    """Measure the requested figures; print tables, and write every measurement to a file with --out."""
    arguments = _arguments()
    for figure in FIGURES if arguments.figure == "all" else (arguments.figure,):
        rows, table = FIGURES[figure](arguments)
        print(f"\n{figure}\n\n{table}", flush=True)
        if arguments.out is not None:
            _append(arguments.out / f"{figure}.jsonl", rows)


def _speed(arguments: argparse.Namespace) -> tuple[list[Row], str]:
    size = (arguments.rows or [5_000_000])[0]
    rows: list[Row] = []
    for kind in arguments.model:
        with _world(arguments) as where:
            rows += speed.measure(where, kind, size, arguments.repeat, arguments.depth)
    return rows, speed.tables(rows)


def _memory(arguments: argparse.Namespace) -> tuple[list[Row], str]:
    rows: list[Row] = []
    for kind in arguments.model:
        with _world(arguments) as where:
            rows += memory.measure(where, kind, arguments.rows or [1_000_000, 5_000_000, 20_000_000])
    return rows, memory.tables(rows)


def _naive(arguments: argparse.Namespace) -> tuple[list[Row], str]:
    rows: list[Row] = []
    for kind in arguments.model:
        with _world(arguments) as where:
            for size in arguments.rows or [200_000, 1_000_000]:
                rows += naive.measure(where, kind, size, arguments.repeat)
    return rows, naive.tables(rows)


def _swap(arguments: argparse.Namespace) -> tuple[list[Row], str]:
    with _world(arguments) as where:
        rows = swap.measure(where, arguments.rows or [1_000_000, 5_000_000, 20_000_000], 20)
    return rows, swap.tables(rows)


def _faults(arguments: argparse.Namespace) -> tuple[list[Row], str]:
    rows: list[Row] = []
    for kind in arguments.model:
        with _world(arguments) as where:
            rows += faults.measure(where, kind, (arguments.rows or [5_000_000])[0], arguments.repeat)
    return rows, faults.tables(rows)


def _airflow(arguments: argparse.Namespace) -> tuple[list[Row], str]:
    with _world(arguments) as where:
        size = (arguments.rows or [5_000_000])[0]
        rows = scheduled.measure(where, arguments.model, size, arguments.repeat, arguments.depth)
    return rows, scheduled.tables(rows)


def _verification(arguments: argparse.Namespace) -> tuple[list[Row], str]:
    rows: list[Row] = []
    for kind in arguments.model:
        with _world(arguments) as where:
            rows += verification.measure(where, kind, (arguments.rows or [5_000_000])[0], arguments.repeat)
    return rows, verification.tables(rows)


def _incremental(arguments: argparse.Namespace) -> tuple[list[Row], str]:
    rows: list[Row] = []
    for kind in arguments.model:
        with _world(arguments) as where:
            rows += incremental.measure(
                where, kind, (arguments.rows or [5_000_000])[0], arguments.repeat, arguments.checks
            )
    return rows, incremental.tables(rows)


FIGURES: dict[str, Callable[[argparse.Namespace], tuple[list[Row], str]]] = {
    "speed": _speed,
    "memory": _memory,
    "naive": _naive,
    "swap": _swap,
    "faults": _faults,
    "airflow": _airflow,
    "verification": _verification,
    "incremental": _incremental,
}


@contextmanager
def _world(arguments: argparse.Namespace) -> Iterator[world.World]:
    settings = {"workers": arguments.workers, "chunk_rows": arguments.chunk_rows}
    with world.opened({name: value for name, value in settings.items() if value}) as where:
        yield where


def _append(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=[*FIGURES, "all"])
    parser.add_argument("--rows", type=int, nargs="+", help="rows of the domain; memory, naive and swap take several")
    parser.add_argument("--model", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--depth", type=int, default=6, help="depth of the 100 trees (default: 6)")
    parser.add_argument("--repeat", type=int, default=3, help="undisturbed repetitions (default: 3)")
    parser.add_argument(
        "--checks", choices=incremental.CHECKS, default="all", help="the checks of incremental runs (default: all)"
    )
    parser.add_argument("--workers", type=int, default=0, help="workers in prescore.toml; 0 for the default")
    parser.add_argument("--chunk-rows", type=int, default=0, help="chunk_rows in prescore.toml; 0 for the default")
    parser.add_argument("--out", type=Path, help="folder to write every measurement to, as JSON lines")
    return parser.parse_args()


if __name__ == "__main__":
    main()
