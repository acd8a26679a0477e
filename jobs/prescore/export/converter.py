"""Convert an estimator to ONNX: the converter, the opsets and the options that its toolkit needs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnx import ModelProto, compose, helper

from prescore.errors import Mistake, ModelInvalid, PrescoreError
from prescore.export import functions, imputer, missing_branches, steps, thresholds, toolkits
from prescore.export.layout import MATRIX, Layout, texts_for_numbers
from prescore.export.tensors import rename

OPSETS = {"": 18, "ai.onnx.ml": 3}
"""onnxmltools writes trees of ai.onnx.ml 3, which every release of ONNX Runtime that prescore accepts can read."""
_IR_VERSION = 8
# skl2onnx splits text at every character that is not an ASCII letter, a digit or an underscore; scikit-learn does not.
_WORDS = r"[\p{L}\p{N}_]+"
_ERRORS = {
    "Unable to create node": "Install another version of protobuf: pip install 'protobuf<7'",
    "flatten_transform==True": "Train with VotingClassifier(…, flatten_transform=False).",
    "Infrequent categories": "Replace min_frequency and max_categories in OneHotEncoder by a list of categories.",
    "out_of_bounds": 'Calibrate with method="sigmoid".',
    "gbtree_model_param": "Train with the booster gbtree: onnxmltools does not convert dart and gblinear.",
    "missing values are not nan": "Train with NaN in place of these values, and without missing=….",
    "not support categorical features": (
        "Train without cat_features, on numbers: compute the codes of the categories in the domain query."
    ),
    "non symmetric trees": 'Train with grow_policy="SymmetricTree", the default.',
    "floating-point labels": "Train with y.astype(int).",
    "Unexpected label type": "Train with y.astype(int).",
    "objective should be cleaned": "onnxmltools has no converter for this objective of LightGBM. Train with another.",
}
# What converters say of texts where they expect numbers.
_TEXTS = ("StringTensorType", "missing values are string")
_GENERAL_ADVICE = "Look the message up in docs/export, or replace the step of the pipeline that it names."


def convert(estimator: Any, layout: Layout) -> ModelProto:
    """Return an estimator as an ONNX model whose inputs are those of a layout; raise ModelInvalid if it cannot be."""
    with _explained(estimator, layout), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match toolkits.toolkit(estimator), type(estimator).__name__:
            case (toolkits.CATBOOST, _):
                return _convert_catboost(estimator)
            case (toolkits.LIGHTGBM, "Booster"):
                return _convert_booster(estimator, layout)
        _register(estimator)
        _require_one_target(estimator)
        steps.require_no_functions(estimator)
        if steps.is_catboost_pipeline(estimator):
            return _convert_catboost_pipeline(estimator, layout)
        model = _convert_sklearn(estimator, layout)
        missing_branches.write(model, estimator)
        _use_common_locale(model)
        return model


def _converters() -> dict[str, Any]:
    """Return the arguments with which skl2onnx uses converters of prescore in place of its own."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import FunctionTransformer

    ours = {SimpleImputer: imputer, FunctionTransformer: functions}
    return {
        "custom_conversion_functions": {kind: module.convert for kind, module in ours.items()},
        "custom_shape_calculators": {kind: module.calculate_shape for kind, module in ours.items()},
    }


def _use_common_locale(model: ModelProto) -> None:
    """Let texts be normalized by a locale that every Linux has; the default of ONNX Runtime, en_US, few images have."""
    for node in model.graph.node:
        if node.op_type == "StringNormalizer" and all(found.name != "locale" for found in node.attribute):
            node.attribute.append(helper.make_attribute("locale", "C.UTF-8"))


def _require_one_target(estimator: Any) -> None:
    """Raise ModelInvalid for a tree or a forest that classifies several targets, whose probabilities are a cube."""
    last = steps.last(estimator)
    if hasattr(last, "classes_") and getattr(last, "n_outputs_", 1) > 1:
        name = type(last).__name__
        raise ModelInvalid(
            f"{name} classifies several targets at once, which is exported as a tensor that cannot be published. "
            f"Train MultiOutputClassifier({name}(…)), or one model for each target."
        )


def _convert_sklearn(estimator: Any, layout: Layout) -> ModelProto:
    from skl2onnx import convert_sklearn
    from sklearn.base import is_classifier

    words = {
        id(step.estimator): {"tokenexp": _WORDS}
        for step in steps.walk(estimator)
        if type(step.estimator).__name__ in steps.VECTORIZERS
    }
    options: dict[int, Any] = {**words, id(estimator): {"zipmap": False}} if is_classifier(estimator) else words
    arguments = {"initial_types": layout.initial_types(), "target_opset": OPSETS, **_converters()}
    try:
        model: ModelProto = convert_sklearn(estimator, options=options or None, **arguments)
    except NameError as error:
        # Classifiers without probabilities have no such option. Without any entry, skl2onnx sets it.
        if "'zipmap' not in" not in str(error):
            raise
        model = convert_sklearn(estimator, options={**words, id(steps.last(estimator)): {}}, **arguments)
    return model


