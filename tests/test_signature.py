"""What a model takes and gives: inputs, outputs, classes, types and shapes, as real toolkits export them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

import prescore
from fix_project import Sandbox, Value, customers, model
from prescore.errors import ModelFailed, ModelInvalid
from prescore.project.spec import Spec
from prescore.run import materialize
from prescore.scoring.signature import Signature
from prescore.scoring.spec_scorer import SpecScorer
from prescore.store.model_file import ModelFile

FLOAT = TensorProto.FLOAT
MATRIX = ("features", FLOAT, [None, 2])
COLUMN = {"ax": np.array([1], np.int64)}
WEIGHTS = {"w": np.array([[0.5], [-0.25]], np.float32)}
GEMM = helper.make_node("Gemm", ["features", "w"], ["z"])
SIGMOID = helper.make_node("Sigmoid", ["z"], ["p"])


def _spec(onnx_section: dict[str, Any], outputs: dict[str, Any]) -> Spec:
    return Spec.model_validate(
        {
            "model": "churn",
            "domain": {"query": "q.sql"},
            "key": {"customer": "bigint"},
            "onnx": {"file": "churn.onnx", **onnx_section},
            "outputs": outputs,
        }
    )


def _scorer(content: bytes, inputs: Any, outputs: dict[str, Any]) -> SpecScorer:
    return SpecScorer(ModelFile(content), _spec({"inputs": inputs}, outputs))


def _classifier(labels: list[Any], **options: Any) -> tuple[LogisticRegression, bytes]:
    random = np.random.default_rng(4)
    features = random.normal(size=(600, 2)).astype(np.float32)
    codes = (features[:, 0] > 0).astype(int) + (features[:, 1] > 0.5) * (len(labels) > 2)
    fitted = LogisticRegression().fit(features, np.array(labels)[codes])
    inputs = [("features", FloatTensorType([None, 2]))]
    exported = to_onnx(fitted, initial_types=inputs, options=options, target_opset=18)
    return fitted, exported.SerializeToString()


def _rows(count: int = 50) -> pa.RecordBatch:
    return customers(count).select(["visits", "spend"]).to_batches()[0]


@pytest.mark.parametrize("labels", [["none", "gold"], ["none", "silver", "gold"], [7, 3], [False, True]], ids=str)
@pytest.mark.parametrize("options", [{}, {"zipmap": False}], ids=["maps", "tensors"])
def test_probabilities_are_chosen_by_class(labels: list[Any], options: dict[str, Any]) -> None:
    fitted, content = _classifier(labels, **options)
    source = next(node.name for node in onnx.load_from_string(content).graph.output if "prob" in node.name)
    outputs = {f"p{i}": {"from": source, "class": label, "type": "real"} for i, label in enumerate(labels)}
    are_texts = isinstance(labels[0], str)
    if are_texts:
        outputs["all"] = {"from": source, "columns": labels, "type": "real[]"}
    rows = _rows()
    predictions = _scorer(content, ["visits", "spend"], outputs).score(rows)
    expected = fitted.predict_proba(np.column_stack(rows.columns))
    if are_texts:
        order = [list(fitted.classes_).index(label) for label in labels]
        assert np.allclose(predictions.column("all").to_pylist(), expected[:, order], atol=1e-6)
    for i, label in enumerate(labels):
        column = list(fitted.classes_).index(label)
        assert np.allclose(predictions.column(f"p{i}"), expected[:, column], atol=1e-6)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            'from = "output_probability", class = "bronze"',
            "output_probability has no class 'bronze'; it has 'gold', 'none'",
        ),
        ('class = "gold"', "the model has several outputs: output_label, output_probability; choose one with from"),
        ('from = "scores"', "the model has no output scores; it has output_label, output_probability"),
        (
            'from = "output_label"',
            "output_label is tensor(string), which cannot become real; choose another type, such as text",
        ),
        (
            'from = "output_label", class = "gold"',
            (
                "output_label has one value for each row, and no column for each class; leave class out, or choose the "
                "output with a column for each class: from = 'output_probability'"
            ),
        ),
        ('from = "output_probability"', "has 2 columns. Choose one with class, one of 'gold', 'none', or with index"),
        (
            'from = "output_probability", columns = ["gold", "bronze"]',
            "outputs.score: output_probability has no class 'bronze'; it has 'gold', 'none'",
        ),
    ],
    ids=["class", "several", "unknown", "type", "label", "none", "classes"],
)
def test_an_output_that_the_model_does_not_have_is_reported(sandbox: Sandbox, output: str, message: str) -> None:
    _, content = _classifier(["none", "gold"])
    sandbox.onnx(content)
    sandbox.edit('from = "score"', output)
    if "columns" in output:
        sandbox.edit('"real"', '"real[]"')
        sandbox.edit('expect = "column_values_to_be_between"', 'expect = "column_values_to_be_unique"')
        sandbox.edit("min_value = 0\nmax_value = 1\n", "")
    result = sandbox.cli("validate", "churn")
    assert (result.code, message in result.err) == (2, True), result.err


def test_a_class_that_is_an_integer_has_no_limits_of_numbers(sandbox: Sandbox) -> None:
    _, content = _classifier([0, 1], zipmap=False)
    sandbox.onnx(content)
    sandbox.edit('from = "score", type = "real"', 'from = "label", type = "bigint"')
    sandbox.edit("[freshness]", "[comparison.columns.score]\nchanged.warn = 0.1\n[freshness]")
    assert sandbox.cli("validate", "churn").code == 0
    sandbox.edit("changed.warn = 0.1", "changed.warn = 0.1\npsi.warn = 0.1\ntolerance = 1")
    result = sandbox.cli("validate", "churn")
    assert result.code == 2
    assert (
        "comparison.columns.score: score is the class that the model chooses, which has no psi, tolerance."
        in result.err
    )


def test_names_that_can_only_mean_one_thing_are_left_out(sandbox: Sandbox) -> None:
    squeeze = helper.make_node("Squeeze", ["p", "ax"], ["score"])
    sandbox.onnx(model([GEMM, SIGMOID, squeeze], [MATRIX], [("score", FLOAT, [None])], WEIGHTS | COLUMN))
    sandbox.edit('[onnx.inputs]\nfeatures = ["visits", "spend"]', 'inputs = ["visits", "spend"]')
    sandbox.edit('from = "score", ', "")
    assert materialize.run(sandbox.job()).published


def test_inputs_by_name_take_the_columns_of_their_names(sandbox: Sandbox) -> None:
    sub = helper.make_node("Sub", ["visits", "spend"], ["z"])
    inputs = [("visits", FLOAT, [None, 1]), ("spend", FLOAT, [None, 1])]
    score = helper.make_node("Sigmoid", ["z"], ["score"])
    sandbox.onnx(model([sub, score], inputs, [("score", FLOAT, [None, 1])]))
    sandbox.edit('[onnx.inputs]\nfeatures = ["visits", "spend"]', 'inputs = "by name"')
    assert materialize.run(sandbox.job()).published
    (row,) = sandbox.rows("select score from predictions.churn where customer = 0")
    first = customers().to_pandas().iloc[0]
    assert row[0] == pytest.approx(1 / (1 + np.exp(first["spend"] - first["visits"])), rel=1e-5)


def test_the_catalog_records_the_signature_of_a_version(sandbox: Sandbox) -> None:
    """It is enough to score without the spec."""
    fitted, exported = _classifier(["a", "b", "c"], zipmap=False)
    sandbox.onnx(exported)
    outputs = 'score = { from = "probabilities", class = "b", type = "real" }\nall = { from = "probabilities"'
    outputs += ', columns = ["c", "a"], type = "real[]" }\nlabel = { from = "label", type = "text" }'
    sandbox.edit('score = { from = "score", type = "real", comment = "from 0 to 1" }', outputs)
    sandbox.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nnullable = ["spend"]')
    assert materialize.run(sandbox.job()).published
    ((content,),) = sandbox.rows("select signature from prescore.versions")
    assert content["inputs"] == [
        {"name": "features", "dtype": "float32", "shape": [None, 2], "features": ["visits", "spend"]}
    ]
    assert (content["nullable"], content["allow_precision_loss"]) == (["spend"], [])
    assert content["outputs"][0] == {
        "name": "score", "type": "real", "from": "probabilities", "dtype": "float32", "index": 1, "columns": None,
        "is_label": False, "classes": ["a", "b", "c"],
    }  # fmt: skip
    assert [output["is_label"] for output in content["outputs"]] == [False, False, True]
    signature = Signature.from_content(content)
    assert signature.to_content() == content
    assert signature == SpecScorer(ModelFile(exported), sandbox.job().spec).signature
    scores = prescore.Scorer(ModelFile(exported), signature).score(_rows())
    expected = fitted.predict_proba(np.column_stack(_rows().columns))
    assert np.allclose(scores.column("score"), expected[:, 1], atol=1e-6)
    assert np.allclose(np.stack(scores.column("all").to_numpy(zero_copy_only=False)), expected[:, [2, 0]], atol=1e-6)
    other = model([GEMM, SIGMOID], [MATRIX], [("p", FLOAT, [None, 1])], WEIGHTS)
    with pytest.raises(ModelInvalid, match="has no probabilities, label, which its signature names"):
        prescore.Scorer(ModelFile(other), signature)


def test_several_inputs_need_their_names(sandbox: Sandbox) -> None:
    sub = helper.make_node("Sub", ["a", "b"], ["score"])
    inputs = [("a", FLOAT, [None, 1]), ("b", FLOAT, [None, 1])]
    sandbox.onnx(model([sub], inputs, [("score", FLOAT, [None, 1])]))
    sandbox.edit('[onnx.inputs]\nfeatures = ["visits", "spend"]', 'inputs = ["visits", "spend"]')
    result = sandbox.cli("validate", "churn")
    assert "the model has several inputs: a, b; write a table that names the columns of each, or inputs =" in result.err
    assert "also needs" not in result.err
    sandbox.edit('["visits", "spend"]', '["b", "a"]')
    result = sandbox.cli("validate", "churn")
    assert 'a, b; write inputs = "by name", as each is filled by the column of its name' in result.err


def test_inputs_of_different_floats_are_reported_with_their_cure(sandbox: Sandbox) -> None:
    """skl2onnx exports a pipeline on columns of float64 and float32 to a file that ONNX Runtime does not load."""
    nodes = [helper.make_node("Concat", ["visits", "spend"], ["z"], axis=1)]
    inputs = [("visits", FLOAT, [None, 1]), ("spend", TensorProto.DOUBLE, [None, 1])]
    sandbox.onnx(model(nodes, inputs, [("z", FLOAT, [None, 2])]))
    assert "Convert the features to float32" in sandbox.cli("validate", "churn").err


TENSORS = {
    "float16": (TensorProto.FLOAT16, pa.float16(), "real"),
    "double": (TensorProto.DOUBLE, pa.float64(), "double precision"),
    "int8": (TensorProto.INT8, pa.int8(), "smallint"),
    "int16": (TensorProto.INT16, pa.int16(), "smallint"),
    "int32": (TensorProto.INT32, pa.int32(), "integer"),
    "uint8": (TensorProto.UINT8, pa.uint8(), "smallint"),
    "uint16": (TensorProto.UINT16, pa.uint16(), "integer"),
    "uint32": (TensorProto.UINT32, pa.uint32(), "bigint"),
    "uint64": (TensorProto.UINT64, pa.uint64(), "bigint"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_every_type_pass_in_and_out(sandbox: Sandbox, name: str) -> None:
    element, arrow_type, column_type = TENSORS[name]
    identity = helper.make_node("Identity", ["features"], ["score"])
    sandbox.onnx(model([identity], [("features", element, [None])], [("score", element, [None])]))
    sandbox.edit('features = ["visits", "spend"]', 'features = "visits"')
    sandbox.edit('type = "real"', f'type = "{column_type}"')
    sandbox.edit("max_value = 1", "max_value = 100")
    values = pa.array(range(100)).cast(pa.float32()).cast(arrow_type)
    source = values.cast(pa.float32()) if pa.types.is_floating(arrow_type) else values
    sandbox.data(pa.table({"customer": range(100), "visits": source, "spend": source}))
    if name == "float16":
        sandbox.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nallow_precision_loss = ["visits"]')
    assert materialize.run(sandbox.job()).published
    assert sandbox.rows("select score from predictions.churn order by customer") == [(n,) for n in range(100)]


def test_a_value_beyond_a_small_integer_is_rejected_and_not_wrapped(sandbox: Sandbox) -> None:
    identity = helper.make_node("Identity", ["features"], ["score"])
    element = TensorProto.UINT8
    sandbox.onnx(model([identity], [("features", element, [None])], [("score", element, [None])]))
    sandbox.edit('features = ["visits", "spend"]', 'features = "visits"')
    sandbox.edit('type = "real"', 'type = "smallint"')
    sandbox.data(pa.table({"customer": [1, 2], "visits": [255, 256], "spend": [0, 0]}))
    result = sandbox.cli("run", "churn")
    assert result.code == 4
    assert "Column visits does not fit uint8" in result.err


def test_a_model_that_squeezes_its_output_scores_a_last_single_row(sandbox: Sandbox) -> None:
    """torch's .squeeze() turns the one row of the last chunk into a scalar."""
    squeeze = helper.make_node("Squeeze", ["p"], ["score"])
    sandbox.onnx(model([GEMM, SIGMOID, squeeze], [MATRIX], [("score", FLOAT, [None])], WEIGHTS))
    sandbox.data(customers(201))
    report = materialize.run(sandbox.job())
    assert (report.rows, report.chunks, report.published) == (201, 3, True)
    scores = np.array(sandbox.rows("select score from predictions.churn order by customer"))
    features = customers(201).select(["visits", "spend"]).to_pandas().to_numpy()
    assert np.allclose(scores, 1 / (1 + np.exp(-features @ WEIGHTS["w"])), atol=1e-6)


