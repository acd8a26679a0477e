"""Comparing two versions: every measure equals that of numpy, scipy and scikit-learn on the same values."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix

import prescore
from prescore.catalog.database import Connection
from prescore.comparison.comparison import compare
from prescore.comparison.differences import POINTS, Bucket, ColumnDifference, Comparison, KeyCounts, LabelPair, Shift
from prescore.comparison.movement import MAX_LABEL_PAIRS, MOVERS
from prescore.comparison.relation import SAMPLE_ROWS
from prescore.errors import DatabaseRefused

ROWS = 3000


def _nights() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two nights of customers: 200 of the first have vanished in the second, and 300 are new."""
    generator = np.random.default_rng(7)
    first: Any = pd.DataFrame({"customer": np.arange(ROWS)})
    first["score"] = generator.beta(2, 5, ROWS).astype(np.float32)
    first["visits"] = generator.poisson(3, ROWS)
    first["late"] = first["score"] > 0.4
    first["band"] = np.where(first["score"] > 0.3, "high", "low")
    second = pd.concat([first[200:], first[:300].assign(customer=np.arange(ROWS, ROWS + 300))], ignore_index=True)
    moved = generator.random(len(second)) < 0.1
    second["score"] = np.where(moved, second["score"] * np.float32(1.3) + np.float32(0.01), second["score"])
    second["visits"] += moved.astype(int)
    second["late"] = second["score"] > 0.42
    second["band"] = np.where(second["score"] > 0.35, "high", np.where(second["score"] > 0.1, "low", "none"))
    return first, second


TYPES = {"score": "real", "visits": "bigint", "late": "boolean", "band": "text"}


Rows = list[tuple[Any, ...]]
"""Rows of a version: the customer, and a value for each column."""


def _rows(frame: pd.DataFrame) -> Rows:
    return list(frame[["customer", *TYPES]].astype(object).itertuples(index=False, name=None))


def _table(connection: Connection, number: int, rows: Rows, types: dict[str, str]) -> Any:
    """Write a version's table as prescore names it, and return what `compare` needs of its row."""
    name = f"churn_v{number}"
    columns = ", ".join(f"{column} {kind}" for column, kind in types.items())
    connection.execute(
        f"create table prescore_versions.{name} (customer bigint primary key, {columns}, version int default {number})"
    )
    with connection.cursor().copy(f"copy prescore_versions.{name} (customer, {', '.join(types)}) from stdin") as copy:
        for row in rows:
            copy.write_row(row)
    return _row(number, len(rows), types)


def _row(number: int, rows: int, types: dict[str, str]) -> Any:
    """Return what `compare` needs of a version's row in the catalog."""
    return {
        "model": "churn",
        "version": number,
        "state": "checked",
        "table_name": f"churn_v{number}",
        "rows_version": number,
        "base_version": None,
        "rows": rows,
        "key_columns": [{"name": "customer", "type": "bigint"}],
        "output_columns": [{"name": column, "type": kind, "role": "output"} for column, kind in types.items()],
    }


def _compare(
    connection: Connection,
    first: Rows,
    second: Rows,
    types: dict[str, str] | None = None,
    tolerances: dict[str, float] | None = None,
    precision: float | None = None,
) -> Comparison:
    a = _table(connection, 1, first, types or TYPES)
    b = _table(connection, 2, second, types or TYPES)
    return compare(connection, a, b, tolerances, precision=precision)


@pytest.fixture(scope="module")
def nights() -> tuple[pd.DataFrame, pd.DataFrame]:
    return _nights()


def _column(comparison: Comparison, name: str) -> ColumnDifference:
    (column,) = [column for column in comparison.columns if column.column == name]
    return column


def _shift(comparison: Comparison, name: str) -> Shift:
    shift = _column(comparison, name).shift
    assert shift is not None
    return shift


