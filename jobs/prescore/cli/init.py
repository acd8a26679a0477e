"""The command `init`: the files that a model starts with."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from prescore.cli.arguments import Model, Table

app = typer.Typer()
ModelFileOption = Annotated[str | None, typer.Option("--model", help="An ONNX file, to draft the spec from.")]
Data = Annotated[str | None, typer.Option(help="Its data: a file, a .sql file, a source, or a database URL.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="The key columns of the data, separated by commas.")]
FeaturesOption = Annotated[
    str | None, typer.Option("--features", help="The columns of a matrix in the order of training.")
]
DraftOnly = Annotated[bool, typer.Option("--dry-run", help="Print the files instead of writing them.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


def _print_templates(requested: bool) -> None:
    if requested:
        from prescore.project import scaffold

        for name, purpose in scaffold.TEMPLATES.items():
            typer.echo(f"{name:<11} {purpose}")
        raise typer.Exit


Template = Annotated[str | None, typer.Option(help="The template to start from, without --model.")]
Listed = Annotated[bool, typer.Option("--list", callback=_print_templates, is_eager=True, help="List the templates.")]


@app.command()
def init(
    name: Model,
    model: ModelFileOption = None,
    data: Data = None,
    key: KeyOption = None,
    features: FeaturesOption = None,
    table: Table = None,
    dry_run: DraftOnly = False,
    force: Force = False,
    template: Template = None,
    listed: Listed = False,  # noqa: ARG001  # its callback prints the list
) -> None:
    """Write a spec and a domain query, from a model file and its data or from a template."""
    from prescore.project import scaffold

    if model or data or key:
        if template is not None:
            raise typer.BadParameter("A draft from --model and --data takes no --template.")
        _draft(name, model, data, key, features, table, dry_run=dry_run, force=force)
        return
    for path in scaffold.write(name, template or scaffold.DEFAULT):
        typer.echo(f"wrote {os.path.relpath(path)}")
    typer.echo(f"Fill them in, then: prescore validate {name}")


def _draft(
    name: str,
    model: str | None,
    data: str | None,
    key: str | None,
    features: str | None,
    table: str | None,
    *,
    dry_run: bool,
    force: bool,
) -> None:
    from prescore.public import extras

    if not (model and data and key):
        raise typer.BadParameter("--model, --data and --key belong together: give all three, or none for a template.")
    with extras.needed("jobs"):
        from prescore.draft import files

    drafted = files.draft(
        name, model=model, data=data, key=_split(key), features=_split(features), table=table, replace=force or dry_run
    )
    if dry_run:
        for path, text in drafted.texts.items():
            typer.echo(f"# {os.path.relpath(path)}\n{text}")
    else:
        for path in drafted.write():
            typer.echo(f"wrote {os.path.relpath(path)}")
        typer.echo(f"Next: prescore run {name}")
    for remark in drafted.remarks:
        sys.stderr.write(f"prescore: {remark}\n")


def _split(names: str | None) -> list[str]:
    return [part.strip() for part in names.split(",")] if names else []


@app.command()
def schema() -> None:
    """Print the JSON schema of spec files, for editors."""
    from prescore.cli import display
    from prescore.project import spec_file

    display.print_json(spec_file.json_schema())
