"""The arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(metavar="NAME", help="The model: specs/NAME.toml.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", help="A version of the model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Reason = Annotated[str | None, typer.Option(help="The reason, for the history.")]
AllowOlder = Annotated[bool, typer.Option("--allow-older", help="Accept inputs older than those that are served.")]
AllowBreaking = Annotated[bool, typer.Option("--allow-breaking", help="Publish columns that break readers.")]
Table = Annotated[str | None, typer.Option(help="The table, where --data is a database.")]
