"""The command `export`: from an estimator in a file to a model file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from prescore.cli.arguments import Json, Table

app = typer.Typer()
ModelArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A pickle of an estimator, or a model file of LightGBM, XGBoost or CatBoost."),
]
Data = Annotated[str, typer.Option(help="Rows to prove the export on: a file, a .sql file, a source, or a URL.")]
Out = Annotated[Path | None, typer.Option(help="The ONNX file; by default models/NAME.onnx, after FILE.")]
Features = Annotated[str | None, typer.Option(help="The features in the order of training, separated by commas.")]
Targets = Annotated[str | None, typer.Option(help="Names for the outputs of several targets, separated by commas.")]

_CONFIRM = (
    "The estimator does not know the names of its features, so these are all columns of the data. Confirm that "
    "training had the same columns in this order, or name the features with --features."
)


@app.command()
def export(
    file: ModelArgument,
    data: Data,
    out: Out = None,
    table: Table = None,
    features: Features = None,
    targets: Targets = None,
    json: Json = False,
) -> None:
    """Write an estimator as an ONNX file that is proven to predict the same.

    Loading a pickle runs the code in it. Export only files that you trust.
    """
    from prescore.cli import display
    from prescore.public import extras

    with extras.needed("export"):
        from prescore.public.export import export_file

    _warn_of_pickle(file)
    target = out or Path("models") / f"{file.stem}.onnx"
    result = export_file(file, data, target, table=table, features=_split(features), targets=_split(targets))
    if json:
        display.print_json(result.as_dict())
        return
    for path in (result.file, result.examples):
        typer.echo(f"wrote {os.path.relpath(path)}")
    is_guess = not result.has_feature_names and features is None
    order = "the data" if is_guess else "training"
    typer.echo(f"features, in the order of {order}: {', '.join(result.features)}")
    if is_guess:
        typer.echo(_CONFIRM)
    typer.echo(result.sentence())
    typer.echo(_next(target, data))


def _next(target: Path, data: str) -> str:
    """Return what to do with a model file: draft a spec, or use the one that there is."""
    from prescore.project import scaffold

    name = target.stem
    if (scaffold.project_folder() / f"specs/{name}.toml").exists():
        return f"Next: prescore plan {name}, then prescore run {name}"
    return f"Next: prescore init {name} --model {os.path.relpath(target)} --data {data} --key …"


def _warn_of_pickle(file: Path) -> None:
    from prescore.export.loading import PICKLES, require_file

    require_file(file)
    if file.suffix.lower() in PICKLES:
        sys.stderr.write(
            f"prescore: {file.name} is a pickle: loading it runs the code in it. Load only what you trust.\n"
        )


def _split(names: str | None) -> list[str] | None:
    return [part.strip() for part in names.split(",")] if names else None
