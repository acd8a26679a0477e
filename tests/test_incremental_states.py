"""Nights of an incremental model in any order of events: each version is, and stays, what a full run would have given.

`make soak` runs more examples, and longer ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fix_incremental import INCREMENTAL, Nights
from fix_project import Sandbox, linear
from prescore.catalog.catalog import Catalog
from prescore.comparison import distribution
from prescore.comparison.comparison import compare
from prescore.errors import NotAllowed, NotFound, Refused
from prescore.project.spec import Retention
from prescore.run import audit
from prescore.run.report import Report
from prescore.versions import hold, pointer, removal, retirement
from prescore.versions.options import PublishOptions, RunOptions
from prescore.versions.rollback import rollback

EXAMPLES = int(os.environ.get("PRESCORE_SOAK", "2"))
STEPS = 9 if EXAMPLES < 10 else 25
MAX_REJECTS = 4
ROWS = 40
RETENTION = Retention.model_validate({"versions": 2, "grace": "0s", "candidates": "0s"})
QUERY = "select customer, visits, spend, note from read_parquet('data/customers.parquet')"
Keys = st.lists(st.integers(0, ROWS + 10), min_size=1, max_size=4, unique=True)
Shares = st.sampled_from(["0", "0.05", "0.1", "0.4"])
Rows = list[tuple[Any, ...]]


class Machine(RuleBasedStateMachine):
    """One model. `inputs` and `truth` are the customers of each version and what it must show, by its number."""

    project: Sandbox

    @initialize()
    def begin(self) -> None:
        """Publish the first night of a new model."""
        with suppress(NotFound):
            removal.remove(self.project.database, self.project.job().store, "churn")
        self.project.spec(INCREMENTAL.replace("max_rejects = 20", f"max_rejects = {MAX_REJECTS}"))
        self.project.query(QUERY)
        self.add = 0.0
        self.project.onnx(linear([1.0, -0.5]))
        random = np.random.default_rng(0)
        values = {name: random.normal(size=ROWS).astype(np.float32) for name in ("visits", "spend")}
        frame = pd.DataFrame(values, index=pd.RangeIndex(ROWS, name="customer")).assign(note=None)
        self.nights = Nights(self.project, frame)
        self.first = frame.copy()
        self.inputs: dict[int, Any] = {}
        self.truth: dict[int, Rows] = {}
        self.run(full=False, publish=True)

    @rule(keys=Keys, by=st.sampled_from([1.0, -0.5, 0.0]))
    def change(self, keys: list[int], by: float) -> None:
        """Change the inputs of some customers, perhaps by nothing."""
        self.frame.loc[self.known(keys), "spend"] += np.float32(by)

    @rule(keys=Keys, note=st.sampled_from([None, "", "by phone"]))
    def note(self, keys: list[int], note: str | None) -> None:
        """Change what is passed through."""
        self.frame.loc[self.known(keys), "note"] = note

    @rule(keys=Keys)
    def add_or_bring_back(self, keys: list[int]) -> None:
        """Add customers, or bring them back as they were."""
        for key in set(keys) - set(self.frame.index):
            self.frame.loc[key] = self.first.loc[key % ROWS]

    @rule(keys=Keys)
    def remove(self, keys: list[int]) -> None:
        """Remove customers, but never the last ones."""
        if len(self.frame) > ROWS // 2:
            self.nights.frame = self.frame.drop(index=self.known(keys))

    @rule(keys=Keys)
    def reject(self, keys: list[int]) -> None:
        """Give customers an input that the model makes NaN of, as far as the spec allows, and cure the others."""
        cured = self.frame["spend"].isna()
        self.frame.loc[cured, "spend"] = np.float32(0.25)
        self.frame.loc[self.known(keys)[:MAX_REJECTS], "spend"] = np.nan

    @rule(part=st.sampled_from(["model file", "spec", "query", "rebase"]), share=Shares)
    def configure(self, part: str, share: str) -> None:
        """Change what the model is made of, or when deltas are rebased."""
        spec = self.project.root / "specs/churn.toml"
        if part == "model file":
            self.add = 1.0 - self.add
            self.project.onnx(linear([1.0, -0.5], add=self.add))
        elif part == "spec":
            text = spec.read_text()
            wide = 'nullable = ["spend", "visits"]'
            spec.write_text(
                text.replace(wide, 'nullable = ["spend"]') if wide in text else text.replace('["spend"]', wide[11:])
            )
        elif part == "query":
            path = self.project.root / "sql/domains/churn.sql"
            path.write_text(f"{path.read_text()} where true" if "true" not in path.read_text() else QUERY)
        else:
            before, _, _ = spec.read_text().partition("rebase = ")
            spec.write_text(f"{before}rebase = {share}\n")

    @rule(full=st.sampled_from([False, False, False, True]), publish=st.sampled_from([True, True, False]))
    def run(self, *, full: bool, publish: bool) -> None:
        """Make a version of tonight's customers."""
        served = self.served()
        report = self.nights.run(RunOptions(full=full, publish=publish))
        numbers = [report.version] if report.rebased_to is None else [report.version, report.rebased_to]
        for number in numbers:
            self.inputs[number] = self.frame.copy()
            self.truth[number] = self.expected()
            assert audit.verify(self.project.job(), number).identical
        self.compare_numbers(report, served)
        self.compare_with_served(report.version, served)

    @rule(what=st.sampled_from(["duplicate", "rejects"]))
    def refuse(self, what: str) -> None:
        """Make a version of customers that the checks refuse; the next night is as before."""
        before = self.frame.copy()
        if what == "duplicate":
            self.nights.frame = pd.concat([self.frame, self.frame.iloc[[0]]])
        else:
            self.frame.loc[self.frame.index[: MAX_REJECTS + 1], "spend"] = np.nan
        with pytest.raises(Refused):
            self.nights.run()
        self.nights.frame = before

    @rule()
    def roll_back(self) -> None:
        """Go back to the last version with other predictions, if there is one."""
        with self.connected() as connection, suppress(NotAllowed):
            rollback(connection, "churn")
            hold.release(connection, "churn")

    @rule(position=st.integers(0, 9))
    def publish(self, position: int) -> None:
        """Publish any version by hand."""
        number = sorted(self.truth)[position % len(self.truth)]
        with self.connected() as connection, suppress(NotAllowed):
            pointer.publish(connection, "churn", number, PublishOptions(allow_older=True))

    @rule()
    def retire(self) -> None:
        """Retire all that nothing keeps."""
        with self.connected() as connection:
            list(retirement.retire(connection, self.project.job().store, "churn", RETENTION))

    @invariant()
    def every_version_is_as_it_was(self) -> None:
        """Each version that may be read has the rows that it was made with, and readers see the published one."""
        if not getattr(self, "truth", None):
            return
        with self.connected() as connection:
            versions = Catalog(connection).versions("churn")
        shown = self.project.rows("select customer, score, note from predictions.churn order by customer")
        assert shown == self.truth[self.served() or 0]
        for version in versions:
            if version["state"] not in ("checked", "published", "superseded"):
                continue
            table = f"prescore_versions.{version['table_name']}"
            whole = self.project.rows(f"select customer, score, note from {table} order by customer")
            assert whole == self.truth[version["version"]], version["version"]
            assert version["rows"] == len(whole)

    def compare_numbers(self, report: Report, served: int | None) -> None:
        """Compare what the run says that it reused with what differs between the inputs."""
        found = report.changes or {}
        if "unchanged_since" in found:
            assert found["unchanged_since"] == served
            assert self.frame.sort_index().equals(self.inputs[found["unchanged_since"]].sort_index())
        elif "base" in found:
            base = self.inputs[found["base"]]
            common = self.frame.index.intersection(base.index)
            one, other = self.frame.loc[common], base.loc[common]
            same = ((one == other) | (one.isna() & other.isna())).all(axis=1) & other["spend"].notna()
            new, vanished = len(self.frame) - len(common), len(base) - len(common)
            assert self.nights.numbers(report) == (int(same.sum()), int((~same).sum()), new, vanished)

    def compare_with_served(self, number: int, served: int | None) -> None:
        """Compare what the catalog has of the differences from the served version with those of all rows."""
        with self.connected() as connection:
            version = Catalog(connection).version("churn", number)
            if served is None or version["comparison"] is None:
                return
            before = Catalog(connection).version("churn", served)
            # It is then compared by all rows.
            whole = compare(connection, before, {**version, "rows_stored": None}).as_dict()
        assert version["comparison"]["keys"] == whole["keys"]
        for found, expected in zip(version["comparison"]["columns"], whole["columns"], strict=True):
            assert found["changed"] == expected["changed"]
            if expected["shift"] is not None:
                _require_alike(found["shift"]["b"], expected["shift"]["b"])

    def expected(self) -> Rows:
        """Return what a version of tonight's customers shows."""
        return [
            (key, pytest.approx(score.expected + self.add, rel=1e-5), note)
            for key, score, note in self.nights.expected()
        ]

    def served(self) -> int | None:
        """Return the number of the published version."""
        rows = self.project.rows("select published_version from prescore.models")
        return rows[0][0] if rows else None

    def known(self, keys: list[int]) -> list[int]:
        """Return the keys that tonight's customers have."""
        return [key for key in keys if key in self.frame.index]

    @property
    def frame(self) -> Any:
        """Tonight's customers."""
        return self.nights.frame

    @property
    def connected(self) -> Callable[[], Any]:
        """The function that connects to the database."""
        return self.project.database.connect


def _require_alike(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Require one distribution: quantiles that follow from a profile may be off by the width of a bin."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = 1e-3 if name == "quantiles" else 1e-9
        assert found[name] == pytest.approx(value, rel=tolerance)


def test_each_version_is_and_stays_what_a_full_run_gives(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # Versions with as few rows have profiles, too.
    monkeypatch.setattr(distribution, "EXACT_ROWS", 10)
    machine = type("Machine", (Machine,), {"project": sandbox})
    limits = settings(
        deadline=None,
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=limits)
