"""Train the demand model on generated sales, and export it: `python train.py`."""

from datetime import timedelta
from pathlib import Path

import duckdb
import pandas as pd
from data import write_sales
from sklearn.metrics import mean_absolute_error
from sklearn.multioutput import MultiOutputRegressor
from xgboost import XGBRegressor

import prescore

SALES = Path("data/sales.parquet")
KEY = ["product", "shop", "week"]
FEATURES = [
    "units_last_week",
    "units_four_weeks",
    "units_quarter",
    "units_year_ago",
    "units_season",
    "price",
    "promoted_next",
]
HORIZONS = {"units_1w": 1, "units_2w": 2, "units_4w": 4}
QUERY = Path("sql/domains/demand.sql").read_text()
FUTURE = """
    select product, shop, week, sum(units) over (history rows between 1 following and 1 following) as units_1w,
        sum(units) over (history rows between 1 following and 2 following) as units_2w,
        sum(units) over (history rows between 1 following and 4 following) as units_4w
    from read_parquet('data/sales.parquet')
    window history as (partition by product, shop order by week)
"""

if not SALES.exists():
    write_sales(SALES)
last_week = pd.read_parquet(SALES, columns=["week"])["week"].max()

# The domain query as of seven earlier times, each eight weeks before the next. The newest features are four weeks old,
# so that the sales of all horizons are known.
moments = [last_week + timedelta(weeks=1 - 4 - 8 * ago) for ago in reversed(range(7))]
rows = pd.concat([duckdb.execute(QUERY, {"as_of": pd.Timestamp(moment)}).df() for moment in moments])
rows = rows.merge(duckdb.sql(FUTURE).df(), on=KEY)
is_test = rows["week"] > rows["week"].max() - timedelta(weeks=8)
train, test = rows[~is_test], rows[is_test]

model = MultiOutputRegressor(XGBRegressor(n_estimators=50, max_depth=4, learning_rate=0.15))
model.fit(train[FEATURES], train[list(HORIZONS)])
predicted = pd.DataFrame(model.predict(test[FEATURES]), columns=list(HORIZONS))
print(f"trained on {len(train):,} rows, tested on {len(test):,}. Mean errors in units, and those of a moving average:")
for name, weeks in HORIZONS.items():
    error = mean_absolute_error(test[name], predicted[name])
    simple = mean_absolute_error(test[name], weeks * test["units_four_weeks"])
    print(f"  {name}  {error:.1f}  {simple:.1f}")

exported = prescore.export_onnx(model, test, "models/demand.onnx", targets=list(HORIZONS))
print(exported.sentence())
