"""The commands that validate, make and check versions."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from prescore.catalog.datetimes import parse_datetime
from prescore.cli import context
from prescore.cli.errors import exit_code
from prescore.cli.versions import AllowBreaking, Json, Model, Number
from prescore.errors import PrescoreError, Refused

app = typer.Typer()
OneModel = Annotated[str | None, typer.Argument(metavar="NAME", help="A model; by default all of them.")]
_TRIAL = "Score a random sample of at most this many rows; the version is never published."
_AS_OF = "The time that the run is for, such as 2026-01-31; the domain query receives it as $as_of."
Full = Annotated[bool, typer.Option("--full", help="Start from scratch, even if a run was interrupted.")]
Publish = Annotated[bool, typer.Option("--publish/--no-publish", help="Whether to publish the version.")]
Trial = Annotated[int | None, typer.Option(min=1, help=_TRIAL)]
AsOf = Annotated[datetime | None, typer.Option(parser=parse_datetime, metavar="TIME", help=_AS_OF)]
Wait = Annotated[bool, typer.Option("--wait", help="Wait while another run writes this model.")]


@app.command()
def validate(name: OneModel = None, json: Json = False) -> None:
    """Validate spec, model, domain and checks without writing anything."""
    from prescore.cli import display

    project = context.project()
    outcomes: list[dict[str, Any]] = []
    codes = [0]
    for model in project.models() if name is None else [name]:
        try:
            result = project.validate(model)
        except PrescoreError as error:
            # Of several specs, each is validated.
            if name is not None:
                raise
            codes.append(exit_code(error))
            outcomes.append({"model": model, "error": {"code": error.code, "message": str(error)}})
            sys.stderr.write(f"prescore: {model}: {error}\n")
        else:
            outcomes.append(result.as_dict())
            if not json:
                display.validation(result)
    if json:
        display.print_json(outcomes)
    raise typer.Exit(max(codes))


@app.command()
def run(
    name: Model,
    full: Full = False,
    publish: Publish = True,
    allow_breaking: AllowBreaking = False,
    trial: Trial = None,
    as_of: AsOf = None,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Make a version: snapshot, score, stage, check, publish."""
    from prescore.cli import display

    project = context.project()
    show = display.report_json if json else display.report
    try:
        report = project.run(
            name,
            full=full,
            publish=publish,
            allow_breaking=allow_breaking,
            trial_rows=trial,
            as_of=as_of,
            wait=wait,
        )
    except Refused:
        show(project.report(name))
        raise
    except KeyboardInterrupt:
        sys.stderr.write("prescore: stopped. Finished chunks are kept, and the next run resumes.\n")
        raise
    show(report)


@app.command()
def check_again(name: Model, version: Number, json: Json = False) -> None:
    """Run the spec's current checks on a version that is staged, checked or refused."""
    from prescore.cli import display

    project = context.project()
    show = display.report_json if json else display.report
    try:
        report = project.check_again(name, version)
    except Refused:
        show(project.report(name, version))
        raise
    show(report)
