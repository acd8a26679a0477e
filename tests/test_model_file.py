"""A model file with weights beside it: all of it is read, hashed and kept, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from fix_project import Sandbox, linear, model
from prescore.errors import ModelInvalid
from prescore.run import materialize
from prescore.store.model_file import ModelFile


def _write_with_weights(folder: Path, weights: list[float], location: str = "churn.onnx.data") -> None:
    """Write the churn model as PyTorch does by default: its weights in a file beside it."""
    folder.mkdir(exist_ok=True)
    # onnx would append to it.
    (folder / location).unlink(missing_ok=True)
    proto = onnx.load_from_string(linear(weights))
    convert_model_to_external_data(proto, location=location, size_threshold=0)
    onnx.save_model(proto, folder / "churn.onnx")


def _scores(sandbox: Sandbox, version: int) -> list[float]:
    return [row[0] for row in sandbox.rows(f"select score from prescore_versions.churn_v{version} order by customer")]


def test_weights_beside_the_model_are_read_whatever_the_working_directory(
    sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize.run(sandbox.job())
    _write_with_weights(sandbox.root / "models", [1.0, -0.5])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert sandbox.cli("validate", "churn").code == 0
    report = materialize.run(sandbox.job())
    assert report.published
    assert np.allclose(_scores(sandbox, 1), _scores(sandbox, 2), atol=1e-6)


def test_weights_that_are_replaced_before_a_resume_make_another_version(sandbox: Sandbox) -> None:
    _write_with_weights(sandbox.root / "models", [1.0, -0.5])
    before = (sandbox.root / "models/churn.onnx").read_bytes()
    sandbox.interrupted("finish_table")
    _write_with_weights(sandbox.root / "models", [-2.0, 3.0])
    assert (sandbox.root / "models/churn.onnx").read_bytes() == before, "only the weights have changed"
    report = materialize.run(sandbox.job())
    assert (report.version, report.resumed) == (2, False)
    sandbox.onnx(linear([-2.0, 3.0]))
    materialize.run(sandbox.job())
    assert np.allclose(_scores(sandbox, 2), _scores(sandbox, 3), atol=1e-6)


def test_the_store_keeps_the_weights_with_the_model_and_removes_both(sandbox: Sandbox) -> None:
    _write_with_weights(sandbox.root / "models", [1.0, -0.5])
    job = sandbox.job()
    assert job.onnx is not None
    sandbox.interrupted("score_chunks")
    for file in (sandbox.root / "models").iterdir():
        file.unlink()
    fingerprint = job.onnx.fingerprint
    kept = job.store.model(fingerprint)
    assert (kept.content, kept.weights) == (job.onnx.content, job.onnx.weights)
    predictor = materialize.load_predictor(job, 1)
    assert predictor.features
    job.store.drop_model(fingerprint)
    assert list((sandbox.root / ".prescore/store/models").iterdir()) == []


@pytest.mark.parametrize(
    ("bytes_left", "message"), [(4, "has 4 bytes, but churn.onnx needs"), (None, "keeps weights in churn.onnx.data")]
)
def test_a_model_that_was_copied_in_part_is_refused(sandbox: Sandbox, bytes_left: int | None, message: str) -> None:
    _write_with_weights(sandbox.root / "models", [1.0, -0.5])
    weights = sandbox.root / "models/churn.onnx.data"
    content = weights.read_bytes()
    weights.unlink()
    if bytes_left is not None:
        weights.write_bytes(content[:bytes_left])
    for command in ("validate", "run"):
        result = sandbox.cli(command, "churn")
        assert (result.code, message in result.err) == (2, True), result.err


def test_the_catalog_records_what_a_version_is_made_with(sandbox: Sandbox) -> None:
    proto = onnx.load_from_string(linear([1.0, -0.5]))
    proto.producer_name, proto.producer_version = "pytorch", "2.13.0+cpu"
    sandbox.onnx(proto.SerializeToString())
    materialize.run(sandbox.job())
    (row,) = sandbox.rows("select producer, runtime, prescore_version from prescore.versions")
    assert row[0] == "pytorch 2.13.0+cpu"
    assert row[1].startswith("ONNX Runtime ")
    assert row[2] == "0.1.0"


@pytest.mark.parametrize("location", ["", ".", "../weights.bin", "/etc/passwd", "a\x00b"])
def test_a_location_of_weights_that_is_not_in_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    proto = onnx.load_from_string(linear([1.0, -0.5]))
    convert_model_to_external_data(proto, location="weights.bin", size_threshold=0)
    onnx.save_model(proto, tmp_path / "churn.onnx")
    stored = onnx.load(tmp_path / "churn.onnx", load_external_data=False)
    for tensor in stored.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (tmp_path / "churn.onnx").write_bytes(stored.SerializeToString())
    with pytest.raises(ModelInvalid, match="which is not inside of its folder"):
        ModelFile.read(tmp_path / "churn.onnx")


def test_weights_of_inner_graphs_are_read_from_their_file(sandbox: Sandbox) -> None:
    """ONNX writes the weights of branches and loops beside the model as well."""
    branches = []
    for name, weights in (("then", [1.0, -0.5]), ("else", [0.0, 0.0])):
        weight = numpy_helper.from_array(np.array(weights, np.float32).reshape(2, 1), f"{name}_w")
        node = helper.make_node("MatMul", ["features", f"{name}_w"], [f"{name}_z"])
        result = helper.make_tensor_value_info(f"{name}_z", TensorProto.FLOAT, [None, 1])
        branches.append(helper.make_graph([node], name, [], [result], [weight]))
    nodes = [
        helper.make_node("If", ["always"], ["z"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Sigmoid", ["z"], ["score"]),
    ]
    shapes = [("features", TensorProto.FLOAT, [None, 2])], [("score", TensorProto.FLOAT, [None, 1])]
    content = model(nodes, *shapes, {"always": np.array(True)})
    materialize.run(sandbox.job())
    proto = onnx.load_from_string(content)
    convert_model_to_external_data(proto, location="churn.weights", size_threshold=0)
    onnx.save_model(proto, sandbox.root / "models/churn.onnx")
    assert (sandbox.root / "models/churn.weights").stat().st_size >= 16
    report = materialize.run(sandbox.job())
    assert report.published
    assert np.allclose(_scores(sandbox, 1), _scores(sandbox, 2), atol=1e-6)


def test_weights_of_four_bits_are_complete_and_round_no_features(sandbox: Sandbox) -> None:
    """Two of them fit into a byte. ONNX Runtime's default is to multiply them with features of 8 bits."""
    weight = TensorProto(name="w", dims=[2, 1], data_type=TensorProto.INT4, data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="churn.weights")
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["x"]),
        helper.make_node("MatMul", ["features", "x"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["score"]),
    ]
    values = [("features", TensorProto.FLOAT, [None, 2]), ("score", TensorProto.FLOAT, [None, 1])]
    inputs, outputs = ([helper.make_tensor_value_info(*value)] for value in values)
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    graph = helper.make_graph(nodes, "test", inputs, outputs, [weight, scale])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    materialize.run(sandbox.job())
    sandbox.onnx(proto.SerializeToString())
    # 2 and -1, times 0.5, are the weights of the model before.
    (sandbox.root / "models/churn.weights").write_bytes(bytes([0xF2]))
    assert materialize.run(sandbox.job()).published
    assert np.allclose(_scores(sandbox, 1), _scores(sandbox, 2), atol=1e-6)


def test_a_model_that_is_replaced_while_its_weights_are_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another export has weights of the same size, and the two files would make a model that was never trained."""
    _write_with_weights(tmp_path, [1.0, -0.5])
    read_bytes = Path.read_bytes

    def replace_before(path: Path) -> bytes:
        if path.name == "churn.onnx.data":
            other = onnx.load(tmp_path / "churn.onnx", load_external_data=False)
            other.doc_string = "another export"
            (tmp_path / "churn.onnx").write_bytes(other.SerializeToString())
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", replace_before)
    with pytest.raises(ModelInvalid, match="was replaced while its weights were read"):
        ModelFile.read(tmp_path / "churn.onnx")