def test_a_declared_width_counts_less_than_what_the_model_answers(sandbox: Sandbox) -> None:
    both = helper.make_node("Concat", ["features", "features"], ["wide"], axis=1)
    compress = helper.make_node("Compress", ["wide", "mask"], ["score"], axis=1)
    mask = {"mask": np.array([True, False, False, True])}
    sandbox.onnx(model([both, compress], [MATRIX], [("score", FLOAT, [None, "k"])], mask))  # type: ignore[list-item]
    sandbox.edit('from = "score"', 'from = "score", index = 1')
    sandbox.edit("min_value = 0\n", "min_value = -100\n")
    sandbox.edit("max_value = 1\n", "max_value = 100\n")
    assert materialize.run(sandbox.job()).published
    sandbox.edit("index = 1", "index = 5")
    result = sandbox.cli("validate", "churn")
    assert (result.code, "has 2 columns, counted from 0, so there is no column 5" in result.err) == (2, True)
    sandbox.edit(", index = 5", "")
    assert "has 2 columns. Choose one with class, or with index" in sandbox.cli("validate", "churn").err


def test_three_dimensions_are_reported_before_the_domain_is_frozen(sandbox: Sandbox) -> None:
    node = helper.make_node("Unsqueeze", ["features", "ax"], ["score"])
    sandbox.onnx(model([node], [MATRIX], [("score", FLOAT, [None, 1, 2])], COLUMN))
    for command in ("validate", "run"):
        result = sandbox.cli(command, "churn")
        assert (result.code, "has 3 dimensions, but prescore reads one or two" in result.err) == (2, True)
    assert sandbox.rows("select snapshot_rows from prescore.versions") == [(None,)]


