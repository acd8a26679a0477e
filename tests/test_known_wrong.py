"""The remedies on the page about wrong exports do what the page says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from doc_pages import ROOT, blocks

PAGE = ROOT / "docs/export/known-wrong.md"


def _snippet(word: str) -> str:
    """Return the block of Python on the page that contains a word."""
    (found,) = [block.text for block in blocks(PAGE) if block.language == "python" and word in block.text]
    return found


def test_the_snippet_for_the_exponential_appends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output keeps its name, and an export without operators of ONNX's own gets an opset for one."""
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    scale = helper.make_node("Scaler", ["x"], ["score"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
    values = [[helper.make_tensor_value_info(value, TensorProto.FLOAT, [None, 1])] for value in ("x", "score")]
    graph = helper.make_graph([scale], "claims", *values)
    opsets = [helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), "models/claims.onnx")
    exec(_snippet('"Exp"'), {})
    (scores,) = onnxruntime.InferenceSession("models/claims.onnx").run(["score"], {"x": np.array([[1.0]], np.float32)})
    assert scores == pytest.approx(np.exp(2.0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_snippet_for_other_letters_splits_text_like_scikit_learn() -> None:
    """Lower case would need a locale that this machine may lack."""
    texts = np.array(["über die Brücke", "кот и кит", "cafe crème", "plain text"] * 5, object)
    model = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression()).fit(texts, [0, 1, 1, 0] * 5)
    scope = {"TfidfVectorizer": TfidfVectorizer, "model": model, "texts": texts, "to_onnx": to_onnx}
    exec(_snippet("tokenexp"), scope)
    session = onnxruntime.InferenceSession(scope["onnx"].SerializeToString())
    (probabilities,) = session.run(["probabilities"], {session.get_inputs()[0].name: texts.reshape(-1, 1)})
    assert np.allclose(probabilities, model.predict_proba(texts), atol=1e-5)
