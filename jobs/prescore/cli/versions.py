"""The commands that show versions and choose among them: publish, rollback, hold, pin, retire and the like."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from prescore.cli import context
from prescore.cli.arguments import AllowBreaking, AllowOlder, Json, Model, Number, Reason
from prescore.errors import Mistake
from prescore.wording import count

app = typer.Typer()
Pairs = Annotated[
    list[str], typer.Argument(metavar="NAME VERSION...", help="A model and a checked or earlier version of it.")
]
To = Annotated[int | None, typer.Option(help="The version to roll back to; by default the last good one.")]
RequiredReason = Annotated[str, typer.Option(help="The reason, for the history.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only show which versions would be kept, why, and which would be retired.")
]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")]
RemoveDryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")]
Yes = Annotated[bool, typer.Option("--yes", help="Remove it without confirmation.")]
From = Annotated[
    int | None, typer.Argument(metavar="A", help="The version to start from, or without B the one to compare.")
]
With = Annotated[
    int | None, typer.Argument(metavar="B", help="The version to compare with it; by default, the published one.")
]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Also write one HTML page with pictures to this file.")
]


@app.command()
def publish(pairs: Pairs, allow_older: AllowOlder = False, allow_breaking: AllowBreaking = False) -> None:
    """Publish a checked version, or versions of several models in one transaction: publish churn 7 upsell 3."""
    from prescore.cli import display

    chosen = _chosen(pairs)
    for version in context.project().publish(chosen, allow_older=allow_older, allow_breaking=allow_breaking):
        typer.echo(f"{version.model} version {version.version} is published.")
        display.warnings(version.model, version.warnings)


def _chosen(pairs: list[str]) -> dict[str, int]:
    """Return model → version from the arguments of `publish`; raise Mistake with everything that is wrong."""
    names, numbers = pairs[::2], pairs[1::2]
    faults = []
    if len(names) > len(numbers):
        faults.append(f"{names[-1]} is not followed by a version")
    faults += [f"{number} is not a version number" for number in numbers if not number.isdecimal()]
    faults += [f"{name} is given twice" for name, times in sorted(Counter(names).items()) if times > 1]
    if faults:
        raise Mistake(
            f"{'; '.join(faults)}. Write models and versions in turn, as in `prescore publish churn 7 upsell 3`."
        )
    return dict(zip(names, map(int, numbers), strict=True))


@app.command()
def rollback(name: Model, to: To = None, reason: Reason = None) -> None:
    """Roll back to an earlier version, and put the model on hold there."""
    from prescore.cli import display

    version = context.project().rollback(name, to=to, reason=reason)
    typer.echo(
        f"{name} is back on version {version.version} and on hold: `prescore release {name}` lets new versions through."
    )
    display.warnings(name, version.warnings)
    _report_withdrawn_file(name)


@app.command()
def hold(name: Model, reason: RequiredReason) -> None:
    """Put a model on hold: runs continue, and nothing is published."""
    context.project().hold(name, reason)
    typer.echo(f"{name} is on hold.")


@app.command()
def release(name: Model) -> None:
    """End a hold."""
    pending = context.project().release(name)
    typer.echo(f"{name} is released: the next run publishes again.")
    if pending is not None:
        typer.echo(f"Version {pending} passed its checks: `prescore publish {name} {pending}` publishes it.")
    _report_withdrawn_file(name)


def _report_withdrawn_file(name: str) -> None:
    """Print what to do about a model file that a rollback has left behind."""
    remark = context.withdrawn_file(name)
    if remark is not None:
        typer.echo(remark)


@app.command()
def release_lease(name: Model) -> None:
    """Release the lease of a run that is gone, so that the next run need not wait until it expires."""
    holder = context.project().release_lease(name)
    if holder is None:
        typer.echo(f"No run holds the lease of {name}.")
    else:
        typer.echo(f"The lease of {name} is released. It was held by {holder}.")


@app.command()
def retire(name: Model, dry_run: DryRun = False) -> None:
    """Retire the versions that retention no longer keeps."""
    result = context.project().retire(name, dry_run=dry_run)
    for decision in result.decisions:
        consequence = "would be retired" if decision.reason is None else f"kept: {decision.reason}"
        typer.echo(f"Version {decision.version} ({decision.state}): {consequence}")
    typer.echo(f"{'Would retire' if dry_run else 'Retired'}: {_listed(result.retired)}")
    if result.in_use:
        typer.echo(f"Still being read, left for the next retirement: {_listed(result.in_use)}")
        typer.echo(f"`prescore status {name}` shows the sessions that read them.")
    for version, names in result.dependents.items():
        typer.echo(f"Version {version} keeps its table, because these objects depend on it: {', '.join(names)}")
    if result.dependents:
        typer.echo("Drop them, and the next retirement drops the table.")


@app.command()
def rename(old: Model, new: NewName) -> None:
    """Rename a model's spec and query; the model in the database stays until `prescore remove`."""
    project = context.project()
    for path, new_path in project.rename(old, new).items():
        typer.echo(f"{path.relative_to(project.root)} is {new_path.relative_to(project.root)} now.")
    typer.echo(f"Next: `prescore run {new}`.")
    typer.echo(f"If predictions.{old} exists, it stays until `prescore remove {old}`, so that readers can move.")


