"""What became of each of several models: the error of one does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from prescore.cli.errors import exit_code
from prescore.errors import PrescoreError


def chosen(given: Sequence[str], models: Sequence[str]) -> list[str]:
    """Return the models that a command was given, or all; raise a usage error for a name that is given twice."""
    for name in given:
        if given.count(name) > 1:
            raise typer.BadParameter(f"{name} is given {given.count(name)} times.")
    return list(given or models)


class Outcomes:
    """The results of several models as JSON, in their order, and the exit code of them all."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []
        self.code = 0
        """The highest exit code among the models."""
        self.counts: dict[str, int] = {}
        """The number of models of each outcome, such as `published` or `failed`."""

    @contextmanager
    def of(self, model: str) -> Iterator[None]:
        """Print an error in the block, and record it unless the block has added a result; then continue."""
        done_before = len(self.results)
        try:
            yield
        except PrescoreError as error:
            self.code = max(self.code, exit_code(error))
            sys.stderr.write(f"prescore: {model}: {error}\n")
            if len(self.results) == done_before:
                self.add({"model": model, "error": {"code": error.code, "message": str(error)}}, "failed")

    def add(self, result: dict[str, Any], outcome: str) -> None:
        """Record the result of a model."""
        self.results.append(result)
        self.counts[outcome] = self.counts.get(outcome, 0) + 1

    def summary(self) -> str:
        """Return how many models there were of each outcome, such as `3 models: 2 published, 1 refused`."""
        number = len(self.results)
        parts = [f"{count} {outcome}" for outcome, count in self.counts.items()]
        return f"{number} {'model' if number == 1 else 'models'}: {', '.join(parts) or 'nothing to do'}"
