"""Models, keys and sources that the examples do not have: each is run, published and looked up by key."""

from __future__ import annotations

import datetime
import json
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from fix_project import Sandbox, linear, model

SPEC = """
[domain]
query = "sql/domains/{name}.sql"
[key]
{key}
[onnx]
file = "models/{name}.onnx"
{onnx}
[outputs]
{outputs}
"""


def _write(sandbox: Sandbox, name: str, table: pa.Table, content: bytes, *, key: str, onnx: str, outputs: str) -> None:
    sandbox.spec(SPEC.format(name=name, key=key, onnx=onnx, outputs=outputs), name)
    sandbox.query(f"select * from read_parquet('data/{name}.parquet')", name)
    sandbox.data(table, name)
    sandbox.onnx(content, name)


def _look_up(sandbox: Sandbox, name: str, *key: str) -> dict[str, object]:
    lookup = sandbox.cli("lookup", name, *key, "--json")
    assert lookup.code == 0, lookup.err
    prediction: dict[str, object] = json.loads(lookup.out)["prediction"]
    return prediction


def test_a_regression_model_can_be_keyed_by_uuid(sandbox: Sandbox) -> None:
    ids = [uuid.UUID(int=i * 2**64 + i) for i in range(1, 301)]
    x = np.linspace(-3, 3, 300)
    nodes = [helper.make_node("Mul", ["x", "w"], ["price"])]
    content = model(
        nodes,
        [("x", TensorProto.DOUBLE, [None, 1])],
        [("price", TensorProto.DOUBLE, [None, 1])],
        {"w": np.array([[12345.678901234567]])},
    )
    table = pa.table({"house": [str(i) for i in ids], "x": x})
    outputs = 'price = { from = "price", type = "double precision" }'
    _write(sandbox, "houses", table, content, key='house = "uuid"', onnx='[onnx.inputs]\nx = "x"', outputs=outputs)
    assert sandbox.cli("run", "houses").code == 0
    assert sandbox.rows("select pg_typeof(house)::text as t from predictions.houses limit 1") == [("uuid",)]
    assert _look_up(sandbox, "houses", str(ids[41])) == {"price": x[41] * 12345.678901234567}


# skl2onnx passes booleans to protobuf as integers, which is deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_multi_class_model_can_have_text_features_and_a_text_key(sandbox: Sandbox) -> None:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"colour": random.choice(["rot", "grün", "青"], 600), "size": random.normal(size=600).astype(np.float32)}
    )
    label = np.where(frame["colour"] == "青", "sea", np.where(frame["size"] > 0, "hill", "plain"))
    encode = ColumnTransformer([("text", OneHotEncoder(), ["colour"])], remainder="passthrough")
    pipeline = make_pipeline(encode, LogisticRegression()).fit(frame, label)
    types = [("colour", StringTensorType([None, 1])), ("size", FloatTensorType([None, 1]))]
    content = to_onnx(pipeline, initial_types=types, options={"zipmap": False}, target_opset=18).SerializeToString()

    names = [f"place/{i} é" for i in range(600)]
    table = pa.table(
        {"place": names, "colour": pa.array(frame["colour"].to_list()), "size": pa.array(frame["size"].to_numpy())}
    )
    outputs = "\n".join(
        ['kind = { from = "label", type = "text" }']
        + [f'p_{c} = {{ from = "probabilities", index = {i}, type = "real" }}' for i, c in enumerate(pipeline.classes_)]
    )
    onnx = '[onnx.inputs]\ncolour = "colour"\nsize = "size"'
    _write(sandbox, "places", table, content, key='place = "text"', onnx=onnx, outputs=outputs)
    assert sandbox.cli("run", "places").code == 0

    expected = pipeline.predict_proba(frame)
    rows = sandbox.rows("select place, kind, p_hill, p_plain, p_sea from predictions.places")
    positions = {name: i for i, name in enumerate(names)}
    assert np.allclose([row[2:] for row in rows], [expected[positions[row[0]]] for row in rows], atol=1e-5)
    assert all(row[1] == pipeline.classes_[expected[positions[row[0]]].argmax()] for row in rows)
    assert _look_up(sandbox, "places", names[7])["kind"] == pipeline.predict(frame)[7]


def test_a_model_can_have_several_outputs_and_a_composite_key(sandbox: Sandbox) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["double"]),
        helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Greater", ["x", "two"], ["more"]),
    ]
    content = model(
        nodes,
        [("x", TensorProto.FLOAT, [None, 1])],
        [
            ("double", TensorProto.FLOAT, [None, 1]),
            ("whole", TensorProto.INT64, [None, 1]),
            ("more", TensorProto.BOOL, [None, 1]),
        ],
        {"two": np.array([2.0], np.float32)},
    )
    days = [datetime.date(2024, 2, 28) + datetime.timedelta(days=i) for i in range(4)]
    table = pa.table(
        {
            "shop": pa.array([1, 1, 2, 2], pa.int32()),
            "day": days,
            "x": pa.array([1.5, 2.5, 3.5, 4.5], pa.float32()),
            "note": pa.array(["a", None, "c", "d"]),
        }
    )
    outputs = """
double = { from = "double", type = "real" }
whole = { from = "whole", type = "smallint" }
more = { from = "more", type = "boolean" }
[passthrough]
note = "text"
"""
    key = 'shop = "integer"\nday = "date"'
    _write(sandbox, "demand", table, content, key=key, onnx='[onnx.inputs]\nx = "x"', outputs=outputs)
    assert sandbox.cli("run", "demand").code == 0
    assert _look_up(sandbox, "demand", "1", "2024-02-29") == {"double": 5.0, "whole": 2, "more": True, "note": None}
    assert sandbox.cli("lookup", "demand", "2", "2024-02-29").code == 2


