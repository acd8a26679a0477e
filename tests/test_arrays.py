"""Array outputs from the model file to the table: stored exactly, checked element by element, read as lists."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from psycopg import sql

import prescore
from fix_api import OPEN, serving, until_in_memory
from fix_postgres import create_vector_extension
from fix_project import Sandbox, Value, model
from prescore.errors import ModelFailed, ModelInvalid, SpecInvalid
from prescore.project import spec as specs
from prescore.project import spec_file
from prescore.scoring.spec_scorer import SpecScorer
from prescore.store.model_file import ModelFile
from prescore_api.http.app import build

SPEC = """
[domain]
query = "sql/domains/churn.sql"
[key]
customer = "bigint"
[onnx]
file = "models/churn.onnx"
nullable = ["a"]
[onnx.inputs]
x = ["a", "b", "c"]
[outputs]
"""
EMBEDDING = 'embedding = { from = "embedding", type = "real[]" }'
TITLES = ["plain", 'a "quoted", one', "{braces}", "back\\slash", "ü NULL", "", "two\nlines"]


def array_model(embedding: list[Any] | None = None, shape: list[int | None] | None = None) -> bytes:
    """Return a model of three features with several outputs.

    `embedding` is x itself, or what the nodes `embedding` make of it. `best` are the numbers of the two largest
    features, `titles` texts for these numbers, and `total` is a vector of shape [N].
    """
    nodes = embedding or [helper.make_node("Identity", ["x"], ["embedding"])]
    nodes += [
        helper.make_node("TopK", ["x", "two"], ["values", "best"]),
        helper.make_node("LabelEncoder", ["best"], ["titles"], domain="ai.onnx.ml", keys_int64s=list(range(7)),
                         values_strings=TITLES),
        helper.make_node("ReduceSum", ["x", "one"], ["total"], keepdims=0),
    ]  # fmt: skip
    outputs: list[Value] = [
        ("embedding", TensorProto.FLOAT, shape or [None, 3]),
        ("best", TensorProto.INT64, [None, 2]),
        ("titles", TensorProto.STRING, [None, 2]),
        ("total", TensorProto.FLOAT, [None]),
    ]
    whole = np.array([1], np.int64)
    return model(nodes, [("x", TensorProto.FLOAT, [None, 3])], outputs, {"two": whole + 1, "one": whole})


def features(rows: int = 250) -> pa.Table:
    """Return customers whose features are multiples of 1/8, which every float type represents exactly."""
    columns = {name: pa.array((np.arange(rows) % 64 - i) / 8, pa.float32()) for i, name in enumerate("abc")}
    return pa.table({"customer": pa.array(np.arange(rows), pa.int64()), **columns})


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """The churn project with an array output, `embedding`."""
    sandbox.spec(SPEC + EMBEDDING)
    sandbox.query("select * from read_parquet('data/customers.parquet') order by customer")
    sandbox.data(features())
    sandbox.onnx(array_model())
    return sandbox


def install_vector(sandbox: Sandbox) -> None:
    """Install pgvector in the project's database; skip the test where the server does not have it."""
    with sandbox.database.connect() as connection:
        create_vector_extension(connection)


def run(sandbox: Sandbox) -> None:
    """Run and publish the model."""
    done = sandbox.cli("run", "churn")
    assert done.code == 0, done.err


def look_up(sandbox: Sandbox, key: int) -> dict[str, Any]:
    """Return the prediction for a key, as the command prints it in JSON."""
    answer = sandbox.cli("lookup", "churn", str(key), "--json")
    assert answer.code == 0, answer.err
    prediction: dict[str, Any] = json.loads(answer.out)["prediction"]
    return prediction


@pytest.mark.parametrize("type_name", ["real[]", "double precision[]", "vector"])
def test_a_row_of_the_models_output_is_stored_as_an_array(project: Sandbox, type_name: str) -> None:
    if type_name == "vector":
        install_vector(project)
    project.edit("real[]", type_name)
    run(project)
    assert project.rows("select pg_typeof(embedding)::text from predictions.churn limit 1") == [(type_name,)]
    expected = "array[customer % 64, customer % 64 - 1, customer % 64 - 2]::real[]"
    times_eight = "(select array_agg((e * 8)::real order by i) from unnest(embedding::real[]) with ordinality u (e, i))"
    assert project.rows(f"select count(*) from predictions.churn where {times_eight} = {expected}") == [(250,)]
    assert look_up(project, 5) == {"embedding": [0.625, 0.5, 0.375]}


