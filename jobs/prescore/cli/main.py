"""The `prescore` command: a thin layer over the public Python API.

Imports are inside the commands: `prescore --help` must not wait for pyarrow.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Annotated

import typer

from prescore.catalog.datetimes import parse_datetime
from prescore.cli import context, db, keys, versions
from prescore.cli.errors import reporting_errors
from prescore.cli.versions import AllowBreaking, Json, Model, Number
from prescore.errors import Refused

app = typer.Typer(
    help="Score every answer before it is asked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_TRIAL = "Read at most this many rows; the version is never published."
_AS_OF = "The time that the run is for, such as 2026-01-31; the domain query receives it as $as_of."
Full = Annotated[bool, typer.Option("--full", help="Start from scratch, even if a run was interrupted.")]
Publish = Annotated[bool, typer.Option("--publish/--no-publish", help="Whether to publish the version.")]
Trial = Annotated[int | None, typer.Option(min=1, help=_TRIAL)]
AsOf = Annotated[datetime | None, typer.Option(parser=parse_datetime, metavar="TIME", help=_AS_OF)]
Wait = Annotated[bool, typer.Option("--wait", help="Wait while another run writes this model.")]
OneModel = Annotated[str | None, typer.Argument(metavar="NAME", help="A model; by default all of them.")]
Key = Annotated[list[str], typer.Argument(metavar="KEY...", help="One value for each key column.")]

ModelFileOption = Annotated[str | None, typer.Option("--model", help="An ONNX file, to draft the spec from.")]
Data = Annotated[str | None, typer.Option(help="Its data: a file, a .sql file, a source, or a database URL.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="The key columns of the data, separated by commas.")]
FeaturesOption = Annotated[
    str | None, typer.Option("--features", help="The columns of a matrix in the order of training.")
]
Table = Annotated[str | None, typer.Option(help="The table, where --data is a database.")]
DraftOnly = Annotated[bool, typer.Option("--dry-run", help="Print the files instead of writing them.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]

_PROXIES = "Trusted proxies: addresses whose X-Forwarded-For header is used."
Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that share the port.")]
NoAuth = Annotated[bool, typer.Option("--no-auth", help="Serve clients without an API key.")]
OpenMetrics = Annotated[bool, typer.Option("--open-metrics", help="Serve /metrics without an API key.")]
AccessLog = Annotated[bool, typer.Option(help="Write a line of JSON per request to standard output.")]
MemoryLimit = Annotated[int, typer.Option(min=0, help="Megabytes for models in memory, in each process.")]
Certificate = Annotated[str | None, typer.Option(help="A certificate (PEM), to serve HTTPS.")]
PrivateKey = Annotated[str | None, typer.Option(help="Its private key (PEM).")]
Proxies = Annotated[str, typer.Option(help=_PROXIES)]
RootPath = Annotated[
    str, typer.Option(metavar="PATH", help="What clients' URLs have before /v1, such as /predictions.")
]
_ORIGINS = "An origin whose pages may read responses, such as https://app.example.org, or *. Can be repeated."
CorsOrigins = Annotated[list[str] | None, typer.Option(metavar="ORIGIN", help=_ORIGINS)]
KeepAlive = Annotated[int, typer.Option(min=1, help="Seconds for which an idle connection stays open.")]


def _print_version(requested: bool) -> None:
    if requested:
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
    """Run a command; an error becomes a message and an exit code."""
    with reporting_errors():
        app()


@app.command()
def init(
    name: Model,
    model: ModelFileOption = None,
    data: Data = None,
    key: KeyOption = None,
    features: FeaturesOption = None,
    table: Table = None,
    dry_run: DraftOnly = False,
    force: Force = False,
) -> None:
    """Write a spec and a domain query, from a model file and its data or from a template."""
    from prescore.project import scaffold

    if model or data or key:
        _draft(name, model, data, key, features, table, dry_run=dry_run, force=force)
        return
    for path in scaffold.write(name):
        typer.echo(f"wrote {os.path.relpath(path)}")
    typer.echo(f"Fill them in, then: prescore validate {name}")


def _draft(
    name: str,
    model: str | None,
    data: str | None,
    key: str | None,
    features: str | None,
    table: str | None,
    *,
    dry_run: bool,
    force: bool,
) -> None:
    from prescore.public import extras

    if not (model and data and key):
        raise typer.BadParameter("--model, --data and --key belong together: give all three, or none for a template.")
    with extras.needed("jobs"):
        from prescore.draft import files

    drafted = files.draft(
        name, model=model, data=data, key=_split(key), features=_split(features), table=table, replace=force or dry_run
    )
    if dry_run:
        for path, text in drafted.texts.items():
            typer.echo(f"# {os.path.relpath(path)}\n{text}")
    else:
        for path in drafted.write():
            typer.echo(f"wrote {os.path.relpath(path)}")
        typer.echo(f"Next: prescore run {name}")
    for remark in drafted.remarks:
        sys.stderr.write(f"prescore: {remark}\n")


def _split(names: str | None) -> list[str]:
    return [part.strip() for part in names.split(",")] if names else []


@app.command()
def validate(name: OneModel = None, json: Json = False) -> None:
    """Validate spec, model, domain and checks without writing anything."""
    from prescore.cli import display

    project = context.project()
    results = []
    for model in project.models() if name is None else [name]:
        result = project.validate(model)
        results.append(result)
        if not json:
            rejected = f", of which {result.rejected:,} would be rejected" if result.rejected else ""
            typer.echo(f"{model}: spec, model and domain fit; {result.rows:,} rows{rejected}")
            display.warnings(model, result.warnings)
    if json:
        display.print_json([result.as_dict() for result in results])


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


@app.command()
def status(name: OneModel = None, json: Json = False) -> None:
    """Show what is served, how old it is, and what became of the last run. With a name, show what goes on now."""
    from prescore.cli import display

    if name is not None:
        activity = context.project().status(name)
        if json:
            display.print_json(activity.as_dict())
        else:
            display.record(name, activity.summary())
        return
    models = context.project().status()
    if json:
        display.print_json(models.as_dicts())
    elif models:
        display.table([model.summary() for model in models])
    else:
        typer.echo("No model has been run on this database yet: prescore run NAME")


@app.command()
def doctor(json: Json = False) -> None:
    """Examine server, catalog, models and store, and say what to do. Exit code 3 if something does not work."""
    from prescore.cli import display

    findings = context.project().doctor()
    if json:
        display.print_json(findings.as_dicts())
    else:
        display.findings(findings)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(3)


# Otherwise a negative number would be taken for an option.
@app.command(context_settings={"ignore_unknown_options": True})
def lookup(name: Model, key: Key, json: Json = False) -> None:
    """Look up the prediction of one key."""
    from prescore.cli import display

    _refuse_options(key)
    result = context.project().lookup(name, *key)
    if json:
        display.print_json(result.as_dict())
    else:
        display.answer(result)
    if not result.found:
        raise typer.Exit(2)


def _refuse_options(key: list[str]) -> None:
    """Raise a usage error for a value that is probably a misspelt option, unless `--` precedes the key."""
    if "--" in sys.argv:
        return
    for value in key:
        if value.startswith("-") and not value[1:2].isdecimal():
            raise typer.BadParameter(f"No such option: {value}. Put -- before a value that begins with a dash.")


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    no_auth: NoAuth = False,
    open_metrics: OpenMetrics = False,
    access_log: AccessLog = True,
    memory_limit: MemoryLimit = 1024,
    tls_cert: Certificate = None,
    tls_key: PrivateKey = None,
    proxies: Proxies = "127.0.0.1",
    root_path: RootPath = "",
    cors_origin: CorsOrigins = None,
    keep_alive: KeepAlive = 75,
) -> None:
    """Serve lookups over HTTP. The database comes from PRESCORE_DATABASE_URL alone."""
    from prescore.public import extras

    with extras.needed("api"):
        from prescore_api.http import server

    options = {
        "open_to_all": no_auth,
        "open_metrics": open_metrics,
        "access_log": access_log,
        "memory_limit": memory_limit << 20,
        "origins": tuple(cors_origin or ()),
        "root_path": root_path.rstrip("/"),
    }
    server.serve(server.Listening(host, port, workers, tls_cert, tls_key, proxies, keep_alive), options)


@app.command()
def schema() -> None:
    """Print the JSON schema of spec files, for editors."""
    from prescore.cli import display
    from prescore.project import spec

    display.print_json(spec.json_schema())
