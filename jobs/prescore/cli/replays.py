"""Commands that score the kept snapshots of versions again."""

from __future__ import annotations

from typing import Annotated

import typer

from prescore.cli import context
from prescore.cli.arguments import Json, Model
from prescore.cli.runs import NoProgress

app = typer.Typer()

Backtest = Annotated[
    int, typer.Option("--backtest", min=0, metavar="N", help="Score N earlier versions as well, newest first.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, such as for a pull request.")]
OptionalNumber = Annotated[
    int | None, typer.Argument(metavar="VERSION", help="The version; by default, the published one.")
]


@app.command()
def plan(
    name: Model,
    backtest: Backtest = 0,
    markdown: Markdown = False,
    no_progress: NoProgress = False,
    json: Json = False,
) -> None:
    """Show what the model file and spec in this project would change, without making a version."""
    from prescore.cli import display

    result = context.project(progress=not no_progress).plan(name, backtest=backtest)
    if json:
        display.print_json(result.as_dict())
    elif markdown:
        typer.echo(result.markdown())
    else:
        display.plan(result)
    result.require()


@app.command()
def verify(name: Model, version: OptionalNumber = None, no_progress: NoProgress = False, json: Json = False) -> None:
    """Prove a version: score its snapshot again with its own model file, and compare the result with its table."""
    from prescore.cli import display

    result = context.project(progress=not no_progress).verify(name, version)
    if json:
        display.print_json(result.as_dict())
    else:
        display.line(result.sentence())
    result.require()
