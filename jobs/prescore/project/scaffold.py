"""The files that `prescore init` creates: a spec and a domain query to start from."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from prescore.catalog.naming import model_name_error
from prescore.catalog.types import KEY_TYPES
from prescore.errors import Mistake, SpecInvalid
from prescore.project.folder import FILE
from prescore.project.project import Project
from prescore.project.spec_file import json_schema
from prescore.wording import did_you_mean

TEMPLATES = {
    "scores": "a probability for each customer, from a matrix of numbers",
    "text": "text and number columns, one input of the model for each",
    "regression": "a number for each product",
    "keys": "a key of several columns, and a secondary index",
    "classes": "the most likely of several classes, with probabilities",
    "forecast": "several horizons for each product and shop, weekly, with $as_of",
    "published": "predictions made elsewhere, without a model file",
}
"""The templates of `prescore init` and what each is for; the first one is the default."""
DEFAULT = "scores"


def write(name: str, template: str = DEFAULT) -> list[Path]:
    """Write the files of a new model into the project around the current folder, and return their paths.

    If there is no project, the current folder becomes one. Raises Mistake if there is no such template, if the name is
    not valid, or if one of the files exists; nothing is written then.
    """
    if template not in TEMPLATES:
        listed = ", ".join(TEMPLATES)
        raise Mistake(
            f"There is no template {template}.{did_you_mean(template, TEMPLATES)} The templates are {listed}."
        )
    if reason := model_name_error(name):
        raise Mistake(f"{name!r} is not a valid model name: {reason}.")
    root = project_folder()
    require_absent(root, name)
    spec_file, query_file = _files(root, name)
    templates = {spec_file: f"{template}.toml", query_file: f"{template}.sql"}
    if not (root / FILE).exists():
        templates = {root / FILE: "prescore.toml", **templates}
    for path, file in templates.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_text(file, name))
    return [*templates, write_schema(root)]


def require_absent(root: Path, name: str) -> None:
    """Raise Mistake if a project has a spec or a domain query of this name."""
    for path in _files(root, name):
        if path.exists():
            raise Mistake(f"{path} already exists. Nothing was written; choose another name, or remove the file.")


def _files(root: Path, name: str) -> tuple[Path, Path]:
    return root / f"specs/{name}.toml", root / f"sql/domains/{name}.sql"


def settings_text() -> str:
    """Return the settings that a new project starts with."""
    return _text("prescore.toml", "")


def write_schema(root: Path) -> Path:
    """Write this release's JSON schema of specs, which the first line of a spec names for editors; return its path."""
    path = root / "specs/spec.schema.json"
    path.write_text(json.dumps(json_schema(), indent=2) + "\n")
    return path


def project_folder() -> Path:
    """Return the folder of the project around the current folder, or the current folder if there is no project."""
    folder = Project.start_folder().resolve()
    try:
        return Project.find(folder).root
    except SpecInvalid:
        # There is a prescore.toml, and the user must fix it first.
        raise
    except Mistake:
        return folder


def _text(template: str, name: str) -> str:
    """Return the content of a template for a model."""
    text = files("prescore.project").joinpath("scaffold_files", template).read_text()
    *types, last = KEY_TYPES
    return text.replace("{name}", name).replace("{key_types}", f"{', '.join(types)} or {last}")