def test_integers_and_text_are_stored_as_arrays(project: Sandbox) -> None:
    outputs = (
        'best = { from = "best", type = "bigint[]" }\ntitles = { from = "titles", type = "text[]", comment = "t" }'
    )
    project.edit(EMBEDDING, outputs)
    shuffled = {"a": 1.0, "b": 3.0, "c": 2.0}
    columns = {name: pa.array([value, -value], pa.float32()) for name, value in shuffled.items()}
    project.data(pa.table({"customer": pa.array([0, 1], pa.int64()), **columns}))
    run(project)
    types = "select pg_typeof(best)::text as b, pg_typeof(titles)::text as t from predictions.churn limit 1"
    assert project.rows(types) == [("bigint[]", "text[]")]
    assert look_up(project, 0) == {"best": [1, 2], "titles": [TITLES[1], TITLES[2]]}
    assert look_up(project, 1) == {"best": [0, 2], "titles": [TITLES[0], TITLES[2]]}
    comment = "select col_description('predictions.churn'::regclass, attnum) from pg_attribute where attname = 'titles'"
    assert ("t",) in project.rows(comment)


def test_columns_selects_elements_in_its_order(project: Sandbox) -> None:
    project.edit(
        '"real[]" }', '"real[]", columns = [2, 0] }\nall = { from = "embedding", type = "real[]", columns = "all" }'
    )
    run(project)
    assert look_up(project, 8) == {"embedding": [0.75, 1.0], "all": [1.0, 0.875, 0.75]}


def _score(outputs: str, rows: pa.Table | None = None, content: bytes | None = None) -> pa.RecordBatch:
    spec = specs.Spec.model_validate({**tomllib.loads(SPEC + outputs), "model": "churn"})
    table = features(3) if rows is None else rows
    return SpecScorer(ModelFile(content or array_model()), spec).score(table.to_batches()[0])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ('from = "embedding", type = "real", columns = [0]', "real holds one column; choose it with index"),
        (
            'from = "embedding", type = "real[]", index = 1',
            r"takes columns instead of index; use columns = \[1\]",
        ),
        ('from = "embedding", type = "real[]", columns = []', r'must be "all", a list of column numbers'),
        ('from = "embedding", type = "real[]", columns = [-1]', r'must be "all", a list of column numbers'),
        ('from = "embedding", type = "real[]", columns = "some"', r'must be "all", a list of column numbers'),
    ],
)
def test_a_spec_selects_columns_in_the_way_of_its_type(project: Sandbox, output: str, message: str) -> None:
    project.edit(EMBEDDING, f"embedding = {{ {output} }}")
    with pytest.raises(SpecInvalid, match=f"outputs.embedding.*{message}"):
        spec_file.load(project.root / "specs/churn.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"bigint"', '"bigint[]"', "key.customer: must be 'smallint'"),
        ("[onnx]", '[passthrough]\nd = "real[]"\n[onnx]', "passthrough.d: must be 'smallint'"),
        ("[domain]", 'indexes = [["embedding"]]\n[domain]', "indexes: embedding is an array"),
    ],
)
def test_only_outputs_can_be_arrays_and_no_index_has_one(project: Sandbox, old: str, new: str, message: str) -> None:
    project.edit(old, new)
    with pytest.raises(SpecInvalid, match=message):
        spec_file.load(project.root / "specs/churn.toml")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            'from = "embedding", type = "real[]", columns = [0, 3]',
            "embedding has 3 columns, counted from 0, so there is no column 3",
        ),
        ('from = "total", type = "real[]"', r"total has the shape \(3,\), but an array"),
        ('from = "titles", type = "real[]"', r"cannot become real\[\]"),
        ('from = "embedding", type = "text[]"', r"cannot become text\[\]"),
    ],
)
def test_an_output_that_cannot_fill_an_array_is_reported_before_a_run(output: str, message: str) -> None:
    with pytest.raises(ModelInvalid, match=message):
        _score(f"embedding = {{ {output} }}")


