"""`prescore db …`: the database that a project uses."""

from __future__ import annotations

import typer

from prescore import opening

db = typer.Typer(help="The database that this project uses.", no_args_is_help=True)


@db.command()
def url() -> None:
    """Print the database's URL, starting the embedded one if need be."""
    typer.echo(opening.database().url)


@db.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on it; further arguments are psql's."""
    from prescore import embedded

    raise typer.Exit(embedded.psql(opening.database().url, context.args))


@db.command()
def stop() -> None:
    """Stop the embedded server."""
    from prescore import embedded
    from prescore.contract.project import Project

    typer.echo("stopped" if embedded.stop(Project.find()) else "was not running")


@db.command()
def migrate() -> None:
    """Bring the catalog up to date."""
    applied = opening.database().migrate()
    typer.echo("\n".join(applied) if applied else "up to date")
