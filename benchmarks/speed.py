"""The speed of a run, compared with the work it contains and with ONNX Runtime alone."""

from __future__ import annotations

from statistics import median

from benchmarks import models, world
from benchmarks.alone import Alone, flow, onnxruntime
from benchmarks.meter import CORES, Row, Work, calm
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World


def measure(where: World, kind: str, rows: int, repeat: int, depth: int) -> list[Row]:
    """Measure `repeat` undisturbed repetitions, after one that is not counted."""
    models.train(where.root / "models", kind, len(FEATURES), depth)
    where.model(kind, kind, world.plain(where, rows))
    # The first run on a server creates files that later runs reuse.
    _once(where, kind)
    return calm(lambda: _once(where, kind), repeat)


def _once(where: World, kind: str) -> Row:
    """Measure, one after the other: the command, the steps together, each step alone, and ONNX Runtime."""
    run = where.run(kind)
    steps = flow(where, kind)
    alone = Alone(where, kind)
    model = onnxruntime((where.root / "models" / f"{kind}.onnx").read_bytes(), alone.matrices)
    return {
        "kind": kind,
        "rows": run.rows,
        "command": run.work.wall,
        "command_unchecked": run.unchecked,
        "seconds": run.report["seconds"],
        "steps": steps.wall,
        "work": alone.total.cores / CORES,
        "core_seconds": {step: work.cores for step, work in alone.work_by_step.items()},
        "onnxruntime": model.wall,
        "disturbance": _disturbance(run.work, steps, alone.total, model),
    }


def _disturbance(*works: Work) -> float:
    # The kernel counts processor time in hundredths of a second, which is too coarse for less than a second of work.
    return max(work.disturbance for work in works if work.wall > 1)


def tables(rows: list[Row]) -> str:
    """Return the tables of medians and spreads: rates, ratios, seconds by step, core-seconds by step."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    by_kind = [[row for row in rows if row["kind"] == kind] for kind in kinds]
    lines = (_rates, _ratios, _seconds, _core_seconds)
    return "\n\n".join(markdown([line(measured) for measured in by_kind]) for line in lines)


def _rates(rows: list[Row]) -> Row:
    walls = {
        "the steps": "steps",
        "the command, without its check step": "command_unchecked",
        "the command": "command",
    }
    line = {"M rows/s": rows[0]["kind"]}
    for name, wall in walls.items():
        line[name] = spread([row["rows"] / row[wall] / 1e6 for row in rows], 3)
    return line


def _ratios(rows: list[Row]) -> Row:
    return {
        "model": rows[0]["kind"],
        "the work: core-seconds / cores": spread([row["work"] for row in rows], 2),
        "steps / work": spread([row["steps"] / row["work"] for row in rows], 2),
        "command / work": spread([row["command_unchecked"] / row["work"] for row in rows], 2),
        "ONNX Runtime alone, M rows/s": spread([row["rows"] / row["onnxruntime"] / 1e6 for row in rows], 2),
        "the steps' share of it": spread([row["onnxruntime"] / row["steps"] for row in rows], 2),
        "at most": f"{median(row['onnxruntime'] / row['work'] for row in rows):.2f}",
        "others": f"{max(row['disturbance'] for row in rows):.1%}",
    }


def _seconds(rows: list[Row]) -> Row:
    outside = median(row["command"] - row["seconds"]["total"] for row in rows)
    line = {
        "seconds of the command": rows[0]["kind"],
        "start and end": f"{outside:.2f}",
    }
    for step in rows[0]["seconds"]:
        line[step] = f"{median(row['seconds'][step] for row in rows):.2f}"
    return line


def _core_seconds(rows: list[Row]) -> Row:
    line = {"core-seconds": rows[0]["kind"]}
    for step in rows[0]["core_seconds"]:
        line[step] = f"{median(row['core_seconds'][step] for row in rows):.2f}"
    return line
