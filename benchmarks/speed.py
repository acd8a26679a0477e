"""How fast a run is, beside the work that is in it and beside what ONNX Runtime alone reaches."""

from __future__ import annotations

from statistics import median

from benchmarks import models, world
from benchmarks.alone import Alone, flow, onnxruntime
from benchmarks.meter import CORES, Row, calm
from benchmarks.tables import markdown, spread
from benchmarks.world import FEATURES, World


def measure(where: World, kind: str, rows: int, repeat: int, depth: int) -> list[Row]:
    """As many calm repetitions as asked for, after one that is not counted."""
    models.train(where.root / "models", kind, len(FEATURES), depth)
    where.model(kind, kind, world.plain(where, rows))
    # A server's first run makes files that later ones find.
    _once(where, kind)
    return calm(lambda: _once(where, kind), repeat)


def _once(where: World, kind: str) -> Row:
    """The command, the steps together, the steps one by one, ONNX Runtime: one after the other, to be compared."""
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
        "core_seconds": {step: work.cores for step, work in alone.works.items()},
        "onnxruntime": model.wall,
        # The processor's time is told in hundredths of a second: too coarse for a model that takes less than one.
        "disturbance": max(w.disturbance for w in (run.work, steps, alone.total, model) if w.wall > 1),
    }


def tables(rows: list[Row]) -> str:
    """Medians and spreads: rates, then what they are made of."""
    kinds = [[row for row in rows if row["kind"] == kind] for kind in dict.fromkeys(row["kind"] for row in rows)]
    made = [_rates, _ratios, _seconds, _core_seconds]
    return "\n\n".join(markdown([table(same) for same in kinds]) for table in made)


def _rates(rows: list[Row]) -> Row:
    walls = {"steps": "steps", "the command, check step not counted": "command_unchecked", "the command": "command"}
    return {"M rows/s": rows[0]["kind"]} | {
        name: spread([row["rows"] / row[wall] / 1e6 for row in rows], 3) for name, wall in walls.items()
    }


def _ratios(rows: list[Row]) -> Row:
    return {
        "model": rows[0]["kind"],
        "work: core-seconds / cores": spread([row["work"] for row in rows], 2),
        "steps / work": spread([row["steps"] / row["work"] for row in rows], 2),
        "command / work": spread([row["command_unchecked"] / row["work"] for row in rows], 2),
        "ONNX Runtime alone, M rows/s": spread([row["rows"] / row["onnxruntime"] / 1e6 for row in rows], 2),
        "steps' share of it": spread([row["onnxruntime"] / row["steps"] for row in rows], 2),
        "at most": f"{median(row['onnxruntime'] / row['work'] for row in rows):.2f}",
        "others": f"{max(row['disturbance'] for row in rows):.1%}",
    }


def _seconds(rows: list[Row]) -> Row:
    seconds = {step: median(row["seconds"][step] for row in rows) for step in rows[0]["seconds"]}
    outside = median(row["command"] - row["seconds"]["total"] for row in rows)
    return {"seconds of the command": rows[0]["kind"]} | {
        name: f"{value:.2f}" for name, value in ({"start and end": outside} | seconds).items()
    }


def _core_seconds(rows: list[Row]) -> Row:
    return {"core-seconds alone": rows[0]["kind"]} | {
        step: f"{median(row['core_seconds'][step] for row in rows):.2f}" for step in rows[0]["core_seconds"]
    }
