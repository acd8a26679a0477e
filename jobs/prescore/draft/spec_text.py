"""A draft as the text of a spec, in TOML, with what was observed in comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prescore.draft.checks import DraftCheck
from prescore.draft.features import Features
from prescore.draft.outputs import DraftOutput

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_WIDE = 110


@dataclass(frozen=True)
class DraftSpec:
    """Everything that the text of a spec needs."""

    model: str
    query_file: str
    source: str
    key: Mapping[str, str]
    model_file: str
    examples_file: str | None
    features: Features
    nullable: Sequence[str]
    allow_precision_loss: Sequence[str]
    outputs: Sequence[DraftOutput]
    checks: Sequence[DraftCheck]


def write(draft: DraftSpec) -> str:
    """Return the text of a spec."""
    sections = [
        _head(draft),
        _table("key", draft.key),
        *_onnx(draft),
        _outputs(draft.outputs),
        *map(_check, draft.checks),
        _END,
    ]
    return "\n\n".join(sections) + "\n"


def _head(draft: DraftSpec) -> str:
    lines = [
        "#:schema ./spec.schema.json",
        f"# The description becomes the comment of the view predictions.{draft.model}.",
        f"description = {value(f'Predictions of {draft.model}.')}",
        "",
        "[domain]",
        f"query = {value(draft.query_file)}",
    ]
    if draft.source != "duckdb":
        lines.append(f"source = {value(draft.source)}")
    return "\n".join(lines)


def _onnx(draft: DraftSpec) -> list[str]:
    lines = ["[onnx]", f"file = {value(draft.model_file)}"]
    if isinstance(draft.features.inputs, str):
        lines.append(f"inputs = {value(draft.features.inputs)}")
    if draft.nullable:
        lines += ["# NULLs of these reach the model as NaN.", f"nullable = {value(list(draft.nullable))}"]
    if draft.allow_precision_loss:
        lines.append(f"allow_precision_loss = {value(list(draft.allow_precision_loss))}")
    sections = ["\n".join(lines)]
    if draft.examples_file is not None:
        sections.append(_table("onnx.examples", {"file": draft.examples_file}))
    if not isinstance(draft.features.inputs, str):
        remark = f"# {' '.join(draft.features.remark.split())}\n" if draft.features.remark else ""
        sections.append(remark + _table("onnx.inputs", draft.features.inputs))
    return sections


def _outputs(outputs: Sequence[DraftOutput]) -> str:
    lines = ["[outputs]"]
    for output in outputs:
        fields = {**output.fields, "type": output.type}
        pairs = ", ".join(f"{key} = {value(inner)}" for key, inner in fields.items())
        lines.append(f"{_key(output.name)} = {{ {pairs} }}")
    return "\n".join(lines)


def _check(check: DraftCheck) -> str:
    fields = {"name": check.name, "expect": check.expect, **check.arguments}
    lines = [f"{key} = {value(inner)}" for key, inner in fields.items()]
    observed = " ".join(check.observed.split())
    return "\n".join([f"# Observed when this was drafted: {observed}.", "[[checks]]", *lines])


def _table(name: str, content: Mapping[str, Any]) -> str:
    lines = [f"{_key(key)} = {value(inner)}" for key, inner in content.items()]
    return "\n".join([f"[{name}]", *lines])


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else value(name)


def value(content: Any) -> str:
    """Return a value in TOML: a text, a number, a boolean, or a list of these."""
    if isinstance(content, list):
        inner = [value(element) for element in content]
        line = f"[{', '.join(inner)}]"
        return line if len(line) <= _WIDE else "[\n  " + ",\n  ".join(inner) + ",\n]"
    # A text in JSON is a basic string in TOML, but for the character DEL.
    return json.dumps(content, ensure_ascii=False).replace("\x7f", "\\u007f")


_END = """\
# When Airflow runs the model, and the age from which predictions are stale.
[schedule]
cron = "0 5 * * *"

[freshness]
max_age = "26h"

# How many versions are kept, for rollbacks.
[retention]
versions = 5\
"""
