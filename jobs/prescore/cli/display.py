"""What commands print: results on stdout, everything else on stderr.

Names, reasons and values are the users' own text. They are printed as `Text`, which has no markup: `[brackets]` in
them stay as they are.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prescore.public.formatting import format_seconds, format_value
from prescore.versions import withheld
from prescore.wording import age, count, utc

if TYPE_CHECKING:
    from prescore.catalog.catalog import CheckResult
    from prescore.public.comparison import Comparison
    from prescore.public.plan import Plan
    from prescore.public.results import Finding, LookupResult, ValidationResult
    from prescore.public.run_report import RunReport

_STATE_STYLES = {"ok": "green", "warning": "yellow", "fault": "red"}
# Programs that read a table expect a line for each row, however long it is.
_UNLIMITED = 1_000_000

Part = str | tuple[str, str]
"""Plain text, or text with a style."""


def print_json(value: object) -> None:
    """Print a JSON value: times in ISO 8601, and null for NaN and infinities, which JSON does not have."""
    text = json.dumps(_finite(value), default=_plain, indent=2, allow_nan=False)
    sys.stdout.write(f"{text}\n")


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case _:
            return value


def _plain(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value))


def table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print a table with a row for each mapping; the headings are the keys of the first one. No rows print nothing."""
    if not rows:
        return
    printed = Table(box=None, pad_edge=False, header_style="bold")
    for heading in rows[0]:
        printed.add_column(heading, overflow="fold")
    for row in rows:
        printed.add_row(*(Text(format_value(value)) for value in row.values()))
    _out().print(printed)


def record(title: str, values: Mapping[str, object]) -> None:
    """Print a title, and below it a line for each value, its name on the left."""
    line((title, "bold"))
    width = max(map(len, values), default=0)
    for name, value in values.items():
        line(f"  {name:<{width}}  {format_value(value)}")


def findings(found: Sequence[Finding]) -> None:
    """Print what the doctor found, a line each, and below it what to do."""
    width = max((len(finding.subject) for finding in found), default=0)
    for finding in found:
        line((f"{finding.state:<7}", _STATE_STYLES[finding.state]), f"  {finding.subject:<{width}}  {finding.observed}")
        if finding.advice:
            line(f"{'':<{width + 11}}{finding.advice}")


def line(*parts: Part) -> None:
    """Print a line of plain and styled text."""
    _out().print(Text.assemble(*parts))


def _out() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _UNLIMITED
    return console


def report(run: RunReport) -> None:
    """Print a run in a few lines."""
    size = f"{count(run.rows, 'row')} in {count(run.chunks, 'chunk')}"
    if not run.chunks:
        size = "nothing was staged, because the domain itself was refused"
    line((run.model, "bold"), f" version {run.version}: {size}")
    reuse = run.reuse()
    if reuse:
        line(f"  reuse    {reuse}")
    vanished = run.vanished()
    if vanished:
        line(f"  kept     {vanished}")
    if run.resumed:
        line(f"  resumed  version {run.version}: {run.resumption()}")
    line(f"  seconds  {format_seconds(run.seconds)}")
    passed = [result for result in run.checks if result["passed"]]
    warned = len(withheld.warnings(passed))
    also = f", {count(warned, 'warning')}" if warned else ""
    line(f"  checks   {len(passed) - warned} of {len(run.checks)} passed{also}")
    # The error message lists the checks that failed, with what they allow.
    for result in passed:
        _passed_check(result)
    line("  ", *_outcome(run))
    warnings(run.model, run.warnings)


def _passed_check(result: CheckResult) -> None:
    observed = f"{result['name']}: {format_value(result['observed'])}"
    if result.get("warning"):
        line("    ", ("warning", "yellow"), f" {observed}; expected {result['expected']}")
    else:
        line("    ", ("passed", "green"), f"  {observed}")


def validation(result: ValidationResult) -> None:
    """Print that a model can be run, and what could not be verified."""
    rejected = f", of which {result.rejected:,} would be rejected" if result.rejected else ""
    line(f"{result.model}: spec, model and domain fit; {count(result.rows, 'row')}{rejected}")
    warnings(result.model, result.warnings)


def plan(result: Plan) -> None:
    """Print what would become of each version, and how it would differ."""
    for breaking in result.breaking:
        line(("breaks readers", "red"), f": {breaking}")
    for night, summary, differs in zip(result.nights, result.summaries(), result.comparisons(), strict=True):
        line((summary, "bold"))
        for verdict in night.verdicts():
            line(f"  {verdict}")
        _comparison_tables(differs)
    for unavailable in result.unavailable_lines():
        line(unavailable)


def comparison(found: Comparison) -> None:
    """Print which versions were compared, and the tables of their comparison."""
    line((found.title(), "bold"))
    _comparison_tables(found)


def _comparison_tables(comparison: Comparison) -> None:
    """Print the tables of a comparison, each below its title."""
    for title, rows in comparison.tables().items():
        line((title, "bold"))
        table(rows)


def warnings(model: str, sentences: Sequence[str]) -> None:
    """Print warnings about a model to stderr, so that what programs read stays as it is."""
    for sentence in sentences:
        sys.stderr.write(f"prescore: warning: {model}: {sentence}\n")


def report_json(run: RunReport) -> None:
    """Print a run as JSON."""
    print_json(run.as_dict())


def _outcome(run: RunReport) -> list[Part]:
    if run.published:
        copied = f", and copied into a full version, {run.rebased_to}" if run.rebased_to else ""
        return [("published", "green"), f"{copied}: select * from predictions.{run.model}"]
    if run.state in ("refused", "failed"):
        return [(run.state, "red")]
    return [run.outcome()]


def answer(result: LookupResult) -> None:
    """Print a looked-up prediction with its age."""
    key = ", ".join(f"{name}={value}" for name, value in result.key.items())
    if result.prediction is None:
        line(f"{result.model} version {result.version} has no {key}")
        if result.last_version is not None and result.last_data_as_of is not None:
            line(f"  last seen in version {result.last_version}, with data as of {utc(result.last_data_as_of)}")
        return
    width = max(map(len, result.prediction), default=0)
    for name, value in result.prediction.items():
        line(f"{name:<{width}}  ", (format_value(value), "bold"))
    parts: list[Part] = [(f"{key}; version {result.version}, {age(result.age_seconds)} old", "dim")]
    if result.stale:
        parts += [(", ", "dim"), ("older than its max age", "red")]
    line(*parts)
