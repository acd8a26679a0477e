"""The branches that missing values take in the trees of scikit-learn, which skl2onnx does not write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper

from prescore.export import steps
from prescore.scoring.graph import attribute

_TRACKS = "nodes_missing_value_tracks_true"


def write(model: ModelProto, estimator: Any) -> None:
    """Set the branch of missing values in every ensemble of a model that is a forest or a tree of an estimator."""
    ensembles = [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]
    for trees in _forests(estimator):
        tracks = np.concatenate([tree.missing_go_to_left for tree in trees]).astype(int)
        features = np.concatenate([np.maximum(tree.feature, 0) for tree in trees])
        for node in ensembles:
            # Nodes are in the order of scikit-learn: tree by tree.
            if np.array_equal(attribute(node, "nodes_featureids", []), features):
                _set_tracks(node, tracks.tolist())


def _set_tracks(node: NodeProto, tracks: list[int]) -> None:
    attributes = [value for value in node.attribute if value.name != _TRACKS]
    attributes.append(helper.make_attribute(_TRACKS, tracks))
    del node.attribute[:]
    node.attribute.extend(attributes)


def _forests(estimator: Any) -> Iterator[Sequence[Any]]:
    """Yield the trees of each forest, and single trees, that were trained with missing values."""
    for step in steps.walk(estimator):
        inner = step.estimator
        found = [inner] if hasattr(inner, "tree_") else getattr(inner, "estimators_", None)
        if not isinstance(found, list) or not all(hasattr(tree, "tree_") for tree in found):
            continue
        trees = [tree.tree_ for tree in found]
        if any(getattr(tree, "missing_go_to_left", np.zeros(1)).any() for tree in trees):
            yield trees
