"""A new name for a model in the project: its spec and its query get other file names. The database is left alone."""

from __future__ import annotations

from pathlib import Path

from prescore.catalog.naming import model_name_error
from prescore.errors import Mistake
from prescore.project import folder
from prescore.project.project import Project


def rename(project: Project, old: str, new: str) -> dict[Path, Path]:
    """Rename the spec of a model, and its query if that is named like the model; return old path → new path.

    A query that other specs use, too, keeps its name. Raises NotFound without a spec, and Mistake for a name that is
    not valid or taken; nothing is renamed then.
    """
    if reason := model_name_error(new):
        raise Mistake(f"{new!r} is not a valid model name: {reason}.")
    spec_file = folder.spec_file(project.root, old)
    if not spec_file.exists():
        raise project.spec_missing(old)
    moves = {spec_file: folder.spec_file(project.root, new)}
    text = spec_file.read_text(encoding="utf-8")
    query = f"sql/domains/{old}.sql"
    query_file = project.root / query
    if query in text and query_file.exists() and not _is_shared(project, query, old):
        new_query = f"sql/domains/{new}.sql"
        moves[query_file] = project.root / new_query
        text = text.replace(query, new_query)
    for path in moves.values():
        if path.exists():
            raise Mistake(f"{path} already exists. Nothing was renamed; choose another name, or remove the file.")
    for path, new_path in moves.items():
        path.rename(new_path)
    moves[spec_file].write_text(text, encoding="utf-8")
    return moves


def _is_shared(project: Project, query: str, model: str) -> bool:
    others = [name for name in project.models() if name != model]
    return any(query in folder.spec_file(project.root, name).read_text(encoding="utf-8") for name in others)