def test_an_input_without_a_declared_shape_is_fed_all_its_columns(sandbox: Sandbox) -> None:
    score = helper.make_node("Sigmoid", ["z"], ["score"])
    content = onnx.load_from_string(model([GEMM, score], [MATRIX], [("score", FLOAT, [None, 1])], WEIGHTS))
    content.graph.input[0].type.tensor_type.ClearField("shape")
    sandbox.onnx(content.SerializeToString())
    assert materialize.run(sandbox.job()).published


@pytest.mark.parametrize("rows", [1, 8])
def test_a_fixed_batch_dimension_is_reported_with_its_cure(sandbox: Sandbox, rows: int) -> None:
    score = helper.make_node("Sigmoid", ["z"], ["score"])
    inputs, outputs = [("features", FLOAT, [rows, 2])], [("score", FLOAT, [rows, 1])]
    sandbox.onnx(model([GEMM, score], inputs, outputs, WEIGHTS))  # type: ignore[arg-type]
    result = sandbox.cli("validate", "churn")
    assert result.code == 2
    assert f"the model takes exactly {rows} row" in result.err
    assert 'dynamic_shapes={"x": {0: "batch"}}' in result.err
    if rows == 1:
        sandbox.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nbatch_rows = 1')
        assert materialize.run(sandbox.job()).published


