"""A small project for tests: a linear model on a Parquet file, with methods to change it and to run commands."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper

from prescore.catalog.database import Database
from prescore.cli import main
from prescore.errors import Busy
from prescore.project.project import Project
from prescore.run import chunk_scoring, materialize
from prescore.run.job import Job
from prescore.versions.options import DEFAULTS, RunOptions

SPEC = """
description = "Chance that a customer leaves."
[domain]
query = "sql/domains/churn.sql"
[key]
customer = "bigint"
[onnx]
file = "models/churn.onnx"
[onnx.inputs]
features = ["visits", "spend"]
[outputs]
score = { from = "score", type = "real", comment = "from 0 to 1" }
[[checks]]
name = "scores are probabilities"
expect = "column_values_to_be_between"
column = "score"
min_value = 0
max_value = 1
[freshness]
max_age = "26h"
[retention]
versions = 3
"""
QUERY = "select customer, visits, spend from read_parquet('data/customers.parquet')"


def linear(weights: list[float], bias: float = 0.0, *, add: float = 0.0) -> bytes:
    """Return an ONNX model with score = sigmoid(features @ weights + bias) + add.

    `features` is float32 of shape [N, len(weights)], `score` float32 of shape [N, 1].
    """
    n = len(weights)
    constants = {
        "w": np.array(weights, np.float32).reshape(n, 1),
        "b": np.array([bias], np.float32),
        "a": np.array([add], np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["features", "w", "b"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["p"]),
        helper.make_node("Add", ["p", "a"], ["score"]),
    ]
    return model(
        nodes, [("features", TensorProto.FLOAT, [None, n])], [("score", TensorProto.FLOAT, [None, 1])], constants
    )


Value = tuple[str, int, list[int | None]]


def model(
    nodes: list[Any], inputs: list[Value], outputs: list[Value], constants: dict[str, Any] | None = None
) -> bytes:
    """Return an ONNX model with these nodes. Inputs and outputs are (name, element type, shape)."""
    initializers = [numpy_helper.from_array(_single(value), name) for name, value in (constants or {}).items()]
    values = [[helper.make_tensor_value_info(*value) for value in listed] for listed in (inputs, outputs)]
    graph = helper.make_graph(nodes, "test", *values, initializer=initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)])
    proto.ir_version = 8
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def customers(rows: int = 1000, seed: int = 0) -> pa.Table:
    """Return a table of customers with normally distributed features, so that no score is exactly 0 or 1."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "customer": pa.array(np.arange(rows, dtype=np.int64)),
            "visits": pa.array(random.normal(size=rows).astype(np.float32)),
            "spend": pa.array(random.normal(size=rows).astype(np.float32)),
        }
    )


def _single(value: Any) -> np.ndarray[Any, Any]:
    """Return numbers as a float32 array, the type in which these models compute; return arrays unchanged."""
    return value if isinstance(value, np.ndarray) else np.array(value, np.float32)


@dataclass
class Outcome:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


@dataclass
class Sandbox:
    """A project folder with the churn model, and a database for it alone."""

    root: Path
    database: Database
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def spec(self, text: str, name: str = "churn") -> None:
        """Write a spec."""
        self._write(f"specs/{name}.toml", text.encode())

    def edit(self, old: str, new: str, name: str = "churn") -> None:
        """Replace text in a spec; `old` must occur in it."""
        path = self.root / "specs" / f"{name}.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def query(self, text: str, name: str = "churn") -> None:
        """Write a domain query."""
        self._write(f"sql/domains/{name}.sql", text.encode())

    def onnx(self, content: bytes, name: str = "churn") -> None:
        """Write a model file."""
        self._write(f"models/{name}.onnx", content)

    def data(self, table: pa.Table, name: str = "customers") -> None:
        """Write a data file."""
        (self.root / "data").mkdir(exist_ok=True)
        pq.write_table(table, self.root / "data" / f"{name}.parquet")

    def settings(self, text: str) -> None:
        """Write prescore.toml."""
        self._write("prescore.toml", text.encode())

    def job(self, name: str = "churn") -> Job:
        """Return a job for a model of this project."""
        project = Project.find(self.root)
        return Job(project, project.spec(name), self.database)

    def cli(self, *arguments: str) -> Outcome:
        """Run `prescore` with arguments in this process."""
        self.monkeypatch.setattr(sys, "argv", ["prescore", *arguments])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main.main()
        captured = self.capsys.readouterr()
        code = exited.value.code
        return Outcome(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)

    def interrupted(self, step: str, options: RunOptions = DEFAULTS) -> None:
        """Start a run that is interrupted as it reaches a step: the name of its function."""

        def interrupt(*_: object, **__: object) -> None:
            raise Busy("the run was interrupted")

        with self.monkeypatch.context() as patched:
            module = chunk_scoring if step == "score_chunks" else materialize
            patched.setattr(module, step, interrupt)
            with pytest.raises(Busy):
                materialize.run(self.job(), options)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, as tuples."""
        with self.database.connect() as connection:
            return [tuple(row.values()) for row in connection.execute(statement.encode())]

    def _write(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def sandbox(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sandbox:
    """Return the churn project, ready to run: 1,000 customers in chunks of 100 rows."""
    return write_project(Sandbox(tmp_path, database, monkeypatch, capsys))


def write_project(project: Sandbox) -> Sandbox:
    """Write the files of the churn project, and name it and its database in the environment."""
    project.settings("chunk_rows = 100\n")
    project.spec(SPEC)
    project.query(QUERY)
    project.onnx(linear([1.0, -0.5]))
    project.data(customers())
    project.monkeypatch.setenv("PRESCORE_DATABASE_URL", project.database.url)
    project.monkeypatch.setenv("PRESCORE_PROJECT", str(project.root))
    return project
