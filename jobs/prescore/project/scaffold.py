"""A spec and a domain query to start from."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from prescore.catalog.naming import model_name_error
from prescore.errors import Mistake, SpecInvalid
from prescore.project.project import FILE, Project
from prescore.project.spec import json_schema


def write(name: str) -> list[Path]:
    """Write what a new model needs into the project here, which is made if there is none; gives the files.

    Raises Mistake for a name that Postgres would cut, and when the model has a spec already.
    """
    if fault := model_name_error(name):
        raise Mistake(f"{name!r} cannot name a model: {fault}.")
    here = Project.here().resolve()
    try:
        root = Project.find(here).root
    except SpecInvalid:
        # A prescore.toml that cannot be read is there, and wants mending.
        raise
    except Mistake:
        root = here
    texts = {
        root / FILE: "prescore.toml",
        root / f"specs/{name}.toml": "spec.toml",
        root / f"sql/domains/{name}.sql": "domain.sql",
    }
    wanted = {path: text for path, text in texts.items() if path.name != FILE or not path.exists()}
    for path in wanted:
        if path.exists():
            raise Mistake(f"{path} is there already; nothing was written.")
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files("prescore.project").joinpath("scaffold_files", text).read_text().replace("{name}", name))
    return [*wanted, write_schema(root)]


def write_schema(root: Path) -> Path:
    """The JSON schema that the specs' first line points editors at, as this release has it."""
    path = root / "specs/spec.schema.json"
    path.write_text(json.dumps(json_schema(), indent=2) + "\n")
    return path
