"""The files of a drafted model: written into a project, or only returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prescore.catalog.naming import model_name_error
from prescore.draft import data_source, drafting
from prescore.errors import Mistake
from prescore.project import scaffold
from prescore.project.folder import FILE
from prescore.project.project import Project, Settings


@dataclass(frozen=True)
class DraftFiles:
    """The texts of the files by their path, and what a person should look at."""

    texts: dict[Path, str]
    remarks: tuple[str, ...]

    def write(self) -> list[Path]:
        """Write the files, and the JSON schema that the spec names; return all paths."""
        for path, text in self.texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (spec,) = (path for path in self.texts if path.suffix == ".toml" and path.name != FILE)
        return [*self.texts, scaffold.write_schema(spec.parent.parent)]


def draft(
    name: str,
    *,
    model: str,
    data: str,
    key: Sequence[str],
    features: Sequence[str] = (),
    table: str | None = None,
    replace: bool = False,
    root: Path | None = None,
) -> DraftFiles:
    """Draft the files of a model in the project `root`, by default the one around the current folder.

    Without prescore.toml, that folder becomes a project.

    Raises Mistake for a name, file or column that does not fit, and for a file that exists unless `replace`.
    """
    if reason := model_name_error(name):
        raise Mistake(f"{name!r} is not a valid model name: {reason}.")
    root = root or scaffold.project_folder()
    settings = Project.find(root).settings if (root / FILE).exists() else Settings.model_validate({})
    if not replace:
        scaffold.require_absent(root, name)
    opened = data_source.open_data(data, table, root, settings)
    request = drafting.Request(name, root, Path(model).absolute(), opened.dataset, key, features)
    drafted = drafting.draft(request)
    texts = _settings_text(root, opened.new_source)
    texts[root / f"specs/{name}.toml"] = drafted.spec
    if drafted.query is not None:
        texts[root / f"sql/domains/{name}.sql"] = drafted.query
    return DraftFiles(texts, drafted.remarks)


def _settings_text(root: Path, new_source: tuple[str, str] | None) -> dict[Path, str]:
    """Return prescore.toml if it must be written: because there is none yet, or because it gets a source."""
    path = root / FILE
    exists = path.exists()
    text = path.read_text(encoding="utf-8-sig") if exists else scaffold.settings_text()
    if new_source is None:
        return {} if exists else {path: text}
    name, url = new_source
    if "\n[sources]" in f"\n{text}":
        raise Mistake(
            f"Add the database to [sources] in {path} first, such as {name} = {url!r}, and give its name: --data {name}"
        )
    return {path: f'{text.rstrip()}\n\n[sources]\n{name} = "{url}"\n'}
