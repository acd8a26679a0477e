"""The plan of a model and the proof of a version, as the public API returns them."""

from __future__ import annotations

from typing import Self

from prescore.public import html, markdown
from prescore.public.comparison import Comparison
from prescore.run import audit
from prescore.run import plan as plans
from prescore.wording import count


class Plan(plans.Plan):
    """What a project's model file and spec would do to the served version, and with a backtest to earlier ones."""

    @classmethod
    def from_plan(cls, plan: plans.Plan) -> Self:
        """Return the plan of `run.plan` in its public form."""
        return cls(**vars(plan))

    def comparisons(self) -> list[Comparison]:
        """Return how each version would differ, the served one first."""
        return [Comparison(**vars(night.comparison)) for night in self.nights]

    def summaries(self) -> list[str]:
        """Return a line for each version: what would become of it."""
        return [
            f"{self.model} version {night.version} ({night.state}), scored again: {night.outcome}"
            for night in self.nights
        ]

    def markdown(self) -> str:
        """Return the plan as Markdown, such as for a comment on a pull request."""
        lines = [f"### prescore plan: {self.model}", ""]
        for breaking in self.breaking:
            lines += [f"**Breaks readers: {breaking}**", ""]
        for night, summary, comparison in zip(self.nights, self.summaries(), self.comparisons(), strict=True):
            keys = comparison.keys
            lines += [
                f"**{summary}.**",
                "",
                f"{keys.changed:,} of {count(keys.common, 'row')} would change; {keys.vanished:,} would be rejected.",
                "",
            ]
            for title, rows in comparison.tables().items():
                if title != "keys":
                    lines += [f"{title.capitalize()}:", "", *markdown.table(rows), ""]
            lines += [f"- {verdict}" for verdict in (*night.verdicts(), *night.limits_within())]
            lines.append("")
        for line in self.unavailable_lines():
            lines += [line, ""]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = []
        for night, summary, comparison in zip(self.nights, self.summaries(), self.comparisons(), strict=True):
            tables = {title: html.nested(rows) for title, rows in comparison.tables().items()}
            parts.append(html.record({"version": summary, "limits": "; ".join(night.verdicts()), **tables}))
        parts += [html.record({"version": line}) for line in self.unavailable_lines()]
        return "".join(parts)


class Verification(audit.Verification):
    """The proof of a version: whether its table equals what its snapshot and its model file give."""

    @classmethod
    def from_verification(cls, verification: audit.Verification) -> Self:
        """Return the verification of `run.audit` in its public form."""
        return cls(**vars(verification))

    def sentence(self) -> str:
        """Return the result in one line."""
        subject = f"{self.model} version {self.version}"
        if not self.verified:
            return f"{subject} is not proven"
        exactness = f"to {self.tolerance:g}" if self.tolerance else "bit by bit"
        proof = f"equal what its snapshot and its model file give, {exactness}"
        if not self.kept:
            return f"{subject} is proven: its {self.rows:,} rows {proof}"
        return (
            f"{subject} is proven but for its kept rows: {self.rows - self.kept:,} rows {proof}; "
            f"{count(self.kept, 'kept row')} from earlier versions cannot be proven by its snapshot"
        )

    def _repr_html_(self) -> str:
        return html.record({"result": self.sentence(), "differences": "; ".join(self.differences)})