def test_an_array_takes_no_class(project: Sandbox) -> None:
    project.edit('"real[]"', '"real[]", class = 1')
    with pytest.raises(SpecInvalid, match="takes columns instead of class"):
        spec_file.load(project.root / "specs/churn.toml")


def test_a_vector_has_at_most_16000_elements() -> None:
    wide = [helper.make_node("Tile", ["x", "times"], ["embedding"])]
    nodes = [*wide, helper.make_node("Identity", ["embedding"], ["same"])]
    content = model(
        nodes,
        [("x", TensorProto.FLOAT, [None, 3])],
        [("embedding", TensorProto.FLOAT, [None, 18000]), ("same", TensorProto.FLOAT, [None, None])],
        {"times": np.array([1, 6000], np.int64)},
    )
    for source in ("embedding", "same"):
        with pytest.raises(ModelInvalid, match="has 18,000 columns, but a vector has at most 16,000"):
            _score(f'embedding = {{ from = "{source}", type = "vector" }}', content=content)


def test_an_element_that_does_not_fit_fails_its_row() -> None:
    column = pa.array([1.0, 1e30, 2.0], pa.float32())
    too_large = pa.table({"customer": pa.array(range(3)), "a": column, "b": column, "c": column})
    with pytest.raises(ModelFailed, match=r"Output embedding: .*Give the output a wider type"):
        _score('embedding = { from = "embedding", type = "bigint[]" }', too_large)


def test_an_array_of_integers_cannot_hold_fractions() -> None:
    with pytest.raises(ModelInvalid, match=r"the spec stores whole numbers \(bigint\[\]\).* such as real\[\]"):
        _score('embedding = { from = "embedding", type = "bigint[]" }', features(3))


@pytest.mark.parametrize("type_name", ["real[]", "vector"])
def test_a_row_with_an_element_that_is_not_finite_is_rejected(project: Sandbox, type_name: str) -> None:
    if type_name == "vector":
        install_vector(project)
    project.edit("real[]", type_name)
    project.edit("[domain]", "max_rejects = 2\n[domain]")
    values = features().column("a").to_pylist()
    values[7], values[120] = None, float("inf")
    project.data(features().set_column(1, "a", pa.array(values, pa.float32())))
    run(project)
    rejects = "select (key->>'customer')::int, column_name, reason from prescore.rejects order by 1"
    reason = "An element of prediction embedding is null, NaN or infinite"
    assert project.rows(rejects) == [(7, "embedding", reason), (120, "embedding", reason)]
    assert project.rows("select count(*) from predictions.churn") == [(248,)]
    assert look_up(project, 121)["embedding"] == [57 / 8, 7.0, 55 / 8]


@pytest.mark.parametrize("element", ["'NaN'", "'-Infinity'", "null"])
def test_the_check_finite_looks_at_every_element(project: Sandbox, element: str) -> None:
    project.interrupted("check_table")
    with project.database.connect() as connection:
        connection.execute(
            f"update prescore_versions.churn_v1 set embedding[3] = {element} where customer = 9".encode()
        )
    refused = project.cli("run", "churn")
    assert refused.code == 4
    assert "finite: observed 1 row with a null, NaN or infinite prediction" in refused.err


def test_the_check_finite_finds_a_missing_text(project: Sandbox) -> None:
    project.edit(EMBEDDING, 'titles = { from = "titles", type = "text[]" }')
    project.interrupted("check_table")
    with project.database.connect() as connection:
        connection.execute(b"update prescore_versions.churn_v1 set titles[1] = null where customer = 9")
    assert "finite: observed 1 row" in project.cli("run", "churn").err


