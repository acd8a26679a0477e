"""`prescore keys …`: the API keys by which applications authenticate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from prescore.cli import context
from prescore.cli.arguments import Json

if TYPE_CHECKING:
    from prescore.catalog.api_keys import ApiKey

keys = typer.Typer(help="The API keys by which applications authenticate.", no_args_is_help=True)
_MODELS = "A model that the key may read; by default every model."
_EXPIRES = 'How long the key is valid, such as "90d"; by default until it is revoked.'
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name for the key.")]
NameOrId = Annotated[str, typer.Argument(metavar="NAME_OR_ID", help="The key's name or its id.")]
Models = Annotated[list[str] | None, typer.Option(help=_MODELS)]
Expires = Annotated[str | None, typer.Option(metavar="DURATION", help=_EXPIRES)]


@keys.command()
def create(name: Name, model: Models = None, expires: Expires = None) -> None:
    """Create a key and print it. It cannot be shown again."""
    from prescore.catalog import api_keys
    from prescore.project import fields

    models = model or None
    duration = None if expires is None else fields.parse_duration(expires)
    with context.catalog() as catalog:
        typer.echo(api_keys.create(catalog, name, models, duration))
    scope = _scope(models)
    if expires is not None:
        scope = f"{scope} for {expires}"
    sys.stderr.write(f"prescore: the API key {name} can read {scope}. It is shown once: only its hash is kept.\n")


@keys.command("list")
def show(json: Json = False) -> None:
    """List every key, newest first: what it may read, until when, and who created it."""
    from prescore.catalog import api_keys
    from prescore.cli import display

    with context.catalog() as catalog:
        rows = api_keys.list_keys(catalog)
    if json:
        display.print_json(rows)
    elif rows:
        display.table([_summary(row) for row in rows])
    else:
        typer.echo("There are no API keys yet: prescore keys create NAME")


@keys.command()
def revoke(name: NameOrId) -> None:
    """Revoke a key."""
    from prescore.catalog import api_keys

    with context.catalog() as catalog:
        key = api_keys.revoke(catalog, name)
    typer.echo(f"{key['name']} ({key['id']}) is revoked: every server refuses it within two seconds.")


def _summary(key: ApiKey) -> dict[str, object]:
    """Return what a line of the list has room for: heading → value."""
    expires = key["expires_at"]
    return {
        "id": key["id"],
        "name": key["name"],
        "models": _scope(key["models"]),
        "created": key["created_at"],
        "by": key["created_by"],
        "expires": "never" if expires is None else expires,
        "state": key["state"],
    }


def _scope(models: list[str] | None) -> str:
    return "every model" if models is None else ", ".join(models)
