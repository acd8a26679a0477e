"""Two models broken on purpose, to see them refused: `python jobs/flights/broken.py nan|constant --out FILE`.

Both have the good model's inputs and outputs, names and types alike: nothing but their answers tells them apart.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Run as a script, Python looks in jobs/flights/ only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from flights.data import ROOT, write_whole

LONG_MILES = 2000.0
# About how often flights were late: a constant that looks reasonable, row by row.
ALWAYS = 0.25


def constant(name: str, value: Any) -> onnx.TensorProto:
    """A named tensor inside the model."""
    return numpy_helper.from_array(np.asarray(value), name)


def answer_nan(good: onnx.ModelProto) -> onnx.ModelProto:
    """The good model, but NaN for flights of more than 2,000 miles, as if a square root had met a negative number."""
    broken = onnx.ModelProto()
    broken.CopyFrom(good)
    for node in broken.graph.node:
        node.output[:] = ["sound" if name == "probabilities" else name for name in node.output]
    broken.graph.initializer.extend(
        [constant("long_miles", np.float32(LONG_MILES)), constant("not_a_number", np.float32("nan"))]
    )
    broken.graph.node.extend(
        [
            helper.make_node("Greater", ["distance", "long_miles"], ["is_long"]),
            helper.make_node("Where", ["is_long", "not_a_number", "sound"], ["probabilities"]),
        ]
    )
    return broken


def answer_constant(good: onnx.ModelProto) -> onnx.ModelProto:
    """The good model's shell around one answer for everybody, as if the model had been saved before it was trained."""
    answers = [
        constant("column", [1]),
        constant("always_label", np.array([0], np.int64)),
        constant("always", np.array([[1 - ALWAYS, ALWAYS]], np.float32)),
    ]
    nodes = [
        helper.make_node("Shape", ["distance"], ["row_count_by_one"]),
        helper.make_node("Squeeze", ["distance", "column"], ["rows"]),
        helper.make_node("Shape", ["rows"], ["row_count"]),
        helper.make_node("Expand", ["always", "row_count_by_one"], ["probabilities"]),
        helper.make_node("Expand", ["always_label", "row_count"], ["label"]),
    ]
    graph = helper.make_graph(nodes, good.graph.name, good.graph.input, good.graph.output, answers)
    return helper.make_model(graph, opset_imports=good.opset_import, ir_version=good.ir_version)


KINDS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {"nan": answer_nan, "constant": answer_constant}


def break_model(kind: str, good: Path, out: Path) -> None:
    """Write the good model's broken double, valid ONNX all the same."""
    broken = KINDS[kind](onnx.load(good))
    onnx.checker.check_model(broken, full_check=True)
    write_whole(out, lambda path: path.write_bytes(broken.SerializeToString()))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a model that answers NaN for some rows, or a constant.")
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--good", type=Path, default=ROOT / "models/flight_delay.onnx", help="the model to imitate")
    options = parser.parse_args()
    if not options.good.exists():
        parser.error(f"there is no {options.good} to imitate: run `python jobs/flights/train.py` first.")
    break_model(options.kind, options.good, options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
