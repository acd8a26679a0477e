"""Progress of a run: bars on a terminal's standard error, one line in a notebook, and nothing anywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from prescore.run.job import OnProgress

_REDRAW_SECONDS = 0.1
# Rows that take less leave nothing in the notebook, not even an empty output.
_QUIET_SECONDS = 1.0


@contextmanager
def bars(*, enabled: bool = True) -> Iterator[OnProgress]:
    """Show the progress of each step while the block runs, where there is a place to show it."""
    if enabled and in_notebook():
        line = NotebookLine()
        try:
            yield line
        finally:
            line.clear()
    elif enabled and _is_terminal():
        with _terminal_progress() as progress:
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
    """Bars on a terminal, one for each step. Until the first step begins, one says that libraries are loaded."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._loading = progress.add_task("loading", total=None)

    def __call__(self, step: str, rows: int, total: int | None) -> None:
        """Advance a step's bar by a number of rows; the steps before it are complete."""
        if step not in self._tasks:
            self._complete_all()
            self._tasks[step] = self._progress.add_task(step, total=total)
        self._progress.advance(self._tasks[step], rows)

    def _complete_all(self) -> None:
        for task in self._progress.tasks:
            self._progress.update(task.id, total=task.completed, visible=task.id != self._loading)


class RowsColumn(ProgressColumn):
    """The number of rows that a step has finished."""

    def render(self, task: Task) -> Text:
        """Return the number, and that of all rows if it is known; nothing before the first row."""
        return Text(_rows(int(task.completed), task.total) if task.completed else "")


class NotebookLine:
    """One line in a notebook cell, which is updated in place, needs no widgets, and disappears at the end."""

    def __init__(self) -> None:
        self._display: Any = import_module("IPython.display")
        self._handle: Any = None
        self._rows: dict[str, int] = {}
        self._draw_at: float | None = None

    def __call__(self, step: str, rows: int, total: int | None) -> None:
        """Advance a step by a number of rows, and redraw at most ten times a second."""
        self._rows[step] = self._rows.get(step, 0) + rows
        now = time.monotonic()
        if self._draw_at is None:
            self._draw_at = now + _QUIET_SECONDS
        if now >= self._draw_at:
            self._draw_at = now + _REDRAW_SECONDS
            self._show(*_line(step, self._rows[step], total))

    def clear(self) -> None:
        """Remove the line."""
        if self._handle is not None:
            self._show("", "")

    def _show(self, text: str, html: str) -> None:
        content = {"text/plain": text, "text/html": html}
        if self._handle is None:
            self._handle = self._display.display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def _line(step: str, done: int, total: int | None) -> tuple[str, str]:
    """Return the progress of a step as plain text and as HTML."""
    rows = _rows(done, total)
    text = f"{step}: {rows}"
    if total is None:
        return text, escape(text)
    return text, f'{escape(step)}: <progress value="{done}" max="{total}"></progress> {rows}'


def _rows(done: int, total: float | None) -> str:
    return f"{done:,} rows" if total is None else f"{done:,} of {total:,.0f} rows"


def _no_progress(step: str, rows: int, total: int | None) -> None:
    """Show nothing."""


def _is_terminal() -> bool:
    """Return whether standard error is a terminal, and not the one that a notebook gives to `!` commands.

    Notebooks keep every redrawing of such a terminal. FORCE_COLOR, which kernels set, does not make a terminal.
    """
    return sys.stderr.isatty() and not _below_kernel()


def _below_kernel() -> bool:
    """Return whether a Jupyter kernel started this process: launchers set the first variable, kernels the second."""
    return "JPY_PARENT_PID" in os.environ or "matplotlib_inline" in os.environ.get("MPLBACKEND", "")


def _terminal_progress() -> Progress:
    columns = (
        TextColumn("{task.description:>8}", markup=False),
        BarColumn(),
        RowsColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, force_jupyter=False)
    return Progress(*columns, console=console, transient=True, redirect_stdout=False)