@pytest.mark.parametrize("type_name", ["real[]", "vector"])
def test_a_version_with_arrays_of_different_lengths_is_refused(project: Sandbox, type_name: str) -> None:
    if type_name == "vector":
        install_vector(project)
    # The number of columns is the largest value of the first feature in the chunk.
    nodes = [
        helper.make_node("ReduceMax", ["x", "first"], ["largest"], keepdims=0),
        helper.make_node("Slice", ["largest", "start", "one", "start"], ["width"]),
        helper.make_node("Cast", ["width"], ["end"], to=TensorProto.INT64),
        helper.make_node("Slice", ["x", "start", "end", "one"], ["embedding"]),
    ]
    constants = {name: np.array([value], np.int64) for name, value in (("first", 0), ("start", 0), ("one", 1))}
    content = model(
        nodes, [("x", TensorProto.FLOAT, [None, 3])], [("embedding", TensorProto.FLOAT, [None, None])], constants
    )
    project.onnx(content)
    project.edit("real[]", type_name)
    project.edit("nullable", "allow_batch_dependence = true\nnullable")
    widths = pa.array(np.repeat([2, 3], 125), pa.float32())
    project.settings("chunk_rows = 125\n")
    project.data(features().set_column(1, "a", widths))
    refused = project.cli("run", "churn")
    assert refused.code == 4, refused.err
    assert (
        "lengths: observed embedding has 2 to 3 elements; expected arrays of one length in each column" in refused.err
    )


def test_the_checks_of_a_spec_run_on_a_table_with_arrays(project: Sandbox) -> None:
    install_vector(project)
    project.edit(
        EMBEDDING,
        EMBEDDING
        + '\nv = { from = "embedding", type = "vector" }\n'
        + """
first = { from = "embedding", index = 0, type = "real" }
[[checks]]
expect = "column_values_to_be_between"
column = "first"
min_value = 0
max_value = 8
[[checks]]
expect = "column_values_to_not_be_null"
column = "embedding"
[[checks]]
expect = "column_to_exist"
column = "v"
""",
    )
    done = project.cli("run", "churn", "--json")
    assert done.code == 0, done.err
    results = {check["name"]: check for check in json.loads(done.out)["checks"]}
    assert results["lengths"]["observed"] == "embedding has 3 elements; v has 3 elements"
    assert all(check["passed"] for check in results.values())
    assert len(results) == 8


def test_a_check_of_an_arrays_values_is_reported_before_a_run(project: Sandbox) -> None:
    project.edit(
        EMBEDDING,
        EMBEDDING + '\n[[checks]]\nexpect = "column_values_to_be_between"\ncolumn = "embedding"\nmin_value = 0',
    )
    invalid = project.cli("run", "churn")
    assert invalid.code == 2
    assert "embedding is real[], whose elements no expectation looks at" in invalid.err
    assert project.rows("select count(*) from prescore.versions") == [(0,)]


def test_a_database_without_pgvector_is_reported_before_anything_is_scored(project: Sandbox) -> None:
    project.edit("real[]", "vector")
    invalid = project.cli("run", "churn")
    assert invalid.code == 2
    assert "outputs.embedding has the type vector, which the database does not have" in invalid.err
    assert "create extension vector" in invalid.err
    assert project.rows("select count(*) from prescore.versions") == [(0,)]


def test_pgvector_in_another_schema_is_reported_with_that_schema(project: Sandbox) -> None:
    with project.database.connect() as connection:
        connection.execute(b"create schema tools; set search_path = tools")
        create_vector_extension(connection)
    project.edit("real[]", "vector")
    assert "installed in the schema tools" in project.cli("run", "churn").err


def test_pgvector_can_be_in_any_schema_of_the_search_path(project: Sandbox) -> None:
    with project.database.connect() as connection:
        connection.execute(b'create schema "my tools"; set search_path = "my tools"')
        create_vector_extension(connection)
        name = sql.Identifier(connection.info.dbname)
        statement = sql.SQL('alter database {} set search_path = "$user", public, "my tools"')
        connection.execute(statement.format(name))
    check = '[[checks]]\nexpect = "column_values_to_not_be_null"\ncolumn = "embedding"'
    project.edit(EMBEDDING, EMBEDDING.replace("real[]", "vector") + "\n" + check)
    run(project)
    assert look_up(project, 8) == {"embedding": [1.0, 0.875, 0.75]}
    run(project)
    assert json.loads(project.cli("compare", "churn", "1", "2", "--json").out)["keys"]["changed"] == 0


