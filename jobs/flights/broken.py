"""Write a broken model that prescore refuses: `python jobs/flights/broken.py nan|constant --out FILE`.

Inputs and outputs have the same names and types as the good model's. Only the predictions differ.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
from onnx import helper, numpy_helper

# When this file runs as a script, Python only searches jobs/flights/.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import prescore
from flights.data import ROOT, write_whole

LONG_MILES = 2000.0
# Roughly the share of flights that were late, so that every single prediction looks reasonable.
CONSTANT_PROBABILITY = 0.25


def constant(name: str, value: Any) -> onnx.TensorProto:
    """Return a named tensor to store inside the model."""
    return numpy_helper.from_array(np.asarray(value), name)


def make_nan_model(good: onnx.ModelProto) -> onnx.ModelProto:
    """Return the good model, except that flights of more than 2,000 miles get NaN.

    A square root of a negative number has the same effect.
    """
    broken = onnx.ModelProto()
    broken.CopyFrom(good)
    for node in broken.graph.node:
        node.output[:] = ["good_probabilities" if name == "probabilities" else name for name in node.output]
    broken.graph.initializer.extend(
        [constant("long_miles", np.float32(LONG_MILES)), constant("not_a_number", np.float32("nan"))]
    )
    broken.graph.node.extend(
        [
            helper.make_node("Greater", ["distance", "long_miles"], ["is_long"]),
            helper.make_node("Where", ["is_long", "not_a_number", "good_probabilities"], ["probabilities"]),
        ]
    )
    return broken


def make_constant_model(good: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the good model's inputs and outputs that makes the same prediction for every flight.

    A model that was saved before it was trained behaves like this.
    """
    constants = [
        constant("column", [1]),
        constant("constant_label", np.array([0], np.int64)),
        constant("constant_probabilities", np.array([[1 - CONSTANT_PROBABILITY, CONSTANT_PROBABILITY]], np.float32)),
    ]
    nodes = [
        helper.make_node("Shape", ["distance"], ["row_count_by_one"]),
        helper.make_node("Squeeze", ["distance", "column"], ["rows"]),
        helper.make_node("Shape", ["rows"], ["row_count"]),
        helper.make_node("Expand", ["constant_probabilities", "row_count_by_one"], ["probabilities"]),
        helper.make_node("Expand", ["constant_label", "row_count"], ["label"]),
    ]
    graph = helper.make_graph(nodes, good.graph.name, good.graph.input, good.graph.output, constants)
    return helper.make_model(graph, opset_imports=good.opset_import, ir_version=good.ir_version)


KINDS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "nan": make_nan_model,
    "constant": make_constant_model,
}


def break_model(kind: str, good: Path, out: Path) -> None:
    """Write a broken copy of the good model to `out`, with examples that it reproduces. It is still valid ONNX."""
    broken = KINDS[kind](onnx.load(good))
    onnx.checker.check_model(broken, full_check=True)
    rows = pd.read_parquet(good.with_suffix(".examples.parquet")).drop(columns=["late", "late_probability"])
    content = broken.SerializeToString()
    write_whole(out, lambda path: path.write_bytes(content))
    prescore.examples(lambda rows: predict(content, rows), rows, file=out.with_suffix(".examples.parquet"))


def predict(model: bytes, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the predictions of a model, which become its examples: as if training itself had gone wrong."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    columns = {name: rows[[name]].to_numpy() for name in rows.columns}
    labels, probabilities = session.run(["label", "probabilities"], columns)
    return {"late": labels, "late_probability": probabilities[:, 1]}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write a model that predicts NaN for some rows, or a constant.")
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--good", type=Path, default=ROOT / "models/flight_delay.onnx", help="the model to copy")
    options = parser.parse_args()
    if not options.good.exists():
        parser.error(f"{options.good} does not exist. Run `python jobs/flights/train.py` first.")
    break_model(options.kind, options.good, options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
