"""The edge for people: every command.

Imports are inside the commands: `prescore --help` must not wait for pyarrow.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from prescore import cli_db, opening
from prescore.cli_errors import told
from prescore.contract.errors import Mistake, Refused

if TYPE_CHECKING:
    from prescore.job import Job

app = typer.Typer(
    help="Score every answer before it is asked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"prescore {version('prescore')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback()
def _options(version: Version = False) -> None:
    pass


app.add_typer(cli_db.db, name="db")

Model = Annotated[str, typer.Argument(metavar="NAME", help="The model: specs/NAME.toml.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the history.")]


def main() -> None:
    """Run a command; what goes wrong becomes words and an exit code."""
    with told():
        app()


@app.command()
def init(name: Model) -> None:
    """Write a spec and a domain query to start from."""
    from prescore import scaffold

    for path in scaffold.write(name):
        typer.echo(f"wrote {os.path.relpath(path)}")
    typer.echo(f"Fill them in, then: prescore check {name}")


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One model; all of them if left out.")] = None,
    json: Json = False,
) -> None:
    """Validate spec, model, domain and checks without writing anything."""
    from prescore import display
    from prescore.contract.project import Project

    flow, job = opening.flow()
    project = Project.find()
    fitting = []
    for model in [name] if name else project.models():
        with display.bars() as bars:
            rows = flow.rehearse(job.Material(project, project.spec(model), on_rows=bars))
        fitting.append({"model": model, "rows": rows})
        if not json:
            typer.echo(f"{model}: spec, model and domain fit; {rows:,} rows")
    if json:
        display.print_json(fitting)


@app.command()
def run(
    name: Model,
    full: Annotated[bool, typer.Option("--full", help="Begin anew, even if an earlier run was interrupted.")] = False,
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Whether readers get to see it.")] = True,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another run writes this model.")] = False,
    json: Json = False,
) -> None:
    """Make a version: snapshot, score, stage, check, publish."""
    from prescore import display

    flow, _ = opening.flow()
    with opening.job(name) as job:
        try:
            report = flow.run(job, publishing=publish, full=full, on_busy=display.wait if wait else None)
        except Refused:
            _show_refused(job, json=json)
            raise
        except KeyboardInterrupt:
            sys.stderr.write("prescore: stopped. What was scored is kept: the next run goes on from there.\n")
            raise
    display.print_json(report.as_dict()) if json else display.report(report.as_dict())


def _show_refused(job: Job, *, json: bool) -> None:
    from prescore import display
    from prescore.report import Report

    report = Report.newest(job).as_dict()
    display.print_json(report) if json else display.report(report)


@app.command()
def publish(
    name: Model,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="A checked version, or an earlier one.")],
) -> None:
    """Let readers see a checked version."""
    from prescore.contract.project import Project
    from prescore.steps import publish as step

    grants = Project.find().spec(name).grants.select
    with opening.catalog() as catalog:
        step.publish(catalog.connection, name, version, grants=grants)
    typer.echo(f"{name} version {version} is published.")


@app.command()
def rollback(
    name: Model,
    to: Annotated[int | None, typer.Option(help="The version to go back to; the last good one if left out.")] = None,
    reason: Reason = None,
) -> None:
    """Go back to an earlier version, and hold the model there."""
    from prescore.steps import publish as step

    with opening.catalog() as catalog:
        version = step.rollback(catalog.connection, name, to, reason)
    typer.echo(
        f"{name} is back on version {version['version']} and on hold: "
        f"`prescore release {name}` lets new versions through."
    )


@app.command()
def hold(name: Model, reason: Annotated[str, typer.Option(help="Why, for the history.")]) -> None:
    """Keep the model on its version: runs go on, nothing is published."""
    from prescore.steps import publish as step

    with opening.catalog() as catalog:
        step.hold(catalog.connection, name, reason)
    typer.echo(f"{name} is on hold.")


@app.command()
def release(name: Model) -> None:
    """End a hold."""
    from prescore.steps import publish as step

    with opening.catalog() as catalog:
        step.release(catalog.connection, name)
        waiting = catalog.one("versions_waiting", model=name)
    typer.echo(f"{name} is released: the next run publishes again.")
    if waiting:
        number = waiting["version"]
        typer.echo(f"Version {number} passed its checks and waits: `prescore publish {name} {number}` publishes it.")


@app.command()
def retire(name: Model, dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell.")] = False) -> None:
    """Drop the versions that retention no longer asks for."""
    from prescore import retirement
    from prescore.contract.project import Project
    from prescore.store import Store

    project = Project.find()
    retention = project.spec(name).retention
    with opening.catalog() as catalog:
        catalog.model(name)
        if dry_run:
            gone = retirement.due(catalog.versions(name), retention)
        else:
            gone = list(retirement.retire(catalog.connection, Store(project.store), name, retention))
        waiting = [] if dry_run else retirement.leftover(catalog.connection, name)
    typer.echo(f"{'Would retire' if dry_run else 'Retired'}: {', '.join(str(v['version']) for v in gone) or 'nothing'}")
    if waiting:
        typer.echo(f"Still being read, left for the next time: {', '.join(str(v['version']) for v in waiting)}")


@app.command()
def versions(name: Model, json: Json = False) -> None:
    """The versions of a model, newest first."""
    from prescore import display

    with opening.catalog() as catalog:
        catalog.model(name)
        rows = catalog.versions(name)
    columns = {
        "version": "version",
        "state": "state",
        "rows": "rows",
        "data_as_of": "data as of",
        "published_at": "published at",
    }
    display.print_json(rows) if json else display.table(rows, columns)


@app.command()
def status(json: Json = False) -> None:
    """Every model: what is served, how old it is, what became of the last run."""
    from prescore import display

    with opening.catalog() as catalog:
        rows = catalog.all("status_models")
    if json:
        display.print_json(rows)
    elif rows:
        display.status(rows)
    else:
        typer.echo("No model was run on this database yet: prescore run NAME")


@app.command()
def diff(
    name: Model,
    a: Annotated[int, typer.Argument(metavar="A", help="The version to start from.")],
    b: Annotated[int, typer.Argument(metavar="B", help="The version to compare with it.")],
    json: Json = False,
) -> None:
    """What changed from version A to version B."""
    from prescore import comparison, display

    with opening.catalog() as catalog:
        found = comparison.compare(catalog.connection, catalog.version(name, a), catalog.version(name, b))
    if json:
        display.print_json(found)
        return
    display.table([found["keys"]], {n: n for n in ("added", "vanished", "common", "changed")})
    display.table(
        found["columns"], {"column": "column", "mean_difference": "mean difference", "largest_difference": "largest"}
    )


@app.command()
def lookup(
    name: Model,
    key: Annotated[list[str], typer.Argument(metavar="KEY...", help="One value a key column.")],
    json: Json = False,
) -> None:
    """The prediction of one key."""
    from prescore import display
    from prescore.contract import lookup as lookups

    with opening.catalog() as catalog:
        found = lookups.one(catalog, name, key)
    if json:
        display.print_json(found)
    else:
        display.answer(found)
    if not found["found"]:
        raise typer.Exit(2)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8000,
) -> None:
    """Serve lookups over HTTP; takes its database from PRESCORE_DATABASE_URL alone."""
    try:
        from prescore_api import server
    except ImportError as error:
        raise Mistake(f"The lookup API is not installed ({error}): pip install 'prescore[api]'.") from error
    server.serve(host, port)


@app.command()
def schema() -> None:
    """The JSON schema of spec files, for editors."""
    from prescore import display
    from prescore.contract import spec

    display.print_json(spec.json_schema())
