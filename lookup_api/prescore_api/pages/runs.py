"""The last runs of a model in words, as the status page's cards tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import shorten
from typing import Any

from prescore.wording import age, short

_FAILURES = 10
# Of a text that somebody else wrote.
_LETTERS = 300


@dataclass(frozen=True)
class Result:
    """A check: what was seen, and what is allowed."""

    name: str
    observed: str
    expected: str


@dataclass(frozen=True)
class Run:
    """A version as its run left it; `failures` and `passed` are as many as a page has room for."""

    version: int
    state: str
    remark: str
    started_at: datetime
    began: str
    took: str
    rows: str
    checks: str
    failures: Sequence[Result]
    more: int
    passed: Sequence[Result]
    error: str


def run(told: Mapping[str, Any], *, newest: bool) -> Run:
    """One of the `runs` of `page_cards`. The checks that it passed are listed for the newest only."""
    results = told["results"] or []
    failures = [_result(result) for result in results if not result["passed"]][:_FAILURES]
    return Run(
        version=told["version"],
        state=told["state"],
        remark="" if told["trial_rows"] is None else f"a trial on at most {told['trial_rows']:,} rows",
        started_at=datetime.fromisoformat(told["started_at"]),
        began=f"{age(max(0, told['age_seconds']))} ago",
        took="-" if told["seconds"] is None else age(told["seconds"]),
        rows=_rows(told),
        checks=_checks(told["checks"], told["failed"]),
        failures=failures,
        more=told["failed"] - len(failures),
        passed=[_result(result) for result in results if result["passed"]] if newest else [],
        error=cut((told["error"] or "").partition("\n")[0]) if told["state"] == "failed" else "",
    )


def cut(text: str) -> str:
    """A text that somebody else wrote, no longer than a page has room for."""
    return shorten(text, _LETTERS, placeholder=" …")


def _result(result: Mapping[str, Any]) -> Result:
    return Result(*(cut(short(result[name])) for name in ("name", "observed", "expected")))


def _rows(told: Mapping[str, Any]) -> str:
    aside = f" ({told['rejected']:,} set aside)" if told["rejected"] else ""
    return "-" if told["rows"] is None else f"{told['rows']:,}{aside}"


def _checks(count: int, failed: int) -> str:
    return "-" if not count else f"{failed} of {count} failed" if failed else f"{count} passed"
