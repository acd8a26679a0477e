"""The report of a run, as the public API returns it."""

from __future__ import annotations

from typing import Self

from prescore.public import html
from prescore.public.formatting import format_seconds, format_value
from prescore.run.report import Report
from prescore.versions.withheld import warnings
from prescore.wording import count


class RunReport(Report):
    """One version after its run: its state, its size, how long each step took, and the results of its checks."""

    @classmethod
    def from_report(cls, report: Report) -> Self:
        """Return the report of `run.materialize` in its public form."""
        return cls(**vars(report))

    def summary(self) -> dict[str, object]:
        """Return what a notebook shows of the run: name → value. What did not happen is left out."""
        lines = {
            "model": self.model,
            "version": self.version,
            "outcome": "published" if self.published else self.outcome(),
            "rows": f"{self.rows:,} in {count(self.chunks, 'chunk')}",
            "reuse": self.reuse(),
            "kept": self.vanished(),
            "rejected rows": self.rejected or None,
            "resumed": self.resumption(),
            "as of": self.as_of,
            "data as of": self.data_as_of,
            "seconds": format_seconds(self.seconds),
            "error": self.error,
            "warning": "; ".join(self.warnings),
        }
        return {name: value for name, value in lines.items() if value}

    def vanished(self) -> str | None:
        """Return how many rows whose keys have vanished are kept, None without any."""
        return f"{count(self.kept, 'row')} whose keys have vanished" if self.kept else None

    def resumption(self) -> str | None:
        """Return how much of the version was finished before this run; None for one that was not resumed."""
        if not self.resumed:
            return None
        # Of a delta, only the rows that differ from its base are scored.
        scored = (self.changes or {}).get("chunks")
        total = count(self.chunks, "chunk") if scored is None else f"{count(scored, 'chunk')} of changed rows"
        return f"{self.chunks_before:,} of {total} were finished already"

    def outcome(self) -> str:
        """Return what became of the version, and what to do next, as a sentence."""
        name = f"{self.model} {self.version}"
        if self.trial_rows:
            return f"{self.state}, as a trial on at most {count(self.trial_rows, 'row')}: it is never published"
        if self.state != "checked":
            return self.state
        if self.backfill:
            return (
                f"kept: version {self.served} has newer data; "
                f"`prescore publish {name} --allow-older` publishes this one anyway"
            )
        if self.held:
            return (
                f"not published: {self.model} is on hold ({self.held}); "
                f"`prescore release {self.model}`, then `prescore publish {name}`"
            )
        if warnings(self.checks):
            return f"not published: it waits for approval; `prescore publish {name}` approves and publishes it"
        return f"checked, not published: `prescore publish {name}` publishes it"

    def _repr_html_(self) -> str:
        checks = [
            {
                "check": result["name"],
                "passed": "with a warning" if result.get("warning") else result["passed"],
                "observed": format_value(result["observed"]),
                "expected": result["expected"],
            }
            for result in self.checks
        ]
        return html.record(self.summary()) + (html.table(checks) if checks else "")
