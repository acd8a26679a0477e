"""The commands that show what there is: the state of models, of the installation, and predictions."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from prescore.cli import context
from prescore.cli.arguments import Json, Model

app = typer.Typer()
OneModel = Annotated[str | None, typer.Argument(metavar="NAME", help="A model; by default all of them.")]
Key = Annotated[list[str], typer.Argument(metavar="KEY...", help="One value for each key column.")]


@app.command()
def status(name: OneModel = None, json: Json = False) -> None:
    """Show what is served, how old it is, and what became of the last run. With a name, show what goes on now."""
    from prescore.cli import display

    if name is not None:
        activity = context.project().status(name)
        if json:
            display.print_json(activity.as_dict())
        else:
            display.record(name, activity.summary())
        return
    models = context.project().status()
    if json:
        display.print_json(models.as_dicts())
    elif models:
        display.table([model.summary() for model in models])
    else:
        typer.echo("No model has been run on this database yet: prescore run NAME")


@app.command()
def doctor(json: Json = False) -> None:
    """Examine server, catalog, models and store, and say what to do. Exit code 3 if something does not work."""
    from prescore.cli import display

    findings = context.project().doctor()
    if json:
        display.print_json(findings.as_dicts())
    else:
        display.findings(findings)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(3)


# Otherwise a negative number would be taken for an option.
@app.command(context_settings={"ignore_unknown_options": True})
def lookup(name: Model, key: Key, json: Json = False) -> None:
    """Look up the prediction of one key."""
    from prescore.cli import display

    _refuse_options(key)
    result = context.project().lookup(name, *key)
    if json:
        display.print_json(result.as_dict())
    else:
        display.answer(result)
    if not result.found:
        raise typer.Exit(2)


def _refuse_options(key: list[str]) -> None:
    """Raise a usage error for a value that is probably a misspelt option, unless `--` precedes the key."""
    if "--" in sys.argv:
        return
    for value in key:
        if value.startswith("-") and not value[1:2].isdecimal():
            raise typer.BadParameter(f"No such option: {value}. Put -- before a value that begins with a dash.")
