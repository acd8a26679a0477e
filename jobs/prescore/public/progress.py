"""Progress bars: on a terminal's standard error, or in a notebook's output. Standard output stays untouched."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from prescore.run.job import OnProgress

_REDRAW_SECONDS = 0.1


@contextmanager
def bars(*, enabled: bool = True) -> Iterator[OnProgress]:
    """Show a bar for each step while the block runs, where there is a place to show it."""
    console = Console(stderr=True, force_jupyter=False)
    if enabled and in_notebook():
        notebook = NotebookBars()
        try:
            yield notebook
        finally:
            notebook.clear()
    elif enabled and console.is_terminal:
        with _terminal_progress(console) as progress:
            yield TerminalBars(progress)
    else:
        yield _no_progress


def in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel, whatever its frontend."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def report_busy(error: Exception) -> None:
    """Print to standard error that a run waits for another one."""
    reason = str(error).partition(". ")[0]
    sys.stderr.write(f"prescore: {reason}. Waiting for it.\n")


class TerminalBars:
    """Bars on a terminal, one for each step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, rows: int, total: int | None) -> None:
        """Advance a step's bar by a number of rows."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=total)
        self._progress.advance(self._tasks[step], rows)


class NotebookBars:
    """Bars in a notebook cell: one display that is updated in place and needs no widgets."""

    def __init__(self) -> None:
        self._display: Any = import_module("IPython.display")
        self._handle = self._display.display(self._display.HTML(""), display_id=True)
        self._steps: dict[str, tuple[int, int | None]] = {}
        self._drawn_at = 0.0

    def __call__(self, step: str, rows: int, total: int | None) -> None:
        """Advance a step's bar by a number of rows, and redraw at most ten times a second."""
        done, _ = self._steps.get(step, (0, None))
        self._steps[step] = (done + rows, total)
        now = time.monotonic()
        if now - self._drawn_at >= _REDRAW_SECONDS:
            self._drawn_at = now
            self._show("".join(_bar(name, *rows) for name, rows in self._steps.items()))

    def clear(self) -> None:
        """Remove the bars."""
        self._show("")

    def _show(self, content: str) -> None:
        self._handle.update(self._display.HTML(content))


def _bar(step: str, done: int, total: int | None) -> str:
    if total is None:
        return f"<div>{escape(step)}: {done:,} rows</div>"
    return f'<div>{escape(step)} <progress value="{done}" max="{total}"></progress> {done:,} of {total:,} rows</div>'


def _no_progress(step: str, rows: int, total: int | None) -> None:
    """Show nothing."""


def _terminal_progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description:>8}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, redirect_stdout=False)
