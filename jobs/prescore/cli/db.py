"""`prescore db …`: the database that a project uses."""

from __future__ import annotations

from typing import Annotated

import typer

from prescore.catalog import migrations
from prescore.cli import context

db = typer.Typer(help="The database that this project uses.", no_args_is_help=True)
Writers = Annotated[list[str] | None, typer.Option(help="A role that may run jobs.")]
Readers = Annotated[list[str] | None, typer.Option(help="A role that may look up predictions.")]


@db.command()
def url() -> None:
    """Print the database's URL; the embedded server is started first."""
    typer.echo(context.database().url)


@db.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(arguments: typer.Context) -> None:
    """Open psql on the database; further arguments are passed to psql."""
    from prescore.embedded import server

    raise typer.Exit(server.psql(context.database().url, arguments.args))


@db.command()
def stop() -> None:
    """Stop the embedded server."""
    from prescore.embedded import server
    from prescore.project.project import Project

    project = Project.find()
    others = server.others(project)
    if not server.stop(project):
        typer.echo("The embedded Postgres was not running.")
        return
    closed = f" This closed {', '.join(others)}." if others else ""
    typer.echo(f"Stopped.{closed}")


@db.command()
def migrate() -> None:
    """Bring the catalog up to date, and print what was applied or restored."""
    from prescore.versions import views

    database = context.database()
    applied = migrations.migrate(database)
    with database.connect() as connection:
        restored = views.restore(connection)
    typer.echo("\n".join([*applied, *restored]) or "The catalog is up to date.")
    if restored:
        typer.echo(
            "Privileges on the views that were dropped are lost, except those of `prescore db grant`. Roles under "
            "[grants] in a spec get theirs when its model is next published; grant all others again.",
            err=True,
        )


@db.command()
def grant(writer: Writers = None, reader: Readers = None) -> None:
    """Grant roles the rights of a writer or a reader. Only the catalog owner can."""
    from prescore.catalog import roles

    database = context.database()
    migrations.require_current(database)
    with database.connect() as connection:
        writers, readers = roles.grant(connection, writer or (), reader or ())
    typer.echo(f"may write: {', '.join(writers) or 'only the catalog owner'}")
    typer.echo(f"may read: {', '.join(readers) or 'only the roles that may write'}")
