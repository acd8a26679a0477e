"""`prescore keys …`: the API keys by which applications are let in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from prescore.cli import context

if TYPE_CHECKING:
    from prescore.catalog.api_keys import ApiKey

keys = typer.Typer(help="The API keys by which applications are let in.", no_args_is_help=True)
COLUMNS = {name: name for name in ("id", "name", "models")}
COLUMNS |= {"created_at": "created", "created_by": "by", "expires_at": "expires", "state": "state"}
EXPIRES = 'For how long, such as "90d"; until it is revoked if left out.'


@keys.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    model: Annotated[list[str] | None, typer.Option(help="A model that it may read; all of them if left out.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help=EXPIRES)] = None,
) -> None:
    """Make a key and print it, this once."""
    from prescore.catalog import api_keys
    from prescore.project import fields

    models, until = model or None, None if expires is None else fields.parse_duration(expires)
    with context.catalog() as catalog:
        typer.echo(api_keys.create(catalog, name, models, until))
    opens = _scope(models) + ("" if expires is None else f" for {expires}")
    sys.stderr.write(f"prescore: the API key {name} opens {opens}. It is shown once: only its hash is kept.\n")


@keys.command("list")
def show(json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")] = False) -> None:
    """Every key, newest first: what it may read, for how long, and who made it."""
    from prescore.catalog import api_keys
    from prescore.cli import display

    with context.catalog() as catalog:
        rows = api_keys.list_keys(catalog)
    if json:
        display.print_json(rows)
    elif rows:
        display.table([_shown(row) for row in rows], COLUMNS)
    else:
        typer.echo("There is no API key yet: prescore keys create NAME")


@keys.command()
def revoke(named: Annotated[str, typer.Argument(metavar="NAME_OR_ID", help="Its name or its id.")]) -> None:
    """Let a key in no more."""
    from prescore.catalog import api_keys

    with context.catalog() as catalog:
        revoked = api_keys.revoke(catalog, named)
    typer.echo(f"{revoked['name']} ({revoked['id']}) is revoked: within two seconds no server lets it in any more.")


def _shown(row: ApiKey) -> dict[str, object]:
    """A key as a line has room for it: days will do."""
    created, expires = row["created_at"].astimezone().date(), row["expires_at"]
    until = "never" if expires is None else f"{expires.astimezone():%Y-%m-%d %H:%M}"
    return {**row, "models": _scope(row["models"]), "created_at": created, "expires_at": until}


def _scope(models: list[str] | None) -> str:
    return "every model" if models is None else ", ".join(models)