def test_a_boolean_does_not_become_a_number(sandbox: Sandbox) -> None:
    node = helper.make_node("Greater", ["features", "w"], ["score"])
    sandbox.onnx(model([node], [("features", FLOAT, [None])], [("score", TensorProto.BOOL, [None])], {"w": [0.0]}))
    sandbox.edit('features = ["visits", "spend"]', 'features = "visits"')
    sandbox.edit('type = "real"', 'type = "smallint"')
    assert "score is tensor(bool), which cannot become smallint" in sandbox.cli("validate", "churn").err


def test_more_columns_than_postgres_allows_are_the_specs_fault(sandbox: Sandbox) -> None:
    wide = "\n".join(f'o{i} = {{ from = "score", index = {i}, type = "real" }}' for i in range(1600))
    sandbox.edit('score = { from = "score", type = "real", comment = "from 0 to 1" }', wide)
    result = sandbox.cli("validate", "churn")
    assert (result.code, "the table would have 1,601 columns, but Postgres allows 1,597" in result.err) == (2, True)


@pytest.mark.parametrize(("columns", "code"), [(1010, 0), (1020, 2)])
def test_rows_that_do_not_fit_into_a_page_are_the_specs_fault(sandbox: Sandbox, columns: int, code: int) -> None:
    """Values of fixed size cannot be moved out of the row, so that Postgres refuses it once it is full."""
    wide = helper.make_node("Expand", ["features", "shape"], ["score"])
    shape = {"shape": np.array([1, columns], np.int64)}
    sandbox.onnx(model([wide], [("features", FLOAT, [None, 1])], [("score", FLOAT, [None, columns])], shape))
    sandbox.edit('features = ["visits", "spend"]', 'features = "visits"')
    outputs = "\n".join(f'o{i} = {{ index = {i}, type = "double precision" }}' for i in range(columns))
    sandbox.edit('score = { from = "score", type = "real", comment = "from 0 to 1" }', outputs)
    sandbox.edit('column = "score"', 'column = "o0"')
    sandbox.edit("min_value = 0\n", "min_value = -100\n")
    sandbox.edit("max_value = 1\n", "max_value = 100\n")
    result = sandbox.cli("run", "churn")
    assert result.code == code, result.err
    if code:
        assert "a row of the table would take 8,168 bytes, but Postgres allows 8,132" in result.err


