"""Progress: bars on a terminal, one line in a notebook, nothing anywhere else."""

from __future__ import annotations

import json
import os
import pty
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fix_notebook import kernel
from fix_project import Sandbox, customers


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Make standard error a terminal, and collect what is written to it until the end of the block."""
    ours, theirs = pty.openpty()
    written: list[bytes] = []

    def read() -> None:
        # Linux raises OSError at the end of a terminal, where other systems return nothing.
        with suppress(OSError):
            while content := os.read(ours, 4096):
                written.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patched, os.fdopen(theirs, "w") as stderr:
        patched.setattr(sys, "stderr", stderr)
        yield written
    reader.join()
    os.close(ours)


@pytest.mark.parametrize(
    ("options", "variables", "shows_bars"),
    [
        ([], {}, True),
        (["--no-progress"], {}, False),
        ([], {"JPY_PARENT_PID": "1"}, False),
        ([], {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, False),
    ],
)
def test_bars_are_for_terminals_that_are_not_a_notebooks(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, options: list[str], variables: dict[str, str], shows_bars: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with terminal(monkeypatch) as written:
        assert sandbox.cli("validate", "churn", *options).code == 0
        sys.stderr.flush()
    text = b"".join(written).decode()
    assert ("loading" in text) is ("1,000 rows" in text) is shows_bars


def test_forced_colors_do_not_make_a_terminal(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = sandbox.cli("run", "churn")
    assert outcome.err.startswith("prescore: warning: churn: The spec has no examples")


def test_progress_in_a_notebook_is_one_line_that_disappears(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in an activated environment: `!` finds the command there.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    sandbox.data(customers(3000))
    with kernel(sandbox.root) as cells:
        cells.run("import prescore\nfrom prescore.public import progress\nproject = prescore.Project()")

        # A quick run has an output for its result, and no other.
        cells.run("progress._QUIET_SECONDS = 60")
        (result,) = cells.run("project.run('churn')")
        assert result["output_type"] == "execute_result"
        assert result["data"]["text/html"].startswith("<table>")

        cells.run("progress._QUIET_SECONDS = progress._REDRAW_SECONDS = 0")
        line, result = cells.run("project.run('churn', full=True)")
        assert "score: 3,000 of 3,000 rows" in cells.shown
        assert line["data"] == {"text/plain": "", "text/html": ""}
        assert result["output_type"] == "execute_result"

        (result,) = cells.run("prescore.Project(progress=False).validate('churn')")
        assert result["output_type"] == "execute_result"

        # `!` gives commands a terminal, and the notebook would keep everything that they draw on it.
        outputs = cells.run("!prescore validate churn")
        text = "".join(output["text"] for output in outputs)
        assert "spec, model and domain fit; 3,000 rows" in text
        assert "\x1b[2K" not in text
        assert len(json.dumps(outputs)) < 2000
