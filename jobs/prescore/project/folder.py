"""Where a project and its specs are. Schedulers read this in environments without pydantic and psycopg."""

from __future__ import annotations

from pathlib import Path

from prescore.errors import Mistake

FILE = "prescore.toml"
PROJECT = "PRESCORE_PROJECT"


def find(start: Path) -> Path:
    """Return the folder with prescore.toml: `start` or the nearest one above it. Raise Mistake if there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    raise Mistake(
        f"There is no {FILE} in {start} or in a folder above it. Run `prescore init NAME` to start a project there."
    )


def spec_file(root: Path, model: str) -> Path:
    """Return the path of a model's spec, whether it exists or not."""
    return root / "specs" / f"{model}.toml"


def models(root: Path) -> list[str]:
    """Return the names of all models that have a spec, sorted."""
    return sorted(path.stem for path in (root / "specs").glob("*.toml"))