def test_two_versions_with_arrays_can_be_compared(project: Sandbox) -> None:
    install_vector(project)
    project.edit(EMBEDDING, EMBEDDING + '\nv = { from = "embedding", type = "vector" }')
    run(project)
    values = features().column("c").to_pylist()
    values[3] = 9.0
    project.data(features().set_column(3, "c", pa.array(values, pa.float32())))
    run(project)
    compared = json.loads(project.cli("compare", "churn", "1", "2", "--json").out)
    assert compared["keys"] == {"added": 0, "vanished": 0, "common": 250, "changed": 1}
    elements = [(column["changed"], column["elements"]["largest_difference"]) for column in compared["columns"]]
    assert elements == [(1, pytest.approx(9 - (3 % 64 - 2) / 8))] * 2


def test_an_array_is_added_beside_a_number_and_does_not_replace_it(project: Sandbox) -> None:
    project.edit(EMBEDDING, 'first = { from = "embedding", index = 0, type = "real" }')
    run(project)
    project.edit("[outputs]", "[outputs]\n" + EMBEDDING)
    run(project)
    assert look_up(project, 8) == {"first": 1.0, "embedding": [1.0, 0.875, 0.75]}
    project.edit('index = 0, type = "real"', 'type = "real[]"')
    breaking = project.cli("run", "churn")
    assert breaking.code == 2
    assert "first changes from real to real[]" in breaking.err


def test_pgvector_finds_the_nearest_neighbors(project: Sandbox) -> None:
    install_vector(project)
    project.edit("real[]", "vector")
    run(project)
    nearest = "select customer from predictions.churn order by embedding <-> '[1,0.875,0.75]', customer limit 2"
    assert project.rows(nearest) == [(8,), (72,)]


@pytest.mark.parametrize("type_name", ["real[]", "vector"])
def test_a_version_with_arrays_is_read_as_a_data_frame(project: Sandbox, type_name: str) -> None:
    if type_name == "vector":
        install_vector(project)
    outputs = 'titles = { from = "titles", type = "text[]" }\nbest = { from = "best", type = "bigint[]" }'
    project.edit(EMBEDDING, EMBEDDING.replace("real[]", type_name) + "\n" + outputs)
    run(project)
    frame = prescore.Project(project.root, progress=False).read("churn").set_index("customer")
    row = frame.loc[8]
    assert row["embedding"].dtype == np.float32
    assert row["embedding"].tolist() == [1.0, 0.875, 0.75]
    assert (row["best"].tolist(), row["titles"].tolist()) == ([0, 1], TITLES[:2])


def test_a_scorer_returns_arrays_in_a_data_frame(project: Sandbox) -> None:
    scorer = prescore.Scorer.from_project("churn", project.root)
    predictions = scorer.score(features(9).to_pandas())
    assert predictions["embedding"][8].tolist() == [1.0, 0.875, 0.75]


def test_a_lookup_for_people_shows_the_first_elements(project: Sandbox) -> None:
    project.onnx(array_model([helper.make_node("Concat", ["x", "x", "x"], ["embedding"], axis=1)], [None, 9]))
    run(project)
    shown = project.cli("lookup", "churn", "8").out
    assert "embedding  [1, 0.875, 0.75, 1, 0.875, 0.75, …] (9 elements)" in shown
    project.edit('"real[]"', '"real[]", columns = [0, 1]')
    project.cli("run", "churn")
    assert "embedding  [1, 0.875]\n" in project.cli("lookup", "churn", "8").out


def _write_examples(project: Sandbox, embedding: Any, **more: Any) -> None:
    table = features(3).drop_columns("customer").append_column("embedding", embedding)
    for name, values in more.items():
        table = table.append_column(name, values)
    project.data(table, "examples")
    project.edit("nullable", 'examples = { file = "data/examples.parquet" }\nnullable')