@app.command()
def remove(name: Model, dry_run: RemoveDryRun = False, yes: Yes = False, reason: Reason = None) -> None:
    """Remove a model that is no longer wanted: its view, all its versions, their snapshots and model files."""
    project = context.project()
    planned = project.remove(name, dry_run=True)
    versions = f"{count(len(planned.versions), 'version')} of {planned.bytes / 1e6:,.1f} MB"
    typer.echo(f"To be dropped: predictions.{name} and {versions}, with their snapshots and model files.")
    if planned.dependents:
        typer.echo(f"These objects depend on them and must be dropped first: {', '.join(planned.dependents)}")
    if planned.api_keys:
        typer.echo(f"These API keys name {name} and stay: {', '.join(planned.api_keys)}")
    if dry_run:
        return
    if not (yes or planned.dependents):
        _confirm(f"Remove {name}? This cannot be undone.")
    project.remove(name, reason=reason)
    typer.echo(f"{name} is removed.")
    if planned.spec_file is not None:
        typer.echo(f"{planned.spec_file} is still there: the next run of it makes {name} again.")


def _confirm(question: str) -> None:
    """Return if the user agrees; raise Mistake otherwise, also without a terminal."""
    if not sys.stdin.isatty():
        raise Mistake(f"{question} To agree without a terminal, add --yes.")
    if not typer.confirm(question):
        raise Mistake("Nothing was removed.")


def _listed(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, versions)) or "nothing"


@app.command()
def pin(name: Model, version: Number, reason: Reason = None) -> None:
    """Keep a version whatever retention says."""
    context.project().pin(name, version, reason=reason)
    typer.echo(f"{name} version {version} is kept until `prescore unpin {name} {version}`.")


@app.command()
def unpin(name: Model, version: Number, reason: Reason = None) -> None:
    """Leave a version to retention again."""
    context.project().unpin(name, version, reason=reason)
    typer.echo(f"{name} version {version} is left to retention again.")


@app.command()
def history(name: Model, json: Json = False) -> None:
    """Show what happened to a model, who did it and why, newest first."""
    from prescore.cli import display

    events = context.project().history(name)
    if json:
        display.print_json(events.as_dicts())
    elif events:
        display.table([event.summary() for event in events])
    else:
        typer.echo(f"The history of {name} is empty: none of its versions has been checked yet.")


@app.command()
def versions(name: Model, json: Json = False) -> None:
    """List the versions of a model, newest first."""
    from prescore.cli import display

    rows = context.project().versions(name)
    if json:
        display.print_json(rows.as_dicts())
    else:
        display.table([version.summary() for version in rows])


@app.command()
def compare(name: Model, a: From = None, b: With = None, html: Html = None, json: Json = False) -> None:
    """Show what changed from version A to version B."""
    from prescore.cli import display

    found = context.project().compare(name, a, b)
    if html is not None:
        html.write_text(found.page())
    if json:
        display.print_json(found.as_dict())
        return
    display.comparison(found)
