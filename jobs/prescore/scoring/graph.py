"""The graph of an ONNX file: what ONNX Runtime does not report of a model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Self

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper

from prescore.errors import ModelInvalid
from prescore.store.external_weights import embed_inner_weights

Label = str | int

# The attributes of classifiers, and of ZipMap, that list the classes.
_CLASSES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
# Operators that return their first input as it is, and those that return its columns in the same order, but scaled or
# rounded.
_UNCHANGED = ("Cast", "Identity", "Reshape", "Squeeze")
_TRANSPARENT = (*_UNCHANGED, "Div", "Mul", "Normalizer", "Round", "Softmax")


class _Classifier(NamedTuple):
    """The names of a classifier's scores and of its label, and the classes that the columns of the scores stand for."""

    scores: str
    label: str
    classes: tuple[Label, ...]


class Graph:
    """A parsed ONNX file. Its weights need not be loaded."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._graph = model.graph
        self._zip_maps: dict[str, Any] = {}
        self._makers: dict[str, Any] = {}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            self._add(node)

    def _add(self, node: Any) -> None:
        for output in node.output:
            self._makers[output] = node
        if node.op_type == "ZipMap":
            self._zip_maps[node.output[0]] = node
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if value is not None:
            self._constants[node.output[0]] = value

    @classmethod
    def parse(cls, content: bytes, name: str) -> Self:
        """Return the graph of an ONNX file; raise ModelInvalid, with the file's `name`, if it is not one."""
        if content.startswith(b"version https://git-lfs"):
            raise ModelInvalid(f"{name} is a pointer of Git LFS, not the model itself. Fetch it with: git lfs pull")
        try:
            model = ModelProto.FromString(content)
        except DecodeError as error:
            raise ModelInvalid(
                f"{name} cannot be loaded as an ONNX model: it is truncated, or not an ONNX file. Export the model "
                "again, such as with `prescore export` from an estimator in a file, and name the exported file."
            ) from error
        return cls(model)

    @property
    def producer(self) -> str:
        """The program that exported the model and its version, such as `skl2onnx 1.20.0`; empty if unknown."""
        # CatBoost writes a page of build information.
        version = re.search(r"\d+(\.\d+)+\S*", self._model.producer_version)
        parts = [self._model.producer_name, version[0] if version else ""]
        return " ".join(parts).strip()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features in order, if the file's metadata has them under `feature_names`."""
        text = self._metadata("feature_names")
        return () if text is None else _names(text)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the columns of predictions, if the file's metadata has them under `target_names`."""
        text = self._metadata("target_names")
        return () if text is None else _names(text)

    @property
    def missing_values(self) -> dict[str, str | None]:
        """The features whose missing values the model was proven with, and what it takes for them: None means NaN.

        `prescore.export_onnx` writes them into the file's metadata, under `missing_values`.
        """
        return self._metadata_object("missing_values")

    @cached_property
    def _listed_classes(self) -> dict[str, list[Label]]:
        return self._metadata_object("class_labels")

    def _metadata_object(self, key: str) -> dict[str, Any]:
        try:
            found = json.loads(self._metadata(key) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _metadata(self, key: str) -> str | None:
        for entry in self._model.metadata_props:
            if entry.key == key:
                return str(entry.value)
        return None

    @property
    def nodes(self) -> Iterator[Any]:
        """Every node of the graph, of the graphs inside of its nodes, and of the model's functions."""
        yield from _nodes(self._graph.node)
        for function in self._model.functions:
            yield from _nodes(function.node)

    def constant(self, name: str) -> Any:
        """Return a constant as a numpy array, or None if the name is not that of a constant, or its data are apart."""
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)

    def rank(self, name: str) -> int | None:
        """Return the number of dimensions that the model declares for an input or output; None if it declares none."""
        for value in (*self._graph.input, *self._graph.output):
            if value.name == name and value.type.tensor_type.HasField("shape"):
                return len(value.type.tensor_type.shape.dim)
        return None

    def labels(self, output: str) -> tuple[Label, ...] | None:
        """Return the classes that the columns of an output stand for, in their order; None if they are not known.

        They are known of a classifier's own scores, and of the scores that the label is the largest of. A classifier
        inside of another one, such as the last one of a stack, has numbers from 0 for the classes of the outer one: its
        own classes count only if the model returns its label, or if they cannot be such numbers.

        `prescore.export_onnx` writes the classes into the metadata of the file as well, under `class_labels`.
        """
        if output in self._zip_maps:
            return _classes(self._zip_maps[output])
        listed = self._listed_classes.get(output)
        if listed:
            return tuple(listed)
        returned = {self._origin(value.name) for value in self._graph.output}
        scores = self._origin(output)
        inner = None
        for classifier in self._classifiers:
            if classifier.scores != scores:
                continue
            if classifier.label in returned:
                return classifier.classes
            if classifier.classes != tuple(range(len(classifier.classes))):
                inner = classifier.classes
        return inner

    def label_classes(self, output: str) -> tuple[Label, ...] | None:
        """Return the classes that a classifier chooses from, if an output is the label that it has chosen."""
        label = self._origin(output, _UNCHANGED)
        for classifier in self._classifiers:
            if classifier.label == label:
                return classifier.classes
        return None

    @cached_property
    def _classifiers(self) -> list[_Classifier]:
        """Operators that choose a class: classifiers, and an ArgMax over scores that picks from a list of classes."""
        found = []
        for node in self._graph.node:
            classes = _classes(node) if len(node.output) > 1 and not _has_raw_votes(node) else None
            if classes is not None:
                found.append(_Classifier(node.output[1], node.output[0], classes))
            elif node.op_type == "ArrayFeatureExtractor":
                found += self._choice(node)
        return found

    def _choice(self, node: Any) -> Iterator[_Classifier]:
        classes = self.constant(node.input[0])
        chooser = self._makers.get(self._origin(node.input[1]))
        if classes is not None and chooser is not None and chooser.op_type == "ArgMax":
            labels = _as_labels(classes.ravel().tolist())
            yield _Classifier(self._origin(chooser.input[0]), node.output[0], labels)

    def _origin(self, name: str, operators: tuple[str, ...] = _TRANSPARENT) -> str:
        """Return the value that one is made of by these operators: by default its shape, type and scale may change."""
        node = self._makers.get(name)
        while node is not None and node.op_type in operators:
            name = node.input[0]
            node = self._makers.get(name)
        return name

    def loadable(self, weights: Mapping[str, bytes]) -> bytes | None:
        """Return the file as prescore loads it, if that is not as it is.

        Sequences of maps from class to probability become tensors with a column for each class, in the order of
        `labels`, and weights of inner graphs, from the files `weights`, move into the file.
        """
        has_maps = any(output.name in self._zip_maps for output in self._graph.output)
        if not has_maps and not weights:
            return None
        model = ModelProto()
        model.CopyFrom(self._model)
        if has_maps:
            self._replace_maps(model.graph)
        embed_inner_weights(model, weights)
        content: bytes = model.SerializeToString()
        return content

    def _replace_maps(self, graph: Any) -> None:
        for node in graph.node:
            if node.op_type == "ZipMap":
                tensor = helper.make_node("Identity", [node.input[0]], [node.output[0]])
                node.CopyFrom(tensor)
        for output in graph.output:
            if output.name in self._zip_maps:
                classes = _classes(self._zip_maps[output.name]) or ()
                value = helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [None, len(classes)])
                output.CopyFrom(value)

    @property
    def widest(self) -> int:
        """The largest dimension of a matrix of weights: about how many numbers one row becomes inside of the model."""
        sizes = [max(tensor.dims) for tensor in self._constants.values() if len(tensor.dims) > 1]
        return max(sizes, default=1)


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return the value of a node's attribute, or `default` if it has none of this name."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def _names(text: str) -> tuple[str, ...]:
    """Return names that are written as a JSON list, or between commas."""
    try:
        names = json.loads(text)
    except ValueError:
        names = text.split(",")
    return tuple(str(name).strip() for name in names) if isinstance(names, list) else ()


def _nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for inner in node.attribute:
            if inner.HasField("g"):
                yield from _nodes(inner.g.node)
            for graph in inner.graphs:
                yield from _nodes(graph.node)


def _classes(node: Any) -> tuple[Label, ...] | None:
    for name in _CLASSES:
        classes = attribute(node, name)
        if classes:
            return _as_labels(classes)
    return None


def _has_raw_votes(node: Any) -> bool:
    """Return whether the scores of a classifier are those of pairs of classes: a support vector machine's votes."""
    return node.op_type == "SVMClassifier" and not attribute(node, "prob_a")


def _as_labels(values: list[Any]) -> tuple[Label, ...]:
    labels = []
    for value in values:
        label = value.decode() if isinstance(value, bytes) else value
        labels.append(label)
    return tuple(labels)