def test_keys_beyond_the_integers_of_a_double_stay_distinct(sandbox: Sandbox) -> None:
    ids = [2**53 + 1, 2**53 + 2, 2**63 - 1, -(2**63)]
    table = pa.table({"id": pa.array(ids, pa.int64()), "a": pa.array([0.1, 0.2, 0.3, 0.4], pa.float32())})
    outputs = 'score = { from = "score", type = "real" }'
    onnx = '[onnx.inputs]\nfeatures = ["a"]'
    _write(sandbox, "wide", table, linear([1.0]), key='id = "bigint"', onnx=onnx, outputs=outputs)
    assert sandbox.cli("run", "wide").code == 0
    scores = [_look_up(sandbox, "wide", str(i))["score"] for i in ids if i >= 0]
    assert len(set(scores)) == 3
    assert sandbox.rows("select count(*) from predictions.wide where id = -9223372036854775808") == [(1,)]


@pytest.mark.parametrize(
    ("kind", "values", "key"),
    [
        ("timestamp", [datetime.datetime(2024, 3, 31, 2, 30)], "2024-03-31T02:30:00"),  # noqa: DTZ001 - a clock reading
        ("timestamptz", [datetime.datetime(2024, 3, 31, 1, 30, tzinfo=datetime.UTC)], "2024-03-31T03:30:00+02:00"),
        ("smallint", [-32768], "-32768"),
        ("text", ["'; drop table prescore.models; --"], "'; drop table prescore.models; --"),
    ],
)
def test_a_row_is_found_by_a_key_of_any_type(sandbox: Sandbox, kind: str, values: list[object], key: str) -> None:
    table = pa.table({"k": pa.array(values), "a": pa.array([0.5], pa.float32())})
    outputs = 'score = { from = "score", type = "real" }'
    onnx = '[onnx.inputs]\nfeatures = ["a"]'
    _write(sandbox, "one", table, linear([1.0]), key=f'k = "{kind}"', onnx=onnx, outputs=outputs)
    assert sandbox.cli("run", "one").code == 0
    assert sandbox.cli("lookup", "one", "--", key).code == 0


def test_names_that_look_like_sql_are_only_names(sandbox: Sandbox) -> None:
    name = 'id"; drop schema predictions cascade; --'
    table = pa.table({name: pa.array([1, 2]), "a b": pa.array([0.1, 0.2], pa.float32())})
    key = f"'{name}' = \"bigint\""
    outputs = '"the score {0} %s" = { from = "score", type = "real" }'
    onnx = '[onnx.inputs]\nfeatures = ["a b"]'
    _write(sandbox, "odd", table, linear([1.0]), key=key, onnx=onnx, outputs=outputs)
    done = sandbox.cli("run", "odd")
    assert done.code == 0, done.err
    assert list(_look_up(sandbox, "odd", "1")) == ["the score {0} %s"]


def test_a_domain_can_be_in_another_database(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox.database.connect() as connection:
        connection.execute(
            b"create table public.people as select i::bigint as customer, (i % 7)::real as visits,"
            b" (i % 3)::real as spend,"
            b" md5(i::text)::uuid as card from generate_series(1, 2500) i"
        )
    monkeypatch.setenv("WAREHOUSE_URL", sandbox.database.sqlalchemy_url)
    sandbox.settings('chunk_rows = 1000\n[sources]\nwarehouse = "env:WAREHOUSE_URL"\n')
    sandbox.edit("[domain]", '[domain]\nsource = "warehouse"')
    sandbox.edit("[onnx]", '[passthrough]\ncard = "uuid"\n[onnx]')
    sandbox.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nallow_precision_loss = ["visits", "spend"]')
    sandbox.query("select customer, visits, spend, card from people order by customer")
    done = sandbox.cli("run", "churn", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["chunks"] == 3
    mismatches = (
        "select count(*) from predictions.churn p join public.people using (customer) where p.card <> people.card"
    )
    assert sandbox.rows(mismatches) == [(0,)]


def test_a_domain_query_reaches_its_database_unchanged(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", sandbox.database.sqlalchemy_url)
    sandbox.settings('[sources]\nwarehouse = "env:WAREHOUSE_URL"\n')
    sandbox.edit("[domain]", '[domain]\nsource = "warehouse"')
    sandbox.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nallow_precision_loss = ["visits", "spend"]')
    sandbox.query(
        """select i::bigint as customer, ('{"k":true, "n": 2}'::jsonb ->> 'n')::real as visits, 0::real as spend
from generate_series(1, 20) i where 'a 10% b :i' like '%10\\% b :i' and i % 2 = 0"""
    )
    checked = sandbox.cli("validate", "churn", "--json")
    assert checked.code == 0, checked.err
    assert json.loads(checked.out)[0]["rows"] == 10
    assert sandbox.cli("run", "churn").code == 0
