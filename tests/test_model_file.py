"""A model file with weights beside it: all of it is read, hashed and kept, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from fix_project import Sandbox, linear
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


def test_weights_outside_of_the_models_folder_are_refused(tmp_path: Path) -> None:
    proto = onnx.load_from_string(linear([1.0, -0.5]))
    convert_model_to_external_data(proto, location="weights.bin", size_threshold=0)
    onnx.save_model(proto, tmp_path / "churn.onnx")
    stored = onnx.load(tmp_path / "churn.onnx", load_external_data=False)
    for tensor in stored.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    (tmp_path / "churn.onnx").write_bytes(stored.SerializeToString())
    with pytest.raises(ModelInvalid, match="which is not inside of its folder"):
        ModelFile.read(tmp_path / "churn.onnx")


def test_the_catalog_records_what_a_version_is_made_with(sandbox: Sandbox) -> None:
    proto = onnx.load_from_string(linear([1.0, -0.5]))
    proto.producer_name, proto.producer_version = "pytorch", "2.13.0+cpu"
    sandbox.onnx(proto.SerializeToString())
    materialize.run(sandbox.job())
    (row,) = sandbox.rows("select producer, runtime, prescore_version from prescore.versions")
    assert row[0] == "pytorch 2.13.0+cpu"
    assert row[1].startswith("ONNX Runtime ")
    assert row[2] == "0.1.0"
