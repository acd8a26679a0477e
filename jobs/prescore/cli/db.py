"""`prescore db …`: the database that a project uses."""

from __future__ import annotations

from typing import Annotated

import typer

from prescore.catalog import migrations
from prescore.cli import context

db = typer.Typer(help="The database that this project uses.", no_args_is_help=True)


@db.command()
def url() -> None:
    """Print the database's URL, starting the embedded one if need be."""
    typer.echo(context.database().url)


@db.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(arguments: typer.Context) -> None:
    """Open psql on it; further arguments are psql's."""
    from prescore.embedded import server

    raise typer.Exit(server.psql(context.database().url, arguments.args))


@db.command()
def stop() -> None:
    """Stop the embedded server."""
    from prescore.embedded import server
    from prescore.project.project import Project

    project = Project.find()
    others = server.others(project)
    ended = f", and with it sessions of others: {', '.join(others)}" if others else ""
    typer.echo(f"stopped{ended}" if server.stop(project) else "was not running")


@db.command()
def migrate() -> None:
    """Bring the catalog up to date."""
    applied = migrations.migrate(context.database())
    typer.echo("\n".join(applied) if applied else "up to date")


@db.command()
def grant(
    writer: Annotated[list[str] | None, typer.Option(help="A role that is to run jobs.")] = None,
    reader: Annotated[list[str] | None, typer.Option(help="A role that is to look up.")] = None,
) -> None:
    """Give roles the rights of a writer or a reader; for the catalog's owner."""
    from prescore.catalog import roles

    opened = context.database()
    migrations.require_current(opened)
    with opened.connect() as connection:
        writers, readers = roles.grant(connection, writer or (), reader or ())
    typer.echo(f"may write: {', '.join(writers) or 'nobody but the owner'}")
    typer.echo(f"may read: {', '.join(readers) or 'nobody else'}")
