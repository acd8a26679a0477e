"""What a check observed and what it demands are said in words, whatever expectation it is."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy

from fix_project import Sandbox
from prescore.run import materialize

SPEC = """
[domain]
query = "sql/domains/churn.sql"
[key]
customer = "bigint"
[passthrough]
gap = "text"
[outputs]
score = { type = "double precision" }
queue = { type = "text" }
urgent = { type = "boolean" }
"""
QUERY = """
select i::bigint customer, i / 1000.0 score, if(i % 3 = 0, 'billing', 'spam') queue, true urgent, null gap
from range(9) t(i)
"""
# Expectation and its arguments → what is observed and expected.
CHECKS = [
    (
        'column_distinct_values_to_contain_set"\ncolumn="queue"\nvalue_set=["billing", "sales"]',
        "observed sales is missing; expected all of billing, sales",
    ),
    (
        'column_distinct_values_to_contain_set"\ncolumn="urgent"\nvalue_set=[true, false]',
        "observed false is missing; expected all of true, false",
    ),
    (
        'column_distinct_values_to_contain_set"\ncolumn="queue"\nvalue_set=["a", "b", "spam"]',
        "observed 2 values are missing, such as a, b; expected all of a, b, spam",
    ),
    (
        'column_distinct_values_to_equal_set"\ncolumn="queue"\nvalue_set=["billing", "sales"]',
        "observed sales is missing, 1 unexpected value, such as spam; expected exactly billing, sales",
    ),
    (
        'column_values_to_be_in_set"\ncolumn="queue"\nvalue_set=["sales"]\nmostly=0.3',
        "observed 9 unexpected values, such as billing, spam; expected only sales in at least 30 % of the rows",
    ),
    ('column_most_common_value_to_be_in_set"\ncolumn="queue"\nvalue_set=["a"]', "observed spam; expected one of a"),
    ('column_max_to_be_between"\ncolumn="score"\nmin_value=100_000', "observed 0.008; expected at least 100,000"),
    ('column_values_to_not_be_null"\ncolumn="gap"', "observed 9 unexpected values, such as null"),
    (
        'unexpected_rows_expectation"\nunexpected_rows_query="select customer, queue from {batch} where score > 0.006"',
        "observed 2 unexpected rows",
    ),
    (
        'unexpected_rows_expectation"\nunexpected_rows_query="select * from {batch} where scores > 0.006"',
        'column "scores" does not exist',
    ),
    ('column_to_exist"\ncolumn="queue"\ncolumn_index=9', "observed not as expected; expected at position 9"),
    (
        'multicolumn_sum_to_equal"\ncolumn_list=["customer", "score"]\nsum_total=100.0',
        (
            "such as (customer 0, score 0), (customer 1, score 0.001), (customer 2, score 0.002); "
            "expected customer, score adding up to 100"
        ),
    ),
    (
        (
            'column_values_to_be_between"\ncolumn="score"\nmin_value=0.5\nstrict_min=true\n'
            "row_condition='col(\"customer\") > 7'"
        ),
        'observed 1 unexpected value, such as 0.008; expected more than 0.5 where col("customer") > 7',
    ),
]


def test_failed_checks_say_what_they_observed_and_what_they_demand(sandbox: Sandbox) -> None:
    checks = [f'[[checks]]\nname="check {i}"\nexpect="{check}\n' for i, (check, _) in enumerate(CHECKS)]
    sandbox.spec(SPEC + "".join(checks))
    sandbox.query(QUERY)
    refusal = sandbox.cli("run", "churn").err
    lines = {line.partition(":")[0].strip(): line for line in refusal.splitlines()}
    for i, (_, message) in enumerate(CHECKS):
        assert lines[f"check {i}"].endswith(message)


def test_aggregates_are_read_in_one_scan(sandbox: Sandbox) -> None:
    names = ("max", "mean", "min", "stdev", "sum", "unique_value_count")
    checks = [
        f'[[checks]]\nname="{name}"\nexpect="column_{name}_to_be_between"\ncolumn="score"\nmin_value=0\n'
        for name in names
    ]
    sandbox.spec(SPEC + "".join(checks))
    sandbox.query(QUERY)
    scans = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if '"churn_v1"' in statement and "LIMIT" not in statement:
            scans.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        report = materialize.run(sandbox.job())
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    assert len(scans) == 1, scans
    observed = {check["name"]: check["observed"] for check in report.checks if check["name"] in names}
    scores = np.arange(9) / 1000
    assert observed == {
        "max": 0.008,
        "mean": pytest.approx(scores.mean()),
        "min": 0.0,
        "stdev": pytest.approx(scores.std(ddof=1)),
        "sum": pytest.approx(scores.sum()),
        "unique_value_count": 9,
    }
