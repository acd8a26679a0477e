"""The reasons for a score: the columns that raise the risk of a loan most, computed by the model file itself."""

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from sklearn.pipeline import Pipeline

COUNT = 3
NOTHING = "nothing"


class Reasons:
    """What each column adds to the log-odds of a logistic regression, compared with the average loan."""

    def __init__(self, model: Pipeline, features: pd.DataFrame, risk: str) -> None:
        self.encode, regression = model[0], model[-1]
        self.columns = list(features.columns)
        sign = 1 if regression.classes_[1] == risk else -1
        encoded = self.encode.get_feature_names_out()
        # A text is encoded as several columns, such as job_fixed and job_freelance, whose weights belong together.
        self.weights = np.zeros((len(encoded), len(self.columns)), np.float32)
        for row, name in enumerate(encoded):
            column = name if name in self.columns else name.rpartition("_")[0]
            self.weights[row, self.columns.index(column)] = sign * regression.coef_[0, row]
        self.average = (self.encode.transform(features) @ self.weights).mean(axis=0).astype(np.float32)

    def explain(self, features: pd.DataFrame) -> np.ndarray:
        """Return names of columns, of shape [N, COUNT]: those that raise the risk of each row most, in order."""
        contributions = self.encode.transform(features) @ self.weights - self.average
        places = np.argsort(-contributions, axis=1)[:, :COUNT]
        raises_risk = np.take_along_axis(contributions, places, axis=1) > 0
        return np.where(raises_risk, np.array(self.columns)[places], NOTHING)

    def add_to(self, file: Path) -> None:
        """Add the output `reasons` to a model file: the same names, of shape [N, COUNT]."""
        model = onnx.load(file)
        encoded = next(node for node in model.graph.node if node.op_type == "LinearClassifier").input[0]
        constants = {
            "weights": self.weights,
            "average": self.average,
            "count": np.array([COUNT]),
            "zero": np.array(0, np.float32),
            "columns": np.array(self.columns, object),
            "nothing": np.array(NOTHING, object),
        }
        nodes = [
            helper.make_node("MatMul", [encoded, "weights"], ["sums"]),
            helper.make_node("Sub", ["sums", "average"], ["contributions"]),
            helper.make_node("TopK", ["contributions", "count"], ["largest", "places"]),
            helper.make_node("Gather", ["columns", "places"], ["names"]),
            helper.make_node("Greater", ["largest", "zero"], ["raises_risk"]),
            helper.make_node("Where", ["raises_risk", "names", "nothing"], ["reasons"]),
        ]
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
        model.graph.node.extend(nodes)
        model.graph.output.append(helper.make_tensor_value_info("reasons", TensorProto.STRING, [None, COUNT]))
        onnx.checker.check_model(model)
        onnx.save(model, file)