@pytest.mark.parametrize("list_type", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float64(), 3)])
def test_a_model_must_reproduce_examples_of_arrays(project: Sandbox, list_type: pa.DataType) -> None:
    project.edit(EMBEDDING, EMBEDDING + '\ntitles = { from = "titles", type = "text[]" }')
    rows = [[0, -0.125, -0.25], [0.125, 0, -0.125 + 1e-9], [0.25, 0.125, 0]]
    _write_examples(project, pa.array(rows, list_type), titles=pa.array([TITLES[:2]] * 3))
    assert project.cli("validate", "churn").code == 0
    rows[1][2] = -0.5
    changed = features(3).drop_columns("customer").append_column("embedding", pa.array(rows, list_type))
    project.data(changed.append_column("titles", pa.array([TITLES[:2]] * 3)), "examples")
    refused = project.cli("validate", "churn")
    assert refused.code == 2
    assert "1 of 3 rows differs from" in refused.err
    assert "row 1: embedding is [0.125, 0.0, -0.125], expected [0.125, 0.0, -0.5]" in refused.err


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("columns = [2, 1, 0]", 'fit from = "embedding" without columns'),
        ("columns = [0, 1]", 'fit from = "embedding" without columns'),
        ("", 'fit from = "embedding", columns = [2, 1, 0]'),
    ],
)
def test_wrong_columns_of_an_array_are_refused_and_the_right_ones_are_named(
    project: Sandbox, wrong: str, hint: str
) -> None:
    rows = np.array([[0, -0.125, -0.25], [0.125, 0, -0.125], [50.0, 0.125, 0]])
    _write_examples(project, pa.array(list(rows if wrong else rows[:, ::-1]), pa.list_(pa.float64())))
    table = pa.parquet.read_table(project.root / "data/examples.parquet")
    project.data(table.set_column(0, "a", pa.array([0, 0.125, 50.0], pa.float32())), "examples")
    project.edit(EMBEDDING, EMBEDDING.replace(" }", f", {wrong} }}" if wrong else " }"))
    refused = project.cli("validate", "churn").err
    assert hint in refused
    if wrong != "columns = [0, 1]":
        assert refused.index("row 2:") < refused.index("row 0:"), "the worst row comes first"


def test_examples_of_arrays_have_a_tolerance_for_floats_alone(project: Sandbox) -> None:
    project.edit(EMBEDDING, EMBEDDING + '\nbest = { from = "best", type = "bigint[]" }')
    examples = 'examples = { file = "e.parquet", tolerance = { embedding = 0.01, best = 0.01 } }'
    project.edit("nullable", f"{examples}\nnullable")
    with pytest.raises(SpecInvalid, match=r"tolerance.best: best is .*, which must be exact") as raised:
        spec_file.load(project.root / "specs/churn.toml")
    assert "tolerance.embedding" not in str(raised.value)


def test_a_model_whose_arrays_depend_on_other_rows_is_refused(project: Sandbox) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "first"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["embedding"]),
    ]
    constants = {"first": np.array([0], np.int64)}
    content = model(
        nodes, [("x", TensorProto.FLOAT, [None, 3])], [("embedding", TensorProto.FLOAT, [None, 3])], constants
    )
    project.onnx(content)
    refused = project.cli("run", "churn")
    assert refused.code == 2
    assert "does not score each row by itself" in refused.err


def test_arrays_are_carried_over_changed_and_rebased(project: Sandbox) -> None:
    install_vector(project)
    arrays = (
        EMBEDDING
        + """
v = { from = "embedding", type = "vector" }
best = { from = "best", type = "bigint[]" }
titles = { from = "titles", type = "text[]" }
[incremental]
rebase = 0.1
"""
    )
    project.edit(EMBEDDING, arrays)
    run(project)
    night = features()
    changed = [8.0, *night.column("a").to_pylist()[1:]]
    # Customer 249 vanishes, and 0 changes.
    project.data(night.set_column(1, "a", pa.array(changed, pa.float32())).slice(0, 249))
    run(project)
    carried = look_up(project, 5)
    assert carried == {"embedding": [0.625, 0.5, 0.375], "v": [0.625, 0.5, 0.375], "best": [0, 1], "titles": TITLES[:2]}
    assert look_up(project, 0)["v"] == look_up(project, 0)["embedding"] == [8.0, -0.125, -0.25]
    assert project.rows("select changes from prescore.versions where version = 2")[0][0]["carried"] == 248
    _require_served(project, {5: carried, 0: look_up(project, 0)})
    compared = json.loads(project.cli("compare", "churn", "1", "2", "--json").out)
    assert compared["keys"]["vanished"] == 1
    assert {column["column"]: column["changed"] for column in compared["columns"]} == {
        "embedding": 1, "v": 1, "best": 0, "titles": 0,
    }  # fmt: skip
    assert project.cli("verify", "churn").code == 0
    # More than a tenth of the base, so a full copy follows.
    project.data(night.set_column(1, "a", pa.array([8.0] * 50 + changed[50:], pa.float32())))
    run(project)
    assert project.rows("select base_version, rows from prescore.versions order by version") == [
        (None, 250), (1, 249), (1, 250), (None, 250),
    ]  # fmt: skip
    assert look_up(project, 49)["v"] == [8.0, 6.0, 5.875]
    assert project.cli("verify", "churn").code == 0


