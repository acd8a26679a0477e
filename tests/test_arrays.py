"""Array outputs from the model file to every reader: stored exactly, checked element by element, looked up as lists."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from fix_postgres import create_vector_extension
from fix_project import Sandbox, model

SPEC = """
[domain]
query = "sql/domains/items.sql"
[key]
item = "bigint"
[onnx]
file = "models/items.onnx"
[onnx.inputs]
x = ["a", "b", "c"]
[outputs]
{outputs}
"""
FLOATS = 'embedding = {{ from = "embedding", type = "{type}"{more} }}'


def embedding_model(width: int | None = 3) -> bytes:
    """Return a model whose outputs are x + 0 (`embedding`), its order (`top`), and that as text (`names`)."""
    nodes = [
        helper.make_node("Identity", ["x"], ["embedding"]),
        helper.make_node("TopK", ["x", "k"], ["values", "top"]),
        helper.make_node("Cast", ["top"], ["names"], to=TensorProto.STRING),
        helper.make_node("ReduceMax", ["x", "axis"], ["score"], keepdims=1),
    ]
    outputs = [
        ("embedding", TensorProto.FLOAT, [None, width]),
        ("top", TensorProto.INT64, [None, 2]),
        ("names", TensorProto.STRING, [None, 2]),
        ("score", TensorProto.FLOAT, [None, 1]),
    ]
    constants = {"k": np.array([2], np.int64), "axis": np.array([1], np.int64)}
    return model(nodes, [("x", TensorProto.FLOAT, [None, width])], outputs, constants)


def items(rows: int = 250) -> pa.Table:
    """Return a table of items whose features are multiples of 1/8, so that they are exact in every float type."""
    columns = {name: pa.array((np.arange(rows) % 64 - i) / 8, pa.float32()) for i, name in enumerate("abc")}
    return pa.table({"item": pa.array(np.arange(rows), pa.int64()), **columns})


def write(sandbox: Sandbox, outputs: str, content: bytes | None = None, table: pa.Table | None = None) -> None:
    """Write the model `items` into a project."""
    sandbox.spec(SPEC.format(outputs=outputs), "items")
    sandbox.query("select * from read_parquet('data/items.parquet')", "items")
    sandbox.data(items() if table is None else table, "items")
    sandbox.onnx(content or embedding_model(), "items")


def install_vector(sandbox: Sandbox) -> None:
    """Install pgvector in the project's database; skip the test where the server does not have it."""
    with sandbox.database.connect() as connection:
        create_vector_extension(connection)


@pytest.mark.parametrize("type_name", ["real[]", "double precision[]", "vector"])
def test_a_row_of_a_tensor_is_stored_as_an_array(sandbox: Sandbox, type_name: str) -> None:
    if type_name == "vector":
        install_vector(sandbox)
    write(sandbox, FLOATS.format(type=type_name, more=""))
    done = sandbox.cli("run", "items", "--json")
    assert done.code == 0, done.err
    assert sandbox.rows("select pg_typeof(embedding)::text from predictions.items limit 1") == [(type_name,)]
    assert sandbox.rows("select embedding::real[]::text from predictions.items where item = 5") == [
        ("{0.625,0.5,0.375}",)
    ]
    mismatches = (
        "select count(*) from predictions.items where embedding::real[] <> array[{0}, {0} - 0.125, {0} - 0.25]::real[]"
    )
    assert sandbox.rows(mismatches.format("(item % 64) / 8::real")) == [(0,)]
    lookup = sandbox.cli("lookup", "items", "5", "--json")
    assert json.loads(lookup.out)["prediction"] == {"embedding": [0.625, 0.5, 0.375]}
