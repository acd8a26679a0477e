"""The last runs of a model as text, for the status page's cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import shorten
from typing import Any

from prescore.wording import age, count, short

_FAILURES = 10
# How many characters of a text from outside a card shows.
_TEXT_CHARACTERS = 300


@dataclass(frozen=True)
class Result:
    """A check: the observed value and the expected one."""

    name: str
    observed: str
    expected: str


@dataclass(frozen=True)
class Run:
    """A run and its version. `failures` are the first failed checks, `more` is the number of the others."""

    version: int
    state: str
    remark: str
    started_at: datetime
    started: str
    took: str
    rows: str
    checks: str
    failures: Sequence[Result]
    more: int
    passed: Sequence[Result]
    error: str


def describe(run: Mapping[str, Any], *, newest: bool, waits: bool) -> Run:
    """Describe one of the `runs` of `page_cards`. Only the newest run lists the checks that passed.

    With `waits`, a version that passed its checks with warnings still waits for approval.
    """
    results = run["results"] or []
    passed = [_result(result) for result in results if result["passed"]]
    failures = [_result(result) for result in results if not result["passed"]][:_FAILURES]
    return Run(
        version=run["version"],
        state=run["state"],
        remark=_remark(run, waits=waits),
        started_at=datetime.fromisoformat(run["started_at"]),
        started=f"{age(max(0, run['age_seconds']))} ago",
        took="-" if run["seconds"] is None else age(run["seconds"]),
        rows=_rows(run["rows"], run["rejected"]),
        checks=_checks(run["checks"], run["failed"], run["warned"]),
        failures=failures,
        more=run["failed"] - len(failures),
        passed=passed if newest else [],
        error=_error(run),
    )


def shorten_text(text: str) -> str:
    """Cut a text from outside to the length that a card has room for."""
    return shorten(text, _TEXT_CHARACTERS, placeholder=" …")


def _remark(run: Mapping[str, Any], *, waits: bool) -> str:
    if run["trial_rows"] is not None:
        return f"A trial run with at most {run['trial_rows']:,} rows, which is never published."
    warnings = [_result(result) for result in run["results"] or () if result.get("warning")]
    if run["state"] != "checked" or not warnings or not waits:
        return ""
    reasons = "; ".join(f"{result.name}: {result.observed}" for result in warnings)
    return f"It waits for approval, because it differs from the served version: {reasons}."


def _error(run: Mapping[str, Any]) -> str:
    if run["state"] != "failed" or not run["error"]:
        return ""
    first_line, _, _ = run["error"].partition("\n")
    return shorten_text(first_line)


def _result(result: Mapping[str, Any]) -> Result:
    return Result(
        name=shorten_text(short(result["name"])),
        observed=shorten_text(short(result["observed"])),
        expected=shorten_text(short(result["expected"])),
    )


def _rows(rows: int | None, rejected: int) -> str:
    if rows is None:
        return "-"
    return f"{rows:,} ({rejected:,} rejected)" if rejected else f"{rows:,}"


def _checks(total: int, failed: int, warned: int) -> str:
    if not total:
        return "-"
    if failed:
        return f"{failed} of {total} failed"
    return f"{total - warned} of {total} passed, {count(warned, 'warning')}" if warned else f"{total} passed"
