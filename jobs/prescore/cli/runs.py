"""The commands that validate, make and check versions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prescore.catalog.datetimes import parse_datetime
from prescore.cli import context
from prescore.cli.arguments import AllowBreaking, Json, Model, Number
from prescore.cli.outcomes import Outcomes, chosen
from prescore.errors import Refused

if TYPE_CHECKING:
    from prescore.public.project import Project
    from prescore.public.run_report import RunReport

app = typer.Typer()
Models = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="The models.")]
Every = Annotated[bool, typer.Option("--all", help="Every model that has a spec.")]
_TRIAL = "Score a random sample of at most this many rows; the version is never published."
_AS_OF = "The time that the run is for, such as 2026-01-31; the domain query receives it as $as_of."
Full = Annotated[bool, typer.Option("--full", help="Start from scratch, even if a run was interrupted.")]
Publish = Annotated[bool, typer.Option("--publish/--no-publish", help="Whether to publish the version.")]
Trial = Annotated[int | None, typer.Option(min=1, help=_TRIAL)]
AsOf = Annotated[datetime | None, typer.Option(parser=parse_datetime, metavar="TIME", help=_AS_OF)]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress bars.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait while another run writes this model.")]


@app.command()
def validate(names: Models = None, no_progress: NoProgress = False, json: Json = False) -> None:
    """Validate spec, model, domain and checks without writing anything: of one model, of several, or of all."""
    from prescore.cli import display

    project = context.project(progress=not no_progress)
    outcomes = Outcomes()
    for model in chosen(names or (), project.models()):
        # The error of a single model ends the command, as that of every other command does.
        with nullcontext() if names and len(names) == 1 else outcomes.of(model):
            result = project.validate(model)
            outcomes.add(result.as_dict(), "valid")
            if not json:
                display.validation(result)
    if json:
        display.print_json(outcomes.results)
    raise typer.Exit(outcomes.code)


@app.command()
def run(
    names: Models = None,
    every: Every = False,
    full: Full = False,
    publish: Publish = True,
    allow_breaking: AllowBreaking = False,
    trial: Trial = None,
    as_of: AsOf = None,
    wait: Wait = False,
    no_progress: NoProgress = False,
    json: Json = False,
) -> None:
    """Make a version of one model, of several or of all: snapshot, score, stage, check, publish."""
    project = context.project(progress=not no_progress)
    options: dict[str, Any] = {
        "full": full,
        "publish": publish,
        "allow_breaking": allow_breaking,
        "trial_rows": trial,
        "as_of": as_of,
        "wait": wait,
    }
    if bool(names) == every:
        raise typer.BadParameter("Name the models to run, or run all of them with --all.")
    try:
        if names and len(names) == 1:
            _run_one(project, names[0], options, json=json)
        else:
            _run_several(project, chosen(names or (), project.models()), options, json=json)
    except KeyboardInterrupt:
        sys.stderr.write("prescore: stopped. Finished chunks are kept, and the next run resumes.\n")
        raise


def _run_one(project: Project, name: str, options: dict[str, Any], *, json: bool) -> None:
    from prescore.cli import display

    _run_and_show(project, name, options, display.report_json if json else display.report)


def _run_and_show(project: Project, name: str, options: dict[str, Any], show: Callable[[RunReport], None]) -> None:
    """Run a model and show its report, also that of a refused version."""
    try:
        report = project.run(name, **options)
    except Refused:
        show(project.report(name))
        raise
    show(report)


def _run_several(project: Project, names: Sequence[str], options: dict[str, Any], *, json: bool) -> None:
    from prescore.cli import display

    outcomes = Outcomes()

    def show(report: RunReport) -> None:
        outcomes.add(report.as_dict(), "published" if report.published else report.state)
        if not json:
            display.report(report)

    for name in names:
        with outcomes.of(name):
            _run_and_show(project, name, options, show)
    if json:
        display.print_json(outcomes.results)
    else:
        display.line(outcomes.summary())
    raise typer.Exit(outcomes.code)


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
