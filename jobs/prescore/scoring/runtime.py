"""Releases of ONNX Runtime: what to say when a version is scored with another one than its table was."""

from __future__ import annotations


def difference(table: str | None, live: str) -> str:
    """Return, as a clause about a version, that the runtime `live` may compute something else than its table has.

    Empty for the runtime that scored the table, and for predictions that were made elsewhere.
    """
    if table in (None, live):
        return ""
    return (
        f"was scored with {table}, and is scored here with {live}: the results may differ from the table in the last "
        "digits"
    )