def _require_served(project: Sandbox, predictions: dict[int, dict[str, Any]]) -> None:
    """Require that the API answers keys with predictions, from Postgres and from memory."""
    with serving(build(project.database, OPEN)) as client:
        for key, prediction in predictions.items():
            assert client.get(f"/v1/predictions/churn/{key}").json()["prediction"] == prediction
        with project.database.connect() as connection:
            connection.execute(b"update prescore.versions set in_memory = true")
        until_in_memory(client, "churn", 2)
        for key, prediction in predictions.items():
            assert client.get(f"/v1/predictions/churn/{key}").json()["prediction"] == prediction


PUBLISHED = """
max_rejects = 1
[domain]
query = "sql/domains/churn.sql"
[key]
customer = "bigint"
[outputs]
embedding = { type = "real[]" }
v = { from = "embedding", type = "vector" }
names = { from = "tags", type = "text[]" }
"""


def test_a_spec_without_a_model_publishes_lists_of_the_domain(project: Sandbox) -> None:
    install_vector(project)
    project.spec(PUBLISHED)
    project.query(
        "select i as customer, [i, case when i = 3 then 'nan'::float else 0.5 end]::float[2] as embedding,"
        " ['a', 'b ' || i] as tags from range(5) t(i)"
    )
    run(project)
    assert look_up(project, 4) == {"embedding": [4.0, 0.5], "v": [4.0, 0.5], "names": ["a", "b 4"]}
    assert project.cli("lookup", "churn", "3").code == 2


def test_a_domains_doubles_do_not_become_reals_unasked(project: Sandbox) -> None:
    install_vector(project)
    project.spec(PUBLISHED)
    project.query("select i as customer, [i, 0.5]::double[] as embedding, ['a'] as tags from range(5) t(i)")
    refused = project.cli("run", "churn")
    assert refused.code == 2
    assert "so digits would be lost" in refused.err


def test_a_list_without_a_value_is_rejected(project: Sandbox) -> None:
    install_vector(project)
    project.spec(PUBLISHED)
    project.query(
        "select i as customer, case when i = 2 then null else [i, 0.5]::float[] end as embedding, ['a'] as tags"
        " from range(5) t(i)"
    )
    run(project)
    assert project.rows("select count(*) from predictions.churn") == [(4,)]


@pytest.mark.parametrize("numbers", ["[i, case when i = 2 then null else 0.5 end]", "[i, 0.5]"])
def test_a_list_with_a_missing_element_is_rejected(project: Sandbox, numbers: str) -> None:
    install_vector(project)
    project.spec(PUBLISHED)
    tags = "['a', case when i = 2 then null else 'b' end]"
    project.query(f"select i as customer, {numbers}::float[] as embedding, {tags} as tags from range(5) t(i)")
    run(project)
    assert project.rows("select array_agg(customer order by customer) from predictions.churn") == [([0, 1, 3, 4],)]


def test_a_list_that_a_vector_cannot_hold_is_the_domains_fault(project: Sandbox) -> None:
    install_vector(project)
    project.spec(PUBLISHED)
    project.query("select 1 as customer, range(17000)::float[] as embedding, ['a'] as tags")
    failed = project.cli("run", "churn")
    assert failed.code == 2
    assert "vector cannot have more than 16000 dimensions" in failed.err
