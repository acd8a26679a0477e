"""An incremental model and its nights: the customers of tonight, a run, and what the version must then show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fix_project import SPEC, Sandbox, customers
from prescore.errors import Busy
from prescore.run import audit, materialize
from prescore.run.report import Report
from prescore.versions.options import DEFAULTS, RunOptions

WITHOUT_CHECKS = SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :]
INCREMENTAL = (
    "max_rejects = 20\n"
    + WITHOUT_CHECKS.replace("[onnx]\n", '[passthrough]\nnote = "text"\n[onnx]\nnullable = ["spend"]\n')
    + "[incremental]\nrebase = 0.1\n"
)
NAMES = ("carried", "changed", "new", "vanished")


@dataclass
class Nights:
    """A project with an incremental model, `churn`, and the customers of tonight as `frame`, indexed by their key."""

    project: Sandbox
    frame: Any

    def run(self, options: RunOptions = DEFAULTS) -> Report:
        """Make a version of tonight's customers."""
        self.write()
        return materialize.run(self.project.job(), options)

    def write(self) -> None:
        """Write tonight's customers, in another order."""
        shuffled = self.frame.sample(frac=1, random_state=len(self.frame))
        table = pa.Table.from_pandas(shuffled.reset_index(), preserve_index=False)
        types = {"customer": pa.int64(), "visits": pa.float32(), "spend": pa.float32(), "note": pa.string()}
        self.project.data(table.select(list(types)).cast(pa.schema(types)))

    def changes(self) -> tuple[int, ...]:
        """Make and verify a version, and return its numbers of carried, changed, new and vanished rows."""
        report = self.run()
        self.verify(report.version)
        return self.numbers(report)

    def numbers(self, report: Report) -> tuple[int, ...]:
        """Return the numbers of carried, changed, new and vanished rows of a run."""
        return tuple((report.changes or {})[name] for name in NAMES)

    def verify(self, version: int | None = None) -> None:
        """Compare a version with what its snapshot gives, and the published one with tonight's customers."""
        assert audit.verify(self.project.job(), version).identical
        shown = self.project.rows("select customer, score, note from predictions.churn order by customer")
        assert shown == self.expected()

    def expected(self) -> list[tuple[Any, ...]]:
        frame = self.frame.sort_index()
        scores = 1 / (1 + np.exp(-(frame["visits"] - 0.5 * frame["spend"])))
        rows = zip(frame.index, scores, frame["note"], strict=True)
        return [(key, pytest.approx(score, rel=1e-5), note) for key, score, note in rows if not np.isnan(score)]

    def catalog(self, columns: str) -> list[tuple[Any, ...]]:
        return self.project.rows(f"select {columns} from prescore.versions order by version")


@pytest.fixture
def nights(sandbox: Sandbox) -> Nights:
    """Nights after the first, of which version 1 is published: 1,000 customers."""
    sandbox.spec(INCREMENTAL)
    sandbox.query("select customer, visits, spend, note from read_parquet('data/customers.parquet')")
    frame = customers().to_pandas().set_index("customer")
    frame["note"] = None
    nights = Nights(sandbox, frame)
    assert nights.run().changes == {"reason": "no version was served"}
    return nights


def interrupted(function: Any) -> Any:
    """Return a function that does the same and then ends the run."""

    def interrupt(*arguments: Any, **named: Any) -> Any:
        function(*arguments, **named)
        raise Busy("interrupted")

    return interrupt
