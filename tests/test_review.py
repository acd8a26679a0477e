"""The review of a version: its check results, and how it differs from the served version."""

from __future__ import annotations

import pytest

from fix_project import SPEC, Sandbox, linear
from prescore.catalog.catalog import Catalog
from prescore.errors import NotAllowed
from prescore.run import materialize, review
from prescore.run.review import Review
from prescore.versions.options import RunOptions

UNPUBLISHED = RunOptions(publish=False)


@pytest.fixture(autouse=True)
def _checks_without_great_expectations(sandbox: Sandbox) -> None:
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :])


def _review(sandbox: Sandbox, version: int) -> Review:
    with sandbox.database.connect() as connection:
        catalog = Catalog(connection)
        return review.report(catalog, catalog.version("churn", version))


def test_the_first_version_is_compared_with_nothing(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job(), UNPUBLISHED)
    report = _review(sandbox, 1)
    assert (report.model, report.version, report.rows, report.rejected) == ("churn", 1, 1000, 0)
    assert (report.served, report.comparison, report.comparison_error) == (None, None, None)
    lines = report.markdown()
    assert lines[0].startswith("1,000 rows, 0 rejected, data as of 20")
    assert lines[-1] == "No version is served yet."


def test_a_review_lists_every_check_and_the_differences_from_the_served_version(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    sandbox.onnx(linear([1.0, -0.5], 0.1))
    materialize.run(sandbox.job(), UNPUBLISHED)
    report = _review(sandbox, 2)
    assert report.served == 1
    assert report.as_dict()["comparison"]["keys"] == {"added": 0, "vanished": 0, "common": 1000, "changed": 1000}
    lines = report.markdown()
    assert len(report.checks) > 0
    assert sum(line.startswith("| ") for line in lines) == 1 + len(report.checks)
    assert "Keys compared with version 1, which is served: 0 added, 0 vanished, 1,000 common, 1,000 changed." in lines
    assert lines[-1].startswith("- score: 1,000 rows changed, by 0.0")


def test_versions_with_different_keys_are_not_compared(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    sandbox.edit('customer = "bigint"', 'client = "bigint"')
    sandbox.query("select customer as client, visits, spend from read_parquet('data/customers.parquet')")
    materialize.run(sandbox.job(), UNPUBLISHED)
    report = _review(sandbox, 2)
    assert report.comparison is None
    assert report.comparison_error is not None
    assert report.markdown()[-1] == f"Version 1 is served. {report.comparison_error}"


def test_a_review_warns_while_the_model_is_on_hold(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    assert sandbox.cli("hold", "churn", "--reason", "the source is broken").code == 0
    materialize.run(sandbox.job())
    report = _review(sandbox, 2)
    assert (report.on_hold, report.hold_reason, report.backfill) == (True, "the source is broken", False)
    warning = "**The model is on hold (the source is broken). Approval publishes nothing until it is released.**"
    assert warning in report.markdown()


def test_a_review_warns_that_a_backfill_is_not_published(sandbox: Sandbox) -> None:
    source = "read_parquet('data/customers.parquet')"
    sandbox.query(f"select customer, visits, spend from {source} where customer < date_part('day', $as_of)")
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.cli("run", "churn", "--as-of", "2026-01-05").code == 0
    report = _review(sandbox, 2)
    assert report.backfill
    assert "**The served version has newer data." in "\n".join(report.markdown())


def test_table_cells_are_escaped(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job(), UNPUBLISHED)
    with sandbox.database.connect() as connection:
        catalog = Catalog(connection)
        version = catalog.version("churn", 1)
        version["checks"] = [{"name": "a|b\nc", "passed": True, "observed": 0.123456, "expected": "0 to 1"}]
        lines = review.report(catalog, version).markdown()
    assert r"| a\|b c | 0.1235 | 0 to 1 |" in lines


def test_a_version_of_another_spec_is_refused(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    with sandbox.database.connect() as connection:
        version = Catalog(connection).version("churn", 1)
    review.require_same_spec(sandbox.job().spec, version)
    sandbox.edit('type = "real"', 'type = "double precision"')
    with pytest.raises(NotAllowed, match="The spec of churn has changed since version 1 was started"):
        review.require_same_spec(sandbox.job().spec, version)
