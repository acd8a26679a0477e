"""The `prescore` command: a thin layer over the public Python API.

Imports are inside the commands: `prescore --help` must not wait for pyarrow.
"""

from __future__ import annotations

from typing import Annotated

import typer

from prescore.cli import canary, db, export, init, keys, reading, replays, runs, serving, versions
from prescore.cli.errors import reporting_errors

app = typer.Typer(
    help="Score every answer before it is asked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"prescore {version('prescore')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback()
def _options(version: Version = False) -> None:
    pass


app.add_typer(init.app)
app.add_typer(export.app)
app.add_typer(runs.app)
app.add_typer(replays.app)
app.add_typer(reading.app)
app.add_typer(versions.app)
app.add_typer(canary.app)
app.add_typer(serving.app)
app.add_typer(keys.keys, name="keys")
app.add_typer(db.db, name="db")


def main() -> None:
    """Run a command; an error becomes a message and an exit code."""
    with reporting_errors():
        app()
