"""Comparing versions over one base: the measures follow from its profile, and equal those of all rows."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from scipy import stats

from fix_incremental import Nights
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection, Database
from prescore.comparison import distribution, shared_base
from prescore.comparison.bins import COARSE
from prescore.comparison.comparison import compare
from prescore.comparison.differences import POINTS, Comparison
from prescore.errors import DatabaseRefused
from prescore.project.spec import Retention
from prescore.versions import delta, retirement, table
from prescore.versions.options import RunOptions

ROWS = 3000
KEY = {"customer": "bigint", "shop": "text"}
OUTPUTS = {
    "score": "real",
    "price": "double precision",
    "visits": "bigint",
    "late": "boolean",
    "band": "text",
    "note": "text",
    "embedding": "real[]",
    "Extra day": "date",
}
NUMBERS = ("score", "price", "visits")

Row = tuple[Any, ...]
Rows = dict[tuple[int, str], Row]
"""The rows of a version, by their keys."""


_NO_PRICE = (math.nan, math.inf, None, 1e300)


def _values(random: np.random.Generator, count: int) -> list[Row]:
    """Return rows with skewed numbers and frequent ones, and with values that no number is measured from."""
    score = random.beta(2, 5, count).astype(np.float32).tolist()
    price = np.where(random.random(count) < 0.5, np.exp(6 * random.normal(size=count)), random.integers(3, size=count))
    visits, kind = random.poisson(3, count).tolist(), random.integers(40, size=count).tolist()
    return [
        (
            score[i],
            _NO_PRICE[kind[i]] if kind[i] < len(_NO_PRICE) else float(price[i]),
            visits[i],
            score[i] > 0.4,
            None if kind[i] > 36 else "high" if score[i] > 0.3 else "low",
            f"note {kind[i] * visits[i]} {i % 1000}",
            None if kind[i] == 5 else [score[i], float(visits[i])],
            f"2026-01-{1 + visits[i]:02}",
        )
        for i in range(count)
    ]


def _first(random: np.random.Generator) -> Rows:
    return {_key(customer): row for customer, row in enumerate(_values(random, ROWS))}


def _key(customer: int) -> tuple[int, str]:
    return customer, "ab"[customer % 2]


def _night(random: np.random.Generator, before: Rows, share: float) -> Rows:
    """Return the rows after a night: a share of them has changed or vanished, and a fifth as many are new."""
    after = dict(before)
    count = int(share * ROWS)
    for customer, row in zip(_some(random, count), _values(random, count), strict=True):
        old = after.pop(_key(customer), None)
        if old is not None and customer % 5:
            # Only some of the columns differ.
            kept = customer % len(OUTPUTS)
            after[_key(customer)] = (*row[:kept], *old[kept:])
    for customer, row in zip(_some(random, count // 5), _values(random, count // 5), strict=True):
        after[customer, "c"] = row
    return after


def _some(random: np.random.Generator, count: int) -> list[int]:
    customers: list[int] = random.choice(ROWS, count, replace=False).tolist()
    return customers


class Versions:
    """Versions of a model in the catalog and in tables, without the runs that would make them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.count = 0
        connection.execute("insert into prescore.models (model) values ('churn')")

    def full(self, rows: Rows) -> Version:
        """Make a full version."""
        version = self._begin()
        self._copy(version, rows)
        return self._finish(version, len(rows), len(rows))

    def delta(self, base: Version, rows_of_base: Rows, rows: Rows) -> Version:
        """Make a delta over a base. It also has some rows that are equal."""
        version = self._begin()
        vanished = [key for key in rows_of_base if key not in rows]
        keys = pa.table({"customer": [key[0] for key in vanished], "shop": [key[1] for key in vanished]})
        keys = keys.cast(pa.schema({"customer": pa.int64(), "shop": pa.string()}))
        delta.create(self.connection, version, base, keys, changes={}, location=None)
        version = Catalog(self.connection).version("churn", version["version"])
        own = {key: row for key, row in rows.items() if rows_of_base.get(key) != row or key[0] % 997 == 0}
        self._copy(version, own)
        return self._finish(version, len(rows), len(own) + len(vanished))

    def _begin(self) -> Version:
        self.count += 1
        name = f"churn_v{self.count}"
        columns = [
            Jsonb([{"name": column, "type": kind, "comment": "", "role": role} for column, kind in types.items()])
            for types, role in ((KEY, "key"), (OUTPUTS, "output"))
        ]
        self.connection.execute(
            """insert into prescore.versions (model, version, table_name, rows_version, rows_table, content_version,
                 domain_fingerprint, spec_fingerprint, spec, key_columns, output_columns)
               values ('churn', %(n)s, %(name)s, %(n)s, %(name)s, %(n)s, '', '', '{}', %(key)s, %(outputs)s)""",
            {"n": self.count, "name": name, "key": columns[0], "outputs": columns[1]},
        )
        version = Catalog(self.connection).version("churn", self.count)
        table.create(self.connection, version)
        return version

    def _copy(self, version: Version, rows: Rows) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, (*KEY, *OUTPUTS)))
        statement = sql.SQL("copy prescore_versions.{} ({}) from stdin").format(table.identifier(version), names)
        with self.connection.cursor().copy(statement) as copy:
            for key, row in rows.items():
                copy.write_row((*key, *row))

    def _finish(self, version: Version, rows: int, stored: int) -> Version:
        table.index(self.connection, version, [])
        self.connection.execute(
            "update prescore.versions set state = 'checked', rows = %s, rows_stored = %s where version = %s",
            (rows, stored, version["version"]),
        )
        return Catalog(self.connection).version("churn", version["version"])


