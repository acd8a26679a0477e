"""`prescore init --model --data --key`: from a model file and data to a published table, with no file edited."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import prescore
from fix_project import Sandbox, customers, linear, model
from prescore.project import spec_file

INIT = ("init", "shop", "--model", "models/shop.onnx", "--data", "data/customers.parquet", "--key", "customer")


@pytest.fixture
def shop(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return a project with a model file and data, and without a spec for them."""
    sandbox.onnx(linear([1.0, -0.5]), name="shop")
    monkeypatch.chdir(sandbox.root)
    return sandbox


def _run(shop: Sandbox, *arguments: str) -> None:
    done = shop.cli(*arguments)
    assert done.code == 0, done.err
    done = shop.cli("run", "shop")
    assert done.code == 0, done.err


def _score(visits: float, spend: float) -> float:
    return float(1 / (1 + np.exp(-(visits - 0.5 * spend))))


def test_a_model_and_a_file_become_a_table_in_two_commands(shop: Sandbox) -> None:
    done = shop.cli(*INIT)
    assert done.code == 0, done.err
    assert "Next: prescore run shop" in done.out
    assert "Confirm the order of the features" in done.err
    done = shop.cli("run", "shop")
    assert done.code == 0, done.err
    row = customers().slice(7, 1).to_pylist()[0]
    answer = json.loads(shop.cli("lookup", "shop", "7", "--json").out)
    assert answer["prediction"]["prediction"] == pytest.approx(_score(row["visits"], row["spend"]), rel=1e-5)
    drafted = spec_file.load(shop.root / "specs/shop.toml")
    assert [check.expect for check in drafted.checks] == [
        "table_row_count_to_be_between",
        "column_values_to_be_between",
        "column_mean_to_be_between",
        "column_stdev_to_be_between",
    ]


def test_the_order_of_the_examples_is_that_of_the_features(shop: Sandbox) -> None:
    table = customers().select(["customer", "spend", "visits"])
    shop.data(table)

    def score(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"prediction": _scores(frame)})

    frame = table.to_pandas()[["visits", "spend"]]
    prescore.examples(score, frame, n=50, file=shop.root / "models/shop.examples.parquet")
    _run(shop, *INIT)
    drafted = spec_file.load(shop.root / "specs/shop.toml")
    assert drafted.onnx is not None
    assert drafted.onnx.inputs == {"features": ("visits", "spend")}
    assert drafted.onnx.examples is not None
    # A model file that got more outputs since has examples that lack them.
    for written in ("specs/shop.toml", "sql/domains/shop.sql"):
        (shop.root / written).unlink()
    prescore.examples(score, frame, file=shop.root / "models/shop.examples.parquet", outputs={"other": _scores})
    done = shop.cli(*INIT)
    assert "shop.examples.parquet has no column for prediction, and so the spec does not use it." in done.err
    drafted = spec_file.load(shop.root / "specs/shop.toml")
    assert drafted.onnx is not None
    assert drafted.onnx.examples is None


def _scores(frame: pd.DataFrame) -> Any:
    return 1 / (1 + np.exp(-(frame["visits"] - 0.5 * frame["spend"])))


def test_the_order_can_be_given(shop: Sandbox) -> None:
    shop.data(customers().select(["spend", "visits", "customer"]))
    done = shop.cli(*INIT, "--features", "visits,spend")
    assert (done.code, "Confirm the order" in done.err) == (0, False), done.err
    drafted = spec_file.load(shop.root / "specs/shop.toml")
    assert drafted.onnx is not None
    assert drafted.onnx.inputs == {"features": ("visits", "spend")}


