"""The files of a model that is published from an estimator and a frame: model, examples, data, query and spec."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prescore.errors import DomainInvalid, ModelInvalid, NotAllowed, Refused, SpecInvalid
from prescore.project.project import Project as ProjectFiles
from prescore.public import arguments, extras, session
from prescore.public.progress import in_notebook

if TYPE_CHECKING:
    import pandas as pd


_OTHER_ESTIMATOR = (
    "If the estimator has other features or classes than before: the spec and the query of {name} were kept. "
    "Publish it with replace=True, which drafts both again, without your edits."
)
_BREAKING = "From Python, publish it with allow_breaking=True."


@dataclass(frozen=True)
class WrittenFiles:
    """What a person should know about the files of a model, and whether its spec and its query are new."""

    name: str
    remarks: tuple[str, ...]
    is_new: bool

    @contextmanager
    def advice(self) -> Iterator[None]:
        """Add to an error of the run what to do about it from Python."""
        try:
            yield
        except NotAllowed as error:
            if "--allow-breaking" in str(error):
                error.add_note(_BREAKING)
            raise
        except (SpecInvalid, ModelInvalid, DomainInvalid, Refused) as error:
            if not self.is_new:
                error.add_note(_OTHER_ESTIMATOR.format(name=self.name))
            raise


def write(
    root: Path,
    name: str,
    estimator: Any,
    frame: pd.DataFrame,
    *,
    key: str | Sequence[str],
    features: Sequence[str] | None,
    targets: Sequence[str] | None,
    replace: bool,
) -> WrittenFiles:
    """Write the files of a model into a project, and return which ones, with what a person should know about them.

    A spec and a query that exist are kept unless `replace`. Raises what `export_onnx` and `prescore init` raise; the
    model file and the data are written only if the export is proven.
    """
    arguments.require_name(name, estimator)
    arguments.require_frame(frame)
    keys = arguments.keys(key)
    frame = arguments.with_key(frame, keys)
    _require_extras(root)
    from prescore.draft import files
    from prescore.export.exporting import export

    spec_file = root / f"specs/{name}.toml"
    is_new = replace or not spec_file.exists()
    model_file = root / f"models/{name}.onnx" if is_new else _model_file(root, name)
    exported = export(estimator, frame, model_file, features=features, targets=targets)
    data = root / f"data/{name}.parquet"
    columns = dict.fromkeys([*keys, *(column.name for column in exported.features)])
    _write_data(data, frame, list(columns))
    if not is_new:
        kept = (
            f"specs/{name}.toml and sql/domains/{name}.sql exist and were kept. {model_file.relative_to(root)} and "
            f"data/{name}.parquet were replaced."
        )
        return WrittenFiles(name, (kept,), is_new=False)
    drafted = files.draft(name, model=str(model_file), data=str(data), key=keys, replace=replace, root=root)
    paths = [exported.file, exported.examples, data, *drafted.write()]
    listed = ", ".join(str(path.relative_to(root)) for path in paths)
    return WrittenFiles(name, (f"Wrote {listed}.", *drafted.remarks), is_new=True)


def report(remarks: Sequence[str]) -> None:
    """Print remarks to standard error, or in a notebook, which colours that red, to standard output."""
    stream = sys.stdout if in_notebook() else sys.stderr
    for remark in remarks:
        stream.write(f"prescore: {remark}\n")


def _model_file(root: Path, name: str) -> Path:
    onnx = ProjectFiles.find(root).spec(name).onnx
    if onnx is None:
        raise ModelInvalid(f"The spec of {name} has no [onnx] section: its predictions are made elsewhere.")
    return root / onnx.file


def _require_extras(root: Path) -> None:
    """Raise Mistake without the extras for an export and for the run after it."""
    needed = ["export", "jobs"]
    if session.uses_embedded_server(root):
        needed.append("embedded")
    extras.require(needed)


def _write_data(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    frame[list(columns)].to_parquet(part, index=False)
    part.replace(path)