def _convert_booster(booster: Any, layout: Layout) -> ModelProto:
    with toolkits.installed("onnxmltools"):
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

    _register_booster()
    types = [(MATRIX, FloatTensorType([None, len(layout.columns)]))]
    model: ModelProto = convert_lightgbm(booster, initial_types=types, zipmap=False)
    return model


def _convert_catboost(model: Any) -> ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        model.save_model(str(file), format="onnx")
        return ModelProto.FromString(file.read_bytes())


def _convert_catboost_pipeline(pipeline: Any, layout: Layout) -> ModelProto:
    """Convert the steps before CatBoost, and append the file that CatBoost writes."""
    features = _convert_sklearn(pipeline[:-1], layout)
    trees = compose.add_prefix(_convert_catboost(pipeline.steps[-1][1]), "catboost_")
    for model in (features, trees):
        del model.opset_import[:]
        model.opset_import.extend([helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)])
        model.ir_version = _IR_VERSION
        del model.metadata_props[:]
    merged: ModelProto = compose.merge_models(
        features, trees, io_map=[(features.graph.output[0].name, trees.graph.input[0].name)]
    )
    for output in list(merged.graph.output):
        rename(merged, output.name, output.name.removeprefix("catboost_"))
    return merged


def _register(estimator: Any) -> None:
    """Register onnxmltools' converters for the boosters in a pipeline."""
    found = {toolkits.toolkit(step.estimator) for step in steps.walk(estimator)}
    if toolkits.LIGHTGBM in found:
        _register_lightgbm()
    if toolkits.XGBOOST in found:
        _register_xgboost()


def _register_lightgbm() -> None:
    with toolkits.installed("onnxmltools"):
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    import lightgbm

    converter = thresholds.rounded_down(convert_lightgbm)
    options = {"split": None}
    _register_pair(lightgbm.LGBMClassifier, lightgbm.LGBMRegressor, "LightGbmLGBM", converter, options)
    _register_regressor(lightgbm.LGBMRanker, "LightGbmLGBMRanker", converter, options)


def _register_booster() -> None:
    """Register the converter for boosters that are not in a pipeline, which onnxmltools converts by itself."""
    from onnxmltools.convert.common._registration import register_converter
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    converter = thresholds.rounded_down(convert_lightgbm)
    for kind in ("LgbmClassifier", "LgbmRegressor", "LgbmRanker"):
        register_converter(kind, converter, overwrite=True)


def _register_xgboost() -> None:
    with toolkits.installed("onnxmltools"):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    import xgboost

    _register_pair(xgboost.XGBClassifier, xgboost.XGBRegressor, "XGBoostXGB", convert_xgboost, None)
    _register_pair(xgboost.XGBRFClassifier, xgboost.XGBRFRegressor, "XGBoostXGBRF", convert_xgboost, None)


def _register_pair(classifier: type, regressor: type, prefix: str, converter: Any, options: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator

    update_registered_converter(
        classifier,
        f"{prefix}Classifier",
        shape_calculator.calculate_linear_classifier_output_shapes,
        converter,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    _register_regressor(regressor, f"{prefix}Regressor", converter, options)


def _register_regressor(regressor: type, name: str, converter: Any, options: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator

    shape = shape_calculator.calculate_linear_regressor_output_shapes
    update_registered_converter(regressor, name, shape, converter, options=options)


def _require_numbers(estimator: Any, layout: Layout, error: Exception) -> None:
    """Raise Mistake for columns of texts that an estimator was trained on as numbers."""
    texts = texts_for_numbers(estimator, layout)
    if texts:
        verb = "is" if len(texts) == 1 else "are"
        raise Mistake(
            f"{', '.join(texts)} {verb} text, but the model was trained on numbers. Give the dtypes of training, such "
            f'as with frame["{texts[0]}"] = pandas.to_numeric(frame["{texts[0]}"]).'
        ) from error


@contextmanager
def _explained(estimator: Any, layout: Layout) -> Iterator[None]:
    """Raise ModelInvalid, with advice, for whatever a converter raises, and Mistake for texts in place of numbers."""
    try:
        yield
    except PrescoreError:
        raise
    # Converters raise anything, from AssertionError to errors of protobuf.
    except Exception as error:
        text = str(error)
        steps.require_convertible(estimator, text)
        if any(symptom in text for symptom in _TEXTS):
            _require_numbers(estimator, layout, error)
        advice = next((advice for symptom, advice in _ERRORS.items() if symptom in text), _GENERAL_ADVICE)
        raise ModelInvalid(
            f"{type(estimator).__name__} could not be converted to ONNX: {type(error).__name__}: {text[:800]}\n{advice}"
        ) from error