def _expected_psi(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """The textbook's formula, with the deciles of `a` as numpy computes them."""
    edges = np.quantile(a, np.arange(1, 10) / 10, method="inverted_cdf")
    shares = [np.bincount(np.searchsorted(edges, values, side="left"), minlength=10) / len(values) for values in (a, b)]
    share_a, share_b = np.maximum(shares, 1e-4)
    return float(((share_b - share_a) * np.log(share_b / share_a)).sum())


def test_every_measure_equals_that_of_the_libraries(
    connection: Connection, nights: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    first, second = nights
    comparison = _compare(connection, _rows(first), _rows(second), tolerances={"score": 0.05})
    both = first.merge(second, on="customer", suffixes=("_a", "_b"))
    differs = [(both[f"{name}_a"] != both[f"{name}_b"]).to_numpy() for name in TYPES]
    keys = comparison.keys
    assert (keys.added, keys.vanished, keys.common) == (300, 200, ROWS - 200)
    assert keys.changed == np.logical_or.reduce(differs).sum()
    for name, changed in zip(TYPES, differs, strict=True):
        assert _column(comparison, name).changed == changed.sum()
    for name in ("score", "visits"):
        a, b = first[name].to_numpy().astype(float), second[name].to_numpy().astype(float)
        shift = _shift(comparison, name)
        assert shift.ks == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
        assert shift.psi == pytest.approx(_expected_psi(a, b), abs=1e-12)
        assert (shift.a.count, shift.b.count) == (len(a), len(b))
        assert (shift.a.mean, shift.b.mean) == pytest.approx((a.mean(), b.mean()))
        assert (shift.a.deviation, shift.b.deviation) == pytest.approx((a.std(), b.std()))
        assert shift.b.quantiles == pytest.approx(np.quantile(b, POINTS, method="inverted_cdf"))
        difference = (both[f"{name}_b"].astype(float) - both[f"{name}_a"].astype(float)).to_numpy()
        assert shift.mean_difference == pytest.approx(difference.mean())
        assert shift.largest_difference == pytest.approx(np.abs(difference).max())
        tolerance = 0.05 if name == "score" else 0.1 * a.std()
        assert shift.tolerance == pytest.approx(tolerance)
        assert shift.moved == (np.abs(difference) > tolerance).sum()
        assert shift.mean_shift == pytest.approx(abs(a.mean() - b.mean()))


def test_in_large_versions_only_ks_and_psi_are_inexact(connection: Connection) -> None:
    rows = int(1.5 * SAMPLE_ROWS)
    values: list[Any] = []
    for number in (1, 2):
        _table(connection, number, [], {"price": "double precision"})
        # Skewed, with a few values that are frequent, and a shift from one version to the other.
        (column,) = connection.execute(
            f"""with written as (
                  insert into prescore_versions.churn_v{number} (customer, price)
                  select i, case when i % 5 = 0 then i % 3 else exp(6 * sin(i * 7919.0)) * 1.{number} end
                    from generate_series(1, {rows}) i returning price
                ) select array_agg(price) as price from written"""
        )
        values.append(np.array(column["price"]))
    versions = [_row(number, rows, {"price": "double precision"}) for number in (1, 2)]
    shift = _shift(compare(connection, *versions), "price")
    ks = stats.ks_2samp(*values).statistic
    assert ks - 0.002 <= shift.ks <= ks + 1e-12
    assert shift.psi == pytest.approx(_expected_psi(*values), abs=1e-3)
    for side, numbers in zip((shift.a, shift.b), values, strict=True):
        assert (side.count, side.mean, side.deviation) == pytest.approx((rows, numbers.mean(), numbers.std()))
        assert side.quantiles == pytest.approx(np.quantile(numbers, POINTS, method="inverted_cdf"), rel=1e-15)


def test_a_version_can_be_a_view(connection: Connection, nights: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first, second = nights
    tables = _compare(connection, _rows(first), _rows(second))
    connection.execute("alter table prescore_versions.churn_v2 rename to churn_rows")
    connection.execute("create view prescore_versions.churn_v2 as select * from prescore_versions.churn_rows")
    assert compare(connection, _row(1, ROWS, TYPES), _row(2, ROWS + 100, TYPES)) == tables


def test_flips_are_the_confusion_table(connection: Connection, nights: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first, second = nights
    comparison = _compare(connection, _rows(first), _rows(second))
    both = first.merge(second, on="customer", suffixes=("_a", "_b"))
    for name, values in (("late", [False, True]), ("band", ["high", "low", "none"])):
        expected = confusion_matrix(both[f"{name}_a"], both[f"{name}_b"], labels=values)
        labels = _column(comparison, name).labels
        assert labels is not None
        counts = {(pair.a, pair.b): pair.rows for pair in labels}
        table = [[counts.get((a, b), 0) for b in values] for a in values]
        assert table == expected.tolist()


def test_classes_are_labels_and_not_numbers(connection: Connection, nights: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first, second = nights
    a = _table(connection, 1, _rows(first), TYPES)
    b = _table(connection, 2, _rows(second), TYPES)
    as_number = _column(compare(connection, a, b), "visits")
    assert as_number.shift is not None
    for version in (a, b):
        version["signature"] = {"outputs": [{"name": "visits", "is_label": True}, {"name": "score", "is_label": False}]}
    as_class = _column(compare(connection, a, b), "visits")
    assert (as_class.shift, as_class.labels) == (None, as_number.labels)
    assert as_class.changed == as_number.changed > 0
    assert _shift(compare(connection, a, b), "score").psi is not None


def test_the_rows_that_moved_most_come_first(connection: Connection, nights: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first, second = nights
    comparison = _compare(connection, _rows(first), _rows(second))
    both = first.merge(second, on="customer", suffixes=("_a", "_b"))
    distance = (both["score_b"].astype(float) - both["score_a"].astype(float)).abs()
    movers = _shift(comparison, "score").movers
    assert len(movers) == MOVERS
    assert [abs(mover.b - mover.a) for mover in movers] == pytest.approx(distance.nlargest(MOVERS).tolist(), rel=1e-5)
    assert movers[0].key == [both["customer"].tolist()[distance.argmax()]]


def test_a_table_has_the_ten_most_frequent_changes_of_a_column() -> None:
    pairs = tuple(LabelPair(a=f"reason {i}", b="income", rows=50 - i) for i in range(12))
    column = ColumnDifference("reason", "text", 534, labels=pairs)
    comparison = prescore.Comparison("credit", 1, 2, KeyCounts(0, 0, 900, 534), (column,))
    assert [row["rows"] for row in comparison.label_table()] == list(range(50, 40, -1))
    assert len(comparison.as_dict()["columns"][0]["labels"]) == 12


def test_equal_versions_do_not_differ(connection: Connection, nights: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first, _ = nights
    comparison = _compare(connection, _rows(first), _rows(first)[::-1])
    assert (comparison.keys.added, comparison.keys.vanished, comparison.keys.changed) == (0, 0, 0)
    shift = _shift(comparison, "score")
    assert (shift.psi, shift.ks, shift.mean_shift, shift.quantile_shift, shift.moved) == (0, 0, 0, 0, 0)
    assert list(shift.movers) == []
    assert [column.flips for column in comparison.columns] == [[], [], [], []]


def test_null_nan_and_enormous_values_are_left_out_of_numbers(connection: Connection) -> None:
    first = enumerate([1.0, 2.0, None, math.nan, math.inf, 1e300])
    second = enumerate([1.0, 3.0, None, math.nan, -math.inf, 1e300])
    comparison = _compare(connection, list(first), list(second), {"price": "double precision"})
    shift = _shift(comparison, "price")
    assert (shift.a.count, shift.b.count, shift.largest_difference, shift.moved) == (2, 2, 1.0, 1)
    assert _column(comparison, "price").changed == 2
    json.dumps(comparison.as_dict(), allow_nan=False)


def test_numbers_within_a_precision_have_not_changed(connection: Connection) -> None:
    types = {"price": "double precision", "visits": "bigint", "embedding": "real[]"}
    first = [
        (1, 0.5, 7, [0.0, 1.0]),
        (2, None, 7, [1.0]),
        (3, 1000.0, 10_000_000, [1.0, 1.0]),
        (4, 1.0, 7, [1.0, None]),
    ]
    # A number may differ by a millionth of the largest price, 1000.
    second = [
        (1, 0.5009, 7, [0.0, 1.0000005]),
        (2, 1.0, 7, [1.1]),
        (3, 1000.0, 10_000_001, [1.0]),
        (4, math.nan, 7, [1.0, 1.0]),
    ]
    comparison = _compare(connection, first, second, types, precision=1e-6)
    assert [column.changed for column in comparison.columns] == [2, 1, 3]
    assert comparison.keys.changed == 3


def test_a_constant_number_has_one_bucket(connection: Connection) -> None:
    first = [(key, 0.5) for key in range(10)]
    second = [(key, 0.25 if key < 5 else 0.75) for key in range(10)]
    shift = _shift(_compare(connection, first, second, {"score": "real"}), "score")
    assert list(shift.buckets) == [Bucket(0.25, 0.5, 10, 5), Bucket(0.75, 0.75, 0, 5)]
    assert shift.ks == 0.5
    assert shift.psi == pytest.approx((0.5 - 1) * math.log(0.5) + (0.5 - 1e-4) * math.log(0.5 / 1e-4))
    assert (shift.moved, shift.tolerance) == (10, 0.0)


def test_versions_without_rows_or_common_columns_are_compared(connection: Connection) -> None:
    shift = _shift(_compare(connection, [], [], {"score": "real"}), "score")
    assert (shift.psi, shift.ks, shift.mean_shift, shift.quantile_shift) == (None, None, None, None)
    a = _table(connection, 3, [(1, 0.1), (2, 0.2)], {"score": "real"})
    b = _table(connection, 4, [(2, "x"), (3, "y")], {"band": "text"})
    comparison = compare(connection, a, b)
    assert (comparison.keys.added, comparison.keys.vanished, comparison.keys.common) == (1, 1, 1)
    assert comparison.columns == ()
    assert comparison.not_compared == {"score": "only in version 3", "band": "only in version 4"}
    c = _table(connection, 5, [(2, "x")], {"score": "text"})
    assert compare(connection, a, c).not_compared == {"score": "real in version 3, text in version 5"}


def test_a_text_with_many_values_has_no_confusion_table(connection: Connection) -> None:
    many = MAX_LABEL_PAIRS + 1
    first = [(key, f"note {key}") for key in range(many)]
    second = [(key, "same") for key in range(many)]
    column = _column(_compare(connection, first, second, {"note": "text"}), "note")
    assert (column.changed, column.labels) == (many, None)


def test_arrays_are_compared_element_by_element(connection: Connection) -> None:
    first = [(1, [0.0, 1.0]), (2, [1.0, 1.0]), (3, [2.0, 2.0])]
    second = [(1, [0.0, 1.0]), (2, [1.0, 1.5]), (3, [2.25, 2.0])]
    comparison = _compare(connection, first, second, {"embedding": "real[]"}, {"embedding": 0.3})
    column = _column(comparison, "embedding")
    assert column.changed == 2
    assert column.elements is not None
    assert (column.elements.largest_difference, column.elements.moved) == (0.5, 1)


def test_a_table_that_lost_rows_is_not_compared(
    connection: Connection, nights: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    first, second = nights
    a = _table(connection, 1, _rows(first), TYPES)
    b = _table(connection, 2, _rows(second), TYPES)
    connection.execute("delete from prescore_versions.churn_v2 where customer = 500")
    with pytest.raises(DatabaseRefused, match=r"3,100 rows according to the catalog, and 3,099"):
        compare(connection, a, b)