def test_the_rows_of_a_call_are_bounded_by_the_width_of_the_model() -> None:
    """A nearest-neighbour model computes a distance to each of its training rows."""
    wide = {"w": np.zeros((2, 500_000), np.float32), "v": np.ones((500_000, 1), np.float32)}
    nodes = [helper.make_node("MatMul", ["features", "w"], ["z"]), helper.make_node("MatMul", ["z", "v"], ["score"])]
    content = model(nodes, [MATRIX], [("score", FLOAT, [None, 1])], wide)
    scorer = _scorer(content, ["visits", "spend"], {"score": {"type": "real"}})
    assert scorer.signature.batch_rows * 500_000 * 4 <= 2**27
    assert scorer.score(_rows(200)).num_rows == 200
    labels = _scorer(
        _classifier(["a", "b"], zipmap=False)[1], ["visits", "spend"], {"l": {"from": "label", "type": "text"}}
    )
    assert labels.signature.batch_rows == 16_384


def test_a_locale_that_the_machine_lacks_is_reported_with_its_cure(sandbox: Sandbox) -> None:
    lower = helper.make_node("StringNormalizer", ["t"], ["score"], case_change_action="LOWER", locale="xx_XX.UTF-8")
    text = TensorProto.STRING
    sandbox.onnx(model([lower], [("t", text, [None])], [("score", text, [None])]))
    sandbox.edit('features = ["visits", "spend"]', 't = "visits"')
    sandbox.edit('type = "real"', 'type = "text"')
    result = sandbox.cli("validate", "churn")
    assert result.code == 2
    assert "localedef -i en_US -f UTF-8 en_US.UTF-8" in result.err


