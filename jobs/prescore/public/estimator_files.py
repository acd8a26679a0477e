"""The files of a model that is published from an estimator and a frame: model, examples, data, query and spec."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prescore.errors import ModelInvalid
from prescore.project.project import Project as ProjectFiles
from prescore.public import arguments, extras, session
from prescore.public.progress import in_notebook

if TYPE_CHECKING:
    import pandas as pd


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
) -> list[str]:
    """Write the files of a model into a project, and return what a person should know about them.

    A spec and a query that exist are kept unless `replace`. Raises what `export_onnx` and `prescore init` raise; the
    model file and the data are written only if the export is proven.
    """
    arguments.require_name(name, estimator)
    arguments.require_frame(frame)
    keys = arguments.keys(key)
    frame = arguments.with_key(frame, keys)
    # The run needs them after the files are written.
    extras.require(["export", "jobs", *(["embedded"] if session.uses_embedded_server(root) else [])])
    from prescore.draft import files
    from prescore.export.exporting import export

    spec_file = root / f"specs/{name}.toml"
    is_new = replace or not spec_file.exists()
    model_file = root / f"models/{name}.onnx" if is_new else _model_file(root, name)
    exported = export(estimator, frame, model_file, features=features, targets=targets)
    names = [column.name for column in exported.features]
    data = root / f"data/{name}.parquet"
    _write_data(data, frame, [*keys, *(column for column in names if column not in keys)])
    if not is_new:
        kept = (
            f"specs/{name}.toml and sql/domains/{name}.sql exist and were kept. {model_file.relative_to(root)} and "
            f"data/{name}.parquet were replaced."
        )
        return [kept]
    drafted = files.draft(name, model=str(model_file), data=str(data), key=keys, replace=replace, root=root)
    drafted.write()
    return list(drafted.remarks)


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


def _write_data(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    frame[list(columns)].to_parquet(part, index=False)
    part.replace(path)