def test_inputs_are_filled_by_name_and_classes_have_columns(shop: Sandbox) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"visits": random.normal(size=300), "spend": random.normal(size=300)})
    labels = np.array(["Gold", "No plan", "silver"])[np.digitize(frame["visits"], [-0.5, 0.5])]
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, labels)
    content = to_onnx(fitted, frame[:1].astype("float32"), target_opset={"": 18, "ai.onnx.ml": 3})
    shop.onnx(content.SerializeToString(), name="shop")
    frame["Customer"] = [f"c{number}" for number in range(300)]
    (shop.root / "data/customers.csv").write_text(frame.to_csv(index=False))
    arguments = ("init", "shop", "--model", "models/shop.onnx", "--data", "data/customers.csv", "--key", "customer")
    _run(shop, *arguments)
    answer = json.loads(shop.cli("lookup", "shop", "c5", "--json").out)["prediction"]
    expected = fitted.predict_proba(frame[["visits", "spend"]][5:6])[0]
    found = [answer[f"probability_{name}"] for name in ("gold", "no_plan", "silver")]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert answer["prediction"] == fitted.predict(frame[["visits", "spend"]][5:6])[0]


def test_text_features_and_missing_values_are_remarked_on(shop: Sandbox) -> None:
    shape: list[int | None] = [None, 1]
    nodes = [helper.make_node("Identity", ["visits"], ["score"]), helper.make_node("Identity", ["plan"], ["label"])]
    inputs = [("visits", TensorProto.FLOAT, shape), ("plan", TensorProto.STRING, shape)]
    outputs = [("score", TensorProto.FLOAT, shape), ("label", TensorProto.STRING, shape)]
    shop.onnx(model(nodes, inputs, outputs), name="shop")
    rows = {"customer": [1, 2, 3, 4], "visits": [1.5, None, 2.5, 3.5], "plan": ["basic", "family", None, "basic"]}
    shop.data(pa.table(rows))
    done = shop.cli(*INIT)
    assert done.code == 0, done.err
    assert "Some rows have no value for visits, and the model gets NaN" in done.err
    assert "Some rows have no value for plan, and are rejected" in done.err
    drafted = spec_file.load(shop.root / "specs/shop.toml")
    assert drafted.onnx is not None
    assert not drafted.onnx.inputs
    assert list(drafted.onnx.nullable) == ["visits"]
    assert "cast(visits as real) as visits" in (shop.root / "sql/domains/shop.sql").read_text()


def test_what_does_not_fit_is_a_mistake_and_writes_nothing(shop: Sandbox) -> None:
    faults = {
        "--features visits,spend,age": "The model takes 2 features, but these are 3",
        "--features visits,sepnd": "The data has no column sepnd. Did you mean spend? It has customer, visits, spend",
        "--key id": "The data has no column id",
        "--data data/nothing.parquet": "There is no file",
        "--data data/customers.xlsx": "There is no file",
        "--table customers": "is a file. Leave it out",
        "--model models/nothing.onnx": "nothing.onnx",
    }
    for arguments, message in faults.items():
        done = shop.cli(*INIT, *arguments.split())
        assert (done.code, message in done.err) == (2, True), (arguments, done.err)
    assert not (shop.root / "specs/shop.toml").exists()
    assert shop.cli("init", "shop", "--model", "models/shop.onnx").code == 2


def test_existing_files_are_kept_unless_forced(shop: Sandbox) -> None:
    done = shop.cli(*INIT, "--dry-run")
    assert (done.code, 'customer = "bigint"' in done.out) == (0, True)
    assert not (shop.root / "specs/shop.toml").exists()
    assert shop.cli(*INIT).code == 0
    assert "already exists" in shop.cli(*INIT).err
    assert shop.cli(*INIT, "--force").code == 0


