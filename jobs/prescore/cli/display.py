"""What the command line shows people: tables, progress, a run in a few lines. Results to stdout, the rest to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from textwrap import shorten
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from prescore.wording import age

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON value on stdout: times in ISO 8601; NaN and infinities, for which JSON has no number, are null."""
    sys.stdout.write(json.dumps(_finite(value), default=_plain, indent=2, allow_nan=False) + "\n")


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


def _plain(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value))


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Rows as a table; `columns` are field = heading."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        made.add_column(heading, overflow="fold")
    for row in rows:
        # Somebody's [brackets] are no markup.
        made.add_row(*(Text(text(row[field])) for field in columns))
    out.print(made)


def text(value: Any) -> str:
    """A value as a person reads it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return str(value)


def beginning(text: str | None, width: int = 80) -> str | None:
    """The first line of a text, cut where it is too long for a table."""
    return text and shorten(text.splitlines()[0], width, placeholder=" …")


def report(run: Mapping[str, Any]) -> None:
    """A run in a few lines."""
    seconds = ", ".join(f"{step} {took:.1f}" for step, took in run["seconds"].items())
    passed = sum(result["passed"] for result in run["checks"])
    size = f"{_count(run['rows'], 'row')} in {_count(run['chunks'], 'chunk')}"
    if not run["chunks"]:
        size = "nothing was staged, since the domain itself was refused"
    out.print(f"[bold]{run['model']}[/bold] version {run['version']}: {size}")
    if run["resumed"]:
        there = f"{run['chunks_before']:,} of {_count(run['chunks'], 'chunk')}"
        out.print(f"  resumed  went on with version {run['version']}: {there} were there already")
    out.print(f"  seconds  {seconds}")
    out.print(f"  checks   {passed} of {len(run['checks'])} passed")
    for result in run["checks"]:
        # Those that failed are told by the error, with what was allowed.
        if result["passed"]:
            out.print(f"    [green]passed[/green]  {result['name']}: {text(result['observed'])}")
    out.print(f"  {_outcome(run)}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def report_waiting(why: Exception) -> None:
    """Say that a command waits, and why."""
    err.print(f"prescore: {str(why).partition('. ')[0]}. Waiting for it.", markup=False)


def status(rows: Sequence[Mapping[str, Any]]) -> None:
    """Every model in a line: what is served and how old it is, and what became of its newest version."""
    shown = [
        {
            **row,
            "age": age(row["age_seconds"]),
            "promise": age(row["max_age_seconds"]),
            "newest": f"version {row['newest_version']} {row['newest_state']}" if row["newest_version"] else None,
        }
        for row in rows
    ]
    headings = ("model", "version", "age", "promise", "stale", "held")
    table(shown, {**{name: name for name in headings}, "newest": "last run"})


def answer(found: Mapping[str, Any]) -> None:
    """A looked-up prediction with its age."""
    key = ", ".join(f"{name}={value}" for name, value in found["key"].items())
    if not found["found"]:
        out.print(f"{found['model']} version {found['version']} has no {key}")
        return
    for name, value in found["prediction"].items():
        out.print(f"{name}  [bold]{text(value)}[/bold]")
    late = ", [red]older than promised[/red]" if found["stale"] else ""
    out.print(f"[dim]{key}; version {found['version']}, {age(found['age_seconds'])} old{late}[/dim]")


def _outcome(run: Mapping[str, Any]) -> str:
    model, version = run["model"], run["version"]
    if run["published"]:
        return f"[green]published[/green]: select * from predictions.{model}"
    if run["trial_rows"]:
        return f"{run['state']}, as a trial on at most {_count(run['trial_rows'], 'row')}: it is never published"
    if run["state"] == "checked" and run["backfill"]:
        way_out = f"`prescore publish {model} {version} --allow-older` publishes it all the same"
        return f"kept: version {run['served']} has newer data; {way_out}"
    if run["state"] == "checked" and run["held"]:
        way_out = f"`prescore release {model}`, then `prescore publish {model} {version}`"
        return f"not published: {model} is on hold ({run['held']}); {way_out}"
    if run["state"] == "checked":
        return f"checked, not published: `prescore publish {model} {version}` when you are ready"
    return f"[red]{run['state']}[/red]"


class Bars:
    """Progress bars on a terminal, one a step; nothing elsewhere."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, rows: int, total: int | None) -> None:
        """Move a step's bar."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=total)
        self._progress.advance(self._tasks[step], rows)


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars for as long as the work goes on."""
    shown = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with Progress(*shown, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield Bars(progress)