@pytest.fixture
def versions(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Versions:
    """Versions of a few thousand rows, which are compared as those of millions are."""
    monkeypatch.setattr(distribution, "EXACT_ROWS", ROWS // 2)
    return Versions(connection)


def _derived(connection: Connection, a: Version, b: Version, **options: Any) -> Comparison:
    """Compare two versions over one base."""
    assert shared_base.find(connection, a, b) is not None
    return compare(connection, a, b, **options)


def _whole(connection: Connection, a: Version, b: Version) -> Comparison:
    """Compare two versions with all of their rows, as if their tables were not known to be whole."""
    return compare(connection, a, {**b, "rows_stored": None})


def _numbers(rows: Rows, column: str) -> np.ndarray[Any, Any]:
    values = [row[list(OUTPUTS).index(column)] for row in rows.values()]
    return np.array([value for value in values if value is not None and abs(value) < 1e150], float)


def _require_equal(found: Comparison, expected: Comparison, rows_a: Rows, rows_b: Rows) -> None:
    """Require the measures of all rows: exactly, or for distributions within the bounds that the docs give."""
    assert found.keys == expected.keys
    for column, other in zip(found.columns, expected.columns, strict=True):
        assert (column.column, column.changed, column.labels) == (other.column, other.changed, other.labels)
        assert column.elements == other.elements
        if column.shift is None or other.shift is None:
            assert column.shift is other.shift is None
            continue
        one, two = column.shift, other.shift
        assert (one.moved, one.largest_difference) == (two.moved, two.largest_difference)
        assert one.mean_difference == pytest.approx(two.mean_difference, rel=1e-9)
        assert one.movers == two.movers
        values = _numbers(rows_a, column.column), _numbers(rows_b, column.column)
        ks = stats.ks_2samp(*values, method="asymp").statistic
        assert ks - COARSE <= one.ks <= ks + 1e-12
        assert one.psi == pytest.approx(two.psi, abs=COARSE)
        for side, exact, numbers in ((one.a, two.a, values[0]), (one.b, two.b, values[1])):
            assert (side.count, exact.count) == (len(numbers), len(numbers))
            assert (side.mean, side.deviation) == pytest.approx((exact.mean, exact.deviation), rel=1e-9)
            _require_quantiles(side.quantiles or (), numbers)


def _require_quantiles(quantiles: Any, numbers: np.ndarray[Any, Any]) -> None:
    assert (quantiles[0], quantiles[-1]) == (numbers.min(), numbers.max())
    points = np.array(POINTS)
    low = np.quantile(numbers, np.maximum(points - COARSE, 0), method="inverted_cdf")
    high = np.quantile(numbers, np.minimum(points + COARSE, 1), method="inverted_cdf")
    assert (low <= quantiles).all()
    assert (quantiles <= high).all()


def _without_extremes(rows: Rows, count: int) -> Rows:
    """Return rows without those of the smallest and the largest scores and prices."""
    left = dict(rows)
    for column in ("score", "price"):
        place = list(OUTPUTS).index(column)
        finite = [key for key, row in rows.items() if row[place] is not None and abs(row[place]) < 1e150]
        ordered = sorted(finite, key=lambda key: rows[key][place])
        for key in ordered[:count] + ordered[-count:]:
            left.pop(key, None)
    return left


def _moved_together(rows: Rows) -> Rows:
    """Return rows of which a tenth have scores between two scores of the base, and prices above all others."""
    moved = {}
    for key, row in rows.items():
        score, price = float(np.float32(0.25 + row[0] ** 4 * 2e-4)), 1e9 + key[0]
        moved[key] = (score, price, *row[2:]) if key[0] % 10 == 0 else row
    return moved


def test_the_measures_are_those_of_all_rows(versions: Versions) -> None:
    random = np.random.default_rng(1)
    first = _first(random)
    small = _night(random, first, 0.002)
    large = _night(random, small, 0.3)
    # What has vanished is back, as it was.
    large |= {key: row for key, row in first.items() if key not in small and key[0] % 2}
    nights = [first, small, large, _without_extremes(first, 20), _without_extremes(first, 200), _moved_together(first)]
    base = versions.full(first)
    found = [base, *(versions.delta(base, first, rows) for rows in nights[1:])]
    for one, other in ((0, 1), (1, 2), (2, 3), (0, 4), (4, 3), (0, 5), (5, 0)):
        a, b = found[one], found[other]
        _require_equal(
            _derived(versions.connection, a, b), _whole(versions.connection, a, b), nights[one], nights[other]
        )


def test_what_is_equal_has_not_shifted(versions: Versions) -> None:
    random = np.random.default_rng(2)
    first = _first(random)
    base = versions.full(first)
    # The other columns of these rows are equal, as those of others that were scored again.
    b = versions.delta(
        base, first, {key: (row[0], -1.0, *row[2:]) if key[0] < 100 else row for key, row in first.items()}
    )
    comparison = _derived(versions.connection, base, b)
    score, price, *others = comparison.columns
    assert score.shift is not None
    assert (score.shift.ks, score.shift.psi, score.shift.mean_shift, score.shift.quantile_shift) == (0, 0, 0, 0)
    assert [column.changed for column in (score, *others)] == [0] * (len(OUTPUTS) - 1)
    assert price.changed == comparison.keys.changed == 100
    # A version with the same rows has no delta of its own.
    same = _derived(versions.connection, base, base)
    assert (same.keys.common, same.keys.changed, same.keys.added, same.keys.vanished) == (ROWS, 0, 0, 0)


def test_a_profile_is_kept_and_made_again(versions: Versions) -> None:
    random = np.random.default_rng(3)
    first = _first(random)
    base = versions.full(first)
    b = versions.delta(base, first, _night(random, first, 0.01))
    connection = versions.connection
    comparison = _derived(connection, base, b)
    kept = "select column_name, rows, labels from prescore.profiles where version = 1 order by column_name"
    made = connection.execute(kept).fetchall()
    assert [row["column_name"] for row in made] == sorted([*NUMBERS, "late", "band", "note"])
    # The base is not read again: a profile that is wrong shows.
    connection.execute("update prescore.profiles set labels = '[[true, 1]]' where column_name = 'late'")
    assert _derived(connection, base, b) != comparison
    connection.execute("delete from prescore.profiles where column_name <> 'band'")
    assert _derived(connection, base, b) == comparison
    assert connection.execute(kept).fetchall() == made
    # A session that may not write compares all rows.
    connection.execute("set default_transaction_read_only = on")
    assert shared_base.find(connection, base, b) is None
    assert compare(connection, base, b).keys == comparison.keys


def test_comparisons_of_two_sessions_do_not_wait_for_each_other(
    versions: Versions, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    random = np.random.default_rng(3)
    first = _first(random)
    base = versions.full(first)
    # The profile gets further edges for this one.
    b = versions.delta(base, first, _moved_together(first))
    with database.connect() as other:
        other.execute("set lock_timeout = '1ms'")
        with versions.connection.transaction():
            comparison = _derived(versions.connection, base, b)
            # What that session has saved is not committed yet.
            assert _derived(other, base, b) == comparison
        profiles = "select * from prescore.profiles order by column_name"
        saved = other.execute(profiles).fetchall()
        assert [row["column_name"] for row in saved] == sorted([*NUMBERS, "late", "band", "note"])
        other.execute("delete from prescore.profiles")
        assert _derived(other, base, b) == comparison
        assert other.execute(profiles).fetchall() == saved
        # A profile that cannot be kept costs no comparison, and not the transaction that it is part of.
        other.execute("delete from prescore.profiles")
        versions.connection.execute("begin")
        versions.connection.execute("lock table prescore.profiles in share mode")
        with other.transaction():
            assert _derived(other, base, b) == comparison
            assert other.execute("select 1 as one").fetchall() == [{"one": 1}]
        versions.connection.execute("rollback")
        assert "its profile could not be kept: canceling statement due to lock timeout" in caplog.text
        assert other.execute(profiles).fetchall() == []


@pytest.mark.parametrize("lost", ["version > 0", "version < 0"])
def test_a_delta_that_lost_a_row_is_not_compared(versions: Versions, lost: str) -> None:
    random = np.random.default_rng(4)
    first = _first(random)
    base = versions.full(first)
    b = versions.delta(base, first, _night(random, first, 0.01))
    statement = sql.SQL(
        "delete from prescore_versions.{0} where ctid = (select min(ctid) from prescore_versions.{0} where "
    )
    versions.connection.execute(statement.format(table.identifier(b)) + sql.SQL(lost) + sql.SQL(")"))
    with pytest.raises(DatabaseRefused, match="according to the catalog, and not all of them"):
        compare(versions.connection, base, b)


def test_nights_are_compared_and_their_profiles_go_with_their_versions(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "EXACT_ROWS", 100)
    with nights.project.database.connect() as connection:
        catalog = Catalog(connection)
        profiled = "select distinct version from prescore.profiles order by version"
        # The last but one of these nights is rebased; the last one is a delta over the copy.
        for night, (customers, profiles) in enumerate([(3, [1]), (120, [1, 4]), (5, [1, 4])]):
            nights.frame.loc[: customers - 1, "spend"] += 1
            nights.frame = nights.frame.drop(index=[500 + night])
            served = catalog.version("churn", catalog.model("churn")["published_version"] or 0)
            version = catalog.version("churn", nights.run().version)
            whole = _whole(connection, served, version)
            assert version["comparison"] is not None
            assert version["comparison"]["keys"] == asdict(whole.keys)
            score, expected = version["comparison"]["columns"][0], whole.columns[0]
            assert expected.shift is not None
            assert (score["changed"], score["shift"]["moved"]) == (expected.changed, expected.shift.moved)
            assert [row["version"] for row in connection.execute(profiled)] == profiles
        limits = Retention.model_validate({"versions": 1, "grace": "0s"})
        assert list(retirement.retire(connection, nights.project.job().store, "churn", limits))
        assert [row["version"] for row in connection.execute(profiled)] == [4]
        # A full version gets its profile when it is checked.
        nights.run(RunOptions(full=True))
        assert [row["version"] for row in connection.execute(profiled)] == [4, 6]
        assert nights.project.cli("remove", "churn", "--yes").code == 0
        assert connection.execute(profiled).fetchall() == []
