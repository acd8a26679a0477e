"""`python -m prescore.run.worker`: run one task of a scheduled run for a scheduler in another environment.

Standard input has one line of JSON, `{"release", "task", "arguments"}`, and stays open while the scheduler's process
lives. Standard output gets one line, `{"result"}` or `{"error": {"code", "message"}}`, with the codes of
`prescore.errors`, or "internal" for anything else. Standard error gets a line of JSON for each log record,
`{"level", "message"}`. Other lines there are what libraries print.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from importlib import import_module, metadata
from typing import Any

from prescore.errors import Mistake, NotAllowed, PrescoreError

MODULES = ("tasks", "upkeep")
INTERNAL = "internal"


def main() -> None:
    """Run the task that standard input names, and write its result or error to standard output."""
    # Libraries that print must not disturb the response.
    with os.fdopen(os.dup(1), "w") as responses:
        os.dup2(2, 1)
        _log_as_json()
        request = json.loads(sys.stdin.readline())
        _exit_with_scheduler()
        print(json.dumps(_respond(**request)), file=responses, flush=True)


def run(task: str, arguments: dict[str, Any]) -> Any:
    """Run a task by name, such as "tasks.snapshot"; raise what it raises, and Mistake without the extra `jobs`."""
    module, _, function = task.partition(".")
    if module not in MODULES:
        raise ValueError(f"no such task: {task}")
    try:
        tasks = import_module(f"prescore.run.{module}")
    except ModuleNotFoundError as error:
        raise Mistake(
            f"{sys.executable} lacks the module {error.name}. Install prescore[jobs] there, or let Airflow's tasks use "
            "the Python of an environment that has it: airflow_dags(python=…)."
        ) from error
    return getattr(tasks, function)(**arguments)


def _respond(task: str, arguments: dict[str, Any], release: str) -> dict[str, Any]:
    try:
        _require_release(release)
        return {"result": run(task, arguments)}
    except PrescoreError as error:
        return {"error": {"code": error.code, "message": str(error)}}
    except Exception as error:
        logging.getLogger("prescore").exception("%s failed", task)
        return {"error": {"code": INTERNAL, "message": f"{type(error).__name__}: {error}"}}


def _require_release(scheduler: str) -> None:
    own = metadata.version("prescore")
    if scheduler != own:
        raise NotAllowed(
            f"The scheduler has prescore {scheduler}, and {sys.executable} has prescore {own}. Install the same "
            "release in both environments."
        )


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"level": record.levelno, "message": super().format(record)})


def _log_as_json() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(handlers=[handler])
    # Other libraries' messages below a warning are not about the task.
    logging.getLogger("prescore").setLevel(logging.INFO)


def _exit_with_scheduler() -> None:
    """End this process when standard input ends: the scheduler's process was killed and will not read the response."""

    def watch() -> None:
        # Not sys.stdin: a thread that waits in it keeps the interpreter from ending.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
