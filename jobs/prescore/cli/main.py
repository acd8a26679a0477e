"""The edge for people: the commands that make, show and serve predictions.

Imports are inside the commands: `prescore --help` must not wait for pyarrow.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from prescore.catalog.datetimes import parse_datetime
from prescore.cli import context, db, keys, versions
from prescore.cli.errors import reporting_errors
from prescore.cli.versions import Json, Model
from prescore.errors import Mistake, Refused

if TYPE_CHECKING:
    from prescore.run.job import Job

app = typer.Typer(
    help="Score every answer before it is asked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


AS_OF = "Make what a run at this time of the past would have made: the domain query has it as $as_of."


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"prescore {version('prescore')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback()
def _options(version: Version = False) -> None:
    pass


app.add_typer(versions.app)
app.add_typer(keys.keys, name="keys")
app.add_typer(db.db, name="db")


def main() -> None:
    """Run a command; what goes wrong becomes words and an exit code."""
    with reporting_errors():
        app()


@app.command()
def init(name: Model) -> None:
    """Write a spec and a domain query to start from."""
    from prescore.project import scaffold

    for path in scaffold.write(name):
        typer.echo(f"wrote {os.path.relpath(path)}")
    typer.echo(f"Fill them in, then: prescore validate {name}")


@app.command()
def validate(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One model; all of them if left out.")] = None,
    json: Json = False,
) -> None:
    """Validate spec, model, domain and checks without writing anything."""
    from prescore.cli import display
    from prescore.project.project import Project

    _, preflight, job = context.flow()
    project = Project.find()
    fitting = []
    for model in [name] if name else project.models():
        with display.bars() as bars:
            rows, rejected = preflight.validate(job.Definition(project, project.spec(model), on_progress=bars))
        fitting.append({"model": model, "rows": rows, "rejected": rejected})
        if not json:
            aside = f", of which {rejected:,} would be rejected" if rejected else ""
            typer.echo(f"{model}: spec, model and domain fit; {rows:,} rows{aside}")
    if json:
        display.print_json(fitting)


@app.command()
def run(
    name: Model,
    full: Annotated[bool, typer.Option("--full", help="Begin anew, even if an earlier run was interrupted.")] = False,
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Whether readers get to see it.")] = True,
    breaking: Annotated[bool, typer.Option("--allow-breaking", help="Even if its columns break readers.")] = False,
    trial: Annotated[int | None, typer.Option(min=1, help="Read so many rows at most; never published.")] = None,
    as_of: Annotated[datetime | None, typer.Option(parser=parse_datetime, metavar="TIME", help=AS_OF)] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another run writes this model.")] = False,
    json: Json = False,
) -> None:
    """Make a version: snapshot, score, stage, check, publish."""
    from prescore.cli import display

    flow, _, _ = context.flow()
    from prescore.versions.options import RunOptions

    options = RunOptions(publish, full, breaking, trial, as_of)
    with context.job(name) as job:
        try:
            report = flow.run(job, options, on_busy=display.report_waiting if wait else None)
        except Refused:
            _show_refused(job, json=json)
            raise
        except KeyboardInterrupt:
            sys.stderr.write("prescore: stopped. What was finished is kept: the next run goes on from there.\n")
            raise
    display.print_json(report.as_dict()) if json else display.report(report.as_dict())


def _show_refused(job: Job, *, json: bool) -> None:
    from prescore.cli import display
    from prescore.run.report import Report

    report = Report.newest(job).as_dict()
    display.print_json(report) if json else display.report(report)


@app.command()
def status(json: Json = False) -> None:
    """Every model: what is served, how old it is, what became of the last run."""
    from prescore.cli import display

    with context.catalog() as catalog:
        rows = catalog.all("status_models")
    if json:
        display.print_json(rows)
    elif rows:
        display.status(rows)
    else:
        typer.echo("No model was run on this database yet: prescore run NAME")


@app.command()
def lookup(
    name: Model,
    key: Annotated[list[str], typer.Argument(metavar="KEY...", help="One value a key column.")],
    json: Json = False,
) -> None:
    """The prediction of one key."""
    from prescore.catalog import lookup as lookups
    from prescore.cli import display

    with context.catalog() as catalog:
        found = lookups.look_up(catalog, name, key)
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
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let everybody read, without an API key.")] = False,
    open_metrics: Annotated[bool, typer.Option("--open-metrics", help="Let everybody read /metrics.")] = False,
    access_log: Annotated[bool, typer.Option(help="A line of JSON for each request on standard output.")] = True,
    memory_limit: Annotated[int, typer.Option(min=0, help="Megabytes a process may hold models in.")] = 1024,
    tls_cert: Annotated[str | None, typer.Option(help="A certificate (PEM), to serve HTTPS.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its key (PEM).")] = None,
    proxies: Annotated[str, typer.Option(help="Addresses of proxies whose X-Forwarded-For is true.")] = "127.0.0.1",
) -> None:
    """Serve lookups over HTTP; takes its database from PRESCORE_DATABASE_URL alone."""
    try:
        from prescore_api.http import server
    except ImportError as error:
        raise Mistake(f"The lookup API is not installed ({error}): pip install 'prescore[api]'.") from error
    choices = {
        "open_to_all": no_auth,
        "open_metrics": open_metrics,
        "access_log": access_log,
        "memory_limit": memory_limit << 20,
    }
    server.serve(server.Listening(host, port, workers, tls_cert, tls_key, proxies), choices)


@app.command()
def schema() -> None:
    """The JSON schema of spec files, for editors."""
    from prescore.cli import display
    from prescore.project import spec

    display.print_json(spec.json_schema())