def test_a_query_and_a_table_of_a_database_are_data(shop: Sandbox) -> None:
    query = shop.root / "sql/domains/shop.sql"
    query.write_text("select customer, visits, spend from read_parquet('data/customers.parquet');\n")
    _run(shop, *INIT[:4], "--data", "sql/domains/shop.sql", "--key", "customer", "--force")
    assert query.read_text().startswith("select customer, visits")

    path = shop.root / "shop.db"
    frame = customers(50).to_pandas()
    with sqlite3.connect(path) as connection:
        frame.to_sql("Order", connection, index=False)
    arguments = [*INIT[:4], "--data", f"sqlite:///{path}", "--table", "Order", "--key", "customer", "--force"]
    _run(shop, *arguments)
    assert shop.rows("select count(*) from predictions.shop") == [(50,)]
    assert "[sources]" in (shop.root / "prescore.toml").read_text()


def test_a_password_is_not_written_into_the_project(shop: Sandbox) -> None:
    url = "postgresql+psycopg://me:secret@localhost/db"
    done = shop.cli(*INIT[:4], "--data", url, "--table", "t", "--key", "customer")
    assert (done.code, "--data env:WAREHOUSE_URL" in done.err, "secret" in done.err) == (2, True, False)


def test_data_outside_of_the_project_keeps_its_path(shop: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("outside")
    pyarrow.csv.write_csv(customers(20), folder / "some customers.csv")
    _run(shop, *INIT[:4], "--data", str(folder / "some customers.csv"), "--key", "customer")
    assert shop.rows("select count(*) from predictions.shop") == [(20,)]


def test_uuid_keys_are_uuids(shop: Sandbox) -> None:
    rows = customers(20).to_pandas()
    keys = [f"b8acd569-1b2c-4e47-8245-cb3ab4e4ce{number:02d}" for number in range(20)]
    rows["customer"] = keys
    (shop.root / "data/customers.json").write_text(rows.to_json(orient="records", lines=True))
    _run(shop, *INIT[:4], "--data", "data/customers.json", "--key", "customer")
    assert spec_file.load(shop.root / "specs/shop.toml").key == {"customer": "uuid"}
    assert shop.cli("lookup", "shop", keys[3].upper()).code == 0


def test_a_probability_that_rounds_above_1_passes_the_draft(shop: Sandbox) -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"customer": range(1000), "visits": generator.normal(0, 1, 1000)})
    frame["spend"] = generator.normal(5, 1, 1000)
    target = (frame["visits"] + generator.normal(0, 0.4, 1000) > 0).astype(int)
    forest = RandomForestClassifier(68, random_state=0).fit(frame[["visits", "spend"]], target)
    prescore.export_onnx(forest, frame[["visits", "spend"]], "models/shop.onnx")
    frame.to_parquet("data/customers.parquet")
    _run(shop, *INIT)
    ((highest,),) = shop.rows("select max(probability_1) from predictions.shop")
    assert 1 < highest < 1.00001
    shop.edit("max_value = 1.00001", "max_value = 1.0", name="shop")
    refused = shop.cli("run", "shop")
    assert refused.code == 4
    assert "unexpected values, such as 1.000000" in refused.err


def test_the_first_row_of_a_database_may_have_no_value(shop: Sandbox) -> None:
    with sqlite3.connect(shop.root / "shop.db") as connection:
        connection.execute("create table orders (customer integer, visits real, spend real)")
        connection.executemany("insert into orders values (?, ?, ?)", [(1, None, 0.1), (2, 0.2, 0.3), (3, 0.4, None)])
    done = shop.cli(*INIT[:4], "--data", f"sqlite:///{shop.root}/shop.db", "--table", "orders", "--key", "customer")
    assert done.code == 0, done.err
    assert spec_file.load(shop.root / "specs/shop.toml").onnx.allow_precision_loss == {"visits", "spend"}  # type: ignore[union-attr]


def test_a_column_that_is_gone_from_the_data_is_named(shop: Sandbox) -> None:
    doubles = customers().set_column(2, "spend", customers()["spend"].cast("double"))
    shop.data(doubles)
    _run(shop, *INIT)
    shop.data(doubles.drop_columns(["spend"]))
    done = shop.cli("run", "shop")
    assert done.code == 2
    assert "failed: the data has no column spend. Correct the name in the query" in done.err
