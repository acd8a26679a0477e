"""Add what each feature contributes to a score, and the main reasons for it, to an ONNX file as further outputs.

The model is a linear one or boosted trees, has two classes, and takes all features as one matrix of 32-bit floats. The
operators are those that the exporters of scikit-learn, LightGBM and XGBoost write.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

REASONS = 3
NOTHING = "nothing"
CONTRIBUTIONS = "contributions"
LINE, TREES = "LinearClassifier", "TreeEnsembleClassifier"
SPLITS = ("featureids", "modes", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true")


def add_to(file: Path, reference: np.ndarray, names: list[str]) -> None:
    """Add the outputs `contributions`, of shape [N, 1 + F], and `reasons`, of shape [N, REASONS].

    Contributions are log-odds, and those of a row add up to its score. The first one is the base, which is the same for
    all rows: the mean score of the reference, rows of shape [M, F]. The others, one for each feature, say how far it
    leads away from there. The reasons are the names of the features that raise the score most, in order.
    """
    model = onnx.load(file)
    scoring = next(node for node in model.graph.node if node.op_type in (LINE, TREES))
    encoded = _run(model, scoring.input[0], reference)
    if scoring.op_type == LINE:
        nodes, constants = _explain_line(scoring, encoded)
    else:
        nodes, constants = [_explain_trees(model, scoring, reference, encoded.shape[1])], {}
    nodes += _choose_reasons()
    constants |= {
        "features_only": np.arange(1, 1 + len(names)),
        "reason_count": np.array([REASONS]),
        "no_contribution": np.array(0, np.float32),
        "feature_names": np.array(names, object),
        "no_reason": np.array(NOTHING, object),
    }
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    _add_output(model, CONTRIBUTIONS, TensorProto.FLOAT, 1 + len(names))
    _add_output(model, "reasons", TensorProto.STRING, REASONS)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _choose_reasons() -> list[NodeProto]:
    return [
        helper.make_node("Gather", [CONTRIBUTIONS, "features_only"], ["of_features"], axis=1),
        helper.make_node("TopK", ["of_features", "reason_count"], ["largest", "places"]),
        helper.make_node("Gather", ["feature_names", "places"], ["names"]),
        helper.make_node("Greater", ["largest", "no_contribution"], ["raises_score"]),
        helper.make_node("Where", ["raises_score", "names", "no_reason"], ["reasons"]),
    ]


def _explain_line(line: NodeProto, encoded: np.ndarray) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """Multiply each coefficient with the distance of the value from its mean in the reference."""
    attributes = _attributes(line)
    means = encoded.mean(axis=0, dtype=float)
    # Those of the second class come last.
    coefficients = np.array(attributes["coefficients"])[-len(means) :]
    weights = np.hstack([np.zeros((len(means), 1)), np.diag(coefficients)])
    offsets = [attributes["intercepts"][-1] + means @ coefficients, *(-means * coefficients)]
    node = helper.make_node("Gemm", [line.input[0], "coefficients", "offsets"], [CONTRIBUTIONS])
    return [node], {"coefficients": weights.astype(np.float32), "offsets": np.array(offsets, np.float32)}


@dataclass
class Split:
    """A split or a leaf: its feature and its two branches, or its weight; and the rows of the reference."""

    feature: int
    branches: list["Split"]
    weight: float
    rows: int
    place: tuple[int, int]

    @cached_property
    def mean(self) -> float:
        """The mean weight of the leaves that its rows reach; of all leaves alike if no row comes here."""
        if not self.branches:
            return self.weight
        shares = [branch.rows for branch in self.branches] if self.rows else [1, 1]
        return float(np.average([branch.mean for branch in self.branches], weights=shares))


def _explain_trees(model: onnx.ModelProto, trees: NodeProto, reference: np.ndarray, features: int) -> NodeProto:
    """Follow each path, and give to the feature of every split what it changes in the mean (A. Saabas, 2014).

    These are the same trees again. A leaf has a weight for each feature on its path.
    """
    attributes = _attributes(trees)
    places = list(zip(attributes["class_treeids"], attributes["class_nodeids"], strict=True))
    leaves = dict(zip(places, attributes["class_weights"], strict=True))
    reached = _count_rows(model, trees, places, reference)
    base = float(attributes.get("base_values", [0.0])[0])
    weights = []
    for root in _roots(attributes, leaves, reached):
        base += root.mean
        weights += _weights(root, {})
    # ONNX Runtime adds a base value only where a leaf has a weight, so the leaves of the first tree have the base.
    weights += [(place, 0, base) for place in places if place[0] == places[0][0]]
    return _ensemble(trees, CONTRIBUTIONS, weights, 1 + features)


def _count_rows(
    model: onnx.ModelProto, trees: NodeProto, places: list[tuple[int, int]], reference: np.ndarray
) -> Counter:
    """Return how many rows reach each leaf. The trees themselves return it, with the number of a leaf as its weight."""
    numbers = sorted({tree for tree, _ in places})
    weights = [(place, numbers.index(place[0]), leaf) for leaf, place in enumerate(places)]
    node = _ensemble(trees, "leaves", weights, len(numbers))
    leaves = _run(model, "leaves", reference, node)
    return Counter(places[int(leaf)] for leaf in leaves.ravel())


def _roots(attributes: dict, leaves: dict, reached: Counter) -> list[Split]:
    columns = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")
    rows = zip(*(attributes[f"nodes_{name}"] for name in columns), strict=True)
    splits = {(tree, node): (feature, (tree, yes), (tree, no)) for tree, node, feature, yes, no in rows}

    def build(place: tuple[int, int]) -> Split:
        if place in leaves:
            return Split(-1, [], leaves[place], reached[place], place)
        feature, *below = splits[place]
        branches = [build(each) for each in below]
        return Split(feature, branches, 0.0, sum(branch.rows for branch in branches), place)

    return [build((tree, 0)) for tree in dict.fromkeys(attributes["nodes_treeids"])]


def _weights(split: Split, path: dict[int, float]) -> list[tuple[tuple[int, int], int, float]]:
    """Return the weights of the leaves below a split: place of the leaf, column of the output, weight."""
    if not split.branches:
        # Column 0 is the base.
        return [(split.place, 1 + feature, change) for feature, change in path.items()]
    found = []
    for branch in split.branches:
        changed = path | {split.feature: path.get(split.feature, 0.0) + branch.mean - split.mean}
        found += _weights(branch, changed)
    return found


def _ensemble(trees: NodeProto, output: str, weights: list, columns: int) -> NodeProto:
    """Return trees with the same splits and other weights, which add up to so many columns."""
    attributes = _attributes(trees)
    splits = {f"nodes_{name}": attributes[f"nodes_{name}"] for name in SPLITS if f"nodes_{name}" in attributes}
    places, targets, values = zip(*weights, strict=True)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [trees.input[0]],
        [output],
        domain="ai.onnx.ml",
        n_targets=columns,
        nodes_treeids=attributes["nodes_treeids"],
        nodes_nodeids=attributes["nodes_nodeids"],
        **splits,
        target_treeids=[tree for tree, _ in places],
        target_nodeids=[node for _, node in places],
        target_ids=targets,
        target_weights=[float(value) for value in values],
    )


def _attributes(node: NodeProto) -> dict:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _run(model: onnx.ModelProto, result: str, rows: np.ndarray, *nodes: NodeProto) -> np.ndarray:
    """Return what a model, with further nodes, computes on the way, such as the scaled features."""
    (matrix,) = (given.name for given in model.graph.input)
    if result == matrix:
        return rows
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.node.extend(nodes)
    del extended.graph.output[:]
    extended.graph.output.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, None))
    return onnxruntime.InferenceSession(extended.SerializeToString()).run([result], {matrix: rows})[0]


def _add_output(model: onnx.ModelProto, name: str, kind: int, width: int) -> None:
    model.graph.output.append(helper.make_tensor_value_info(name, kind, [None, width]))
