"""What Prometheus reads: the freshness of every published model, in its text format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

CONTENT = "text/plain; version=0.0.4; charset=utf-8"
# Of what `Models.every` tells: each is a gauge `prescore_model_<name>`.
_GAUGES = {
    "age_seconds": "Seconds since the time that the inputs of the published version describe.",
    "max_age_seconds": "The age promised, for models whose owner promises one.",
    "stale": "1 while a model is older than promised.",
    "held": "1 while a model is on hold: nothing is published.",
    "version": "The published version.",
    "rows": "Rows of the published version.",
}


def text(models: Sequence[dict[str, Any]]) -> str:
    """A gauge for each clock and number that is known of a model."""
    return "".join(f"{line}\n" for name in _GAUGES for line in _gauge(name, models))


def _gauge(name: str, models: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"# HELP prescore_model_{name} {_GAUGES[name]}"
    yield f"# TYPE prescore_model_{name} gauge"
    for model in models:
        if model[name] is not None:
            yield f'prescore_model_{name}{{model="{_escaped(model["model"])}"}} {float(model[name])!r}'


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