def _two_classifiers(head: list[Any]) -> bytes:
    """Return a binary linear classifier with classes b and a, and nodes that make `score` of its `probabilities`."""
    classifier = helper.make_node(
        "LinearClassifier",
        ["features"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        classlabels_strings=["b", "a"],
        coefficients=[1.0, 0.5, -1.0, -0.5],
        intercepts=[0.0, 0.0],
        post_transform="SOFTMAX",
    )
    outputs: list[Value] = [("label", TensorProto.STRING, [None]), ("score", FLOAT, [None, 2])]
    constants = {"turned": np.array([1, 0], np.int64), "w": np.ones((2, 2), np.float32)}
    return model([classifier, *head], [MATRIX], outputs, constants)


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (helper.make_node("Identity", ["probabilities"], ["score"]), True),
        (helper.make_node("Gather", ["probabilities", "turned"], ["score"], axis=1), False),
        (helper.make_node("MatMul", ["features", "w"], ["score"]), False),
    ],
    ids=["its own", "turned", "an embedding beside it"],
)
def test_classes_are_those_of_the_outputs_own_classifier(head: Any, known: bool) -> None:
    content = _two_classifiers([head])
    if known:
        scorer = _scorer(content, ["visits", "spend"], {"p": {"from": "score", "class": "a", "type": "real"}})
        assert scorer.signature.outputs["p"].index == 1
        return
    with pytest.raises(ModelInvalid, match="does not say which classes the columns of score stand for"):
        _scorer(content, ["visits", "spend"], {"p": {"from": "score", "class": "a", "type": "real"}})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_classes_of_a_stack_are_not_those_of_its_last_classifier() -> None:
    """It numbers the classes from 0, so that its class 1 is the class 2 of the stack."""
    features = np.random.default_rng(4).normal(size=(600, 2)).astype(np.float32)
    stack = StackingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], cv=2)
    stack.fit(features, np.where(features[:, 0] > 0, 2, 1))
    exported = to_onnx(stack, features[:1], options={"zipmap": False}, target_opset=18)
    outputs = {f"p{label}": {"from": "probabilities", "class": label, "type": "real"} for label in (1, 2)}
    predictions = _scorer(exported.SerializeToString(), ["visits", "spend"], outputs).score(_rows())
    expected = stack.predict_proba(np.column_stack(_rows().columns))
    for column, label in enumerate((1, 2)):
        assert np.allclose(predictions.column(f"p{label}"), expected[:, column], atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Attribute .prob:FutureWarning")
def test_the_votes_of_a_support_vector_machine_belong_to_no_class() -> None:
    """Its scores are those of pairs of classes: with two of them, the first column is large for the second class."""
    features = np.random.default_rng(4).normal(size=(200, 2)).astype(np.float32)
    machine = SVC().fit(features, np.where(features[:, 0] > 0, "yes", "no"))
    exported = to_onnx(machine, features[:1], options={"zipmap": False}, target_opset=18).SerializeToString()
    with pytest.raises(ModelInvalid, match="does not say which classes the columns of probabilities stand for"):
        _scorer(exported, ["visits", "spend"], {"p": {"from": "probabilities", "class": "yes", "type": "real"}})
    predictions = _scorer(
        exported, ["visits", "spend"], {"p": {"from": "probabilities", "index": 0, "type": "real"}}
    ).score(_rows())
    expected = machine.decision_function(np.column_stack(_rows().columns))
    assert np.allclose(predictions.column("p"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("element", "value", "column_type", "message"),
    [
        (
            TensorProto.INT64,
            2**24 + 1,
            "real",
            "an integer that real cannot hold exactly. Give the output the type bigint",
        ),
        (
            TensorProto.INT64,
            2**15,
            "smallint",
            "not in range: -32768 to 32767. Give the output a wider type in the spec",
        ),
        (TensorProto.DOUBLE, 1e300, "real", "Output score holds numbers too large for real"),
        (TensorProto.STRING, "a\x00b", "text", "a text with a NUL character (U+0000), which Postgres cannot store"),
        (TensorProto.STRING, "a\x00b", "text[]", "a text with a NUL character (U+0000), which Postgres cannot store"),
    ],
    ids=["integer", "range", "overflow", "text", "texts"],
)
def test_a_prediction_that_does_not_fit_its_column_is_reported_without_advice_on_the_domain(
    element: int, value: Any, column_type: str, message: str
) -> None:
    constant = np.array([[value]], object if isinstance(value, str) else None)
    nodes = [
        helper.make_node("Cast", ["visits"], ["zeros"], to=TensorProto.INT64),
        helper.make_node("Gather", ["values", "zeros"], ["score"]),
    ]
    content = model(nodes, [("visits", FLOAT, [None])], [("score", element, [None, 1])], {"values": constant})
    scorer = _scorer(content, {"visits": "visits"}, {"score": {"type": column_type}})
    with pytest.raises(ModelFailed) as raised:
        scorer.score(pa.record_batch({"visits": pa.array([0.0, 0.0], pa.float32())}))
    assert message in str(raised.value)
    assert "domain query" not in str(raised.value)
    assert "allow_precision_loss" not in str(raised.value)


def _tree_of_two_classes(classes: list[int]) -> bytes:
    """Return a tree with weights for both classes, as CatBoost writes it. ONNX Runtime labels its rows 0 and 1."""
    tree = helper.make_node(
        "TreeEnsembleClassifier",
        ["features"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        post_transform="LOGISTIC",
        classlabels_int64s=classes,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_values=[0.0, 0.0, 0.0],
        nodes_modes=["BRANCH_GT", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0, 0, 0, 0],
        class_nodeids=[1, 1, 2, 2],
        class_ids=[0, 1, 0, 1],
        class_weights=[-1.5, 1.5, 1.5, -1.5],
    )
    outputs: list[Value] = [("label", TensorProto.INT64, [None]), ("probabilities", FLOAT, [None, 2])]
    return model([tree], [MATRIX], outputs)


def test_a_label_that_is_not_one_of_the_classes_is_refused(sandbox: Sandbox) -> None:
    sandbox.spec((sandbox.root / "specs/churn.toml").read_text().split("[[checks]]")[0])
    sandbox.edit('score = { from = "score", type = "real"', 'score = { from = "label", type = "smallint"')
    sandbox.onnx(_tree_of_two_classes([1, 2]))
    for command in ("validate", "run"):
        result = sandbox.cli(command, "churn")
        assert result.code == 2
        assert "returned the label 0, which is not one of the classes that the file names: 1, 2" in result.err
    sandbox.onnx(_tree_of_two_classes([0, 1]))
    assert materialize.run(sandbox.job()).published
    sandbox.onnx(_tree_of_two_classes([1, 2]))
    sandbox.edit('from = "label", type = "smallint"', 'from = "probabilities", class = 2, type = "double precision"')
    assert sandbox.cli("validate", "churn").code == 0


def test_a_model_without_inputs_is_refused(sandbox: Sandbox) -> None:
    constant = helper.make_node("Constant", [], ["score"], value_floats=[1.0])
    sandbox.onnx(model([constant], [], [("score", FLOAT, [1])]))
    sandbox.edit('[onnx.inputs]\nfeatures = ["visits", "spend"]', 'inputs = ["visits", "spend"]')
    result = sandbox.cli("validate", "churn")
    assert (result.code, "onnx.inputs: the model has no inputs" in result.err) == (2, True), result.err


def test_true_is_a_class_of_0_and_1_alone() -> None:
    _, content = _classifier([2, 1], zipmap=False)
    with pytest.raises(ModelInvalid, match="has no class True; it has 1, 2"):
        _scorer(content, ["visits", "spend"], {"p": {"from": "probabilities", "class": True, "type": "real"}})


def test_a_feature_that_is_nan_is_rejected_like_one_that_is_null(sandbox: Sandbox) -> None:
    sandbox.query(
        "select customer, case customer when 7 then 'nan'::float else visits end as visits, spend "
        "from read_parquet('data/customers.parquet')"
    )
    sandbox.spec("max_rejects = 1\n" + (sandbox.root / "specs/churn.toml").read_text())
    report = materialize.run(sandbox.job())
    assert (report.rejected, report.published) == (1, True)
    ((key, column),) = sandbox.rows("select key ->> 'customer', column_name from prescore.rejects")
    assert (key, column) == ("7", "visits")


WITHOUT_MODEL = """
[domain]
query = "sql/domains/churn.sql"
[key]
customer = "bigint"
[outputs]
"""


@pytest.mark.parametrize(
    "outputs",
    [
        'a = { from = "customer", type = "double precision" }',
        'a = { from = "spend", type = "real" }\nb = { from = "spend", type = "double precision" }',
    ],
    ids=["of the key", "twice"],
)
def test_a_column_that_is_needed_as_two_types_is_the_specs_fault(sandbox: Sandbox, outputs: str) -> None:
    sandbox.spec(WITHOUT_MODEL + outputs)
    result = sandbox.cli("run", "churn")
    assert (result.code, "return it twice in the domain query, under two names" in result.err) == (2, True)


def test_predictions_made_elsewhere_are_published_as_they_are(sandbox: Sandbox) -> None:
    sandbox.spec(WITHOUT_MODEL + 'score = { from = "spend", type = "real" }\nvisits = { type = "real" }')
    report = materialize.run(sandbox.job())
    assert (report.published, report.warnings) == (True, [])
    frame = customers().to_pandas()
    published = sandbox.rows("select score, visits from predictions.churn order by customer")
    assert np.array_equal(np.array(published, np.float32), frame[["spend", "visits"]].to_numpy())
    sandbox.query(
        "select customer, case customer when 7 then null else spend end as spend, visits from 'data/customers.parquet'"
    )
    result = sandbox.cli("run", "churn")
    assert (result.code, "Prediction score (column spend of the domain query) is null" in result.err) == (4, True)
    sandbox.query("select customer, visits from read_parquet('data/customers.parquet')")
    missing = (
        "Column spend (prediction, as the spec has no [onnx] section) is missing; the query returns customer, visits"
    )
    assert missing in sandbox.cli("validate", "churn").err
