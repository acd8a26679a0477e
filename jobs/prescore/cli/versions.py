"""The commands that show versions and choose among them: publish, roll back, hold, keep, retire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from prescore.catalog.catalog import Version
from prescore.cli import context
from prescore.errors import Mistake

if TYPE_CHECKING:
    from prescore.versions.retention import Inventory

app = typer.Typer()
Model = Annotated[str, typer.Argument(metavar="NAME", help="The model: specs/NAME.toml.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the history.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", help="A version of it.")]


@app.command()
def publish(
    pairs: Annotated[
        list[str], typer.Argument(metavar="NAME VERSION...", help="A checked version, or an earlier one.")
    ],
    older: Annotated[
        bool, typer.Option("--allow-older", help="Even if its inputs are older than the published.")
    ] = False,
    breaking: Annotated[bool, typer.Option("--allow-breaking", help="Even if its columns break readers.")] = False,
) -> None:
    """Let readers see a checked version; several models' appear at once: publish churn 7 upsell 3."""
    from prescore.project.project import Project
    from prescore.versions import pointer
    from prescore.versions.options import PublishOptions

    chosen, project = _chosen(pairs), Project.find()
    options = {
        name: (version, PublishOptions.from_spec(project.spec(name), allow_older=older, allow_breaking=breaking))
        for name, version in chosen.items()
    }
    with context.catalog() as catalog:
        pointer.publish_together(catalog.connection, options)
    for name, version in chosen.items():
        typer.echo(f"{name} version {version} is published.")


def _chosen(pairs: list[str]) -> dict[str, int]:
    names, numbers = pairs[::2], pairs[1::2]
    faults = [f"{names[-1]} has no version behind it"] if len(names) > len(numbers) else []
    faults += [f"{number} is no version" for number in numbers if not number.isdecimal()]
    faults += [f"{name} is named twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if faults:
        raise Mistake(
            f"{'; '.join(faults)}. Write models and versions in turn, as in `prescore publish churn 7 upsell 3`."
        )
    return dict(zip(names, map(int, numbers), strict=True))


@app.command()
def rollback(
    name: Model,
    to: Annotated[int | None, typer.Option(help="The version to go back to; the last good one if left out.")] = None,
    reason: Reason = None,
) -> None:
    """Go back to an earlier version, and hold the model there."""
    from prescore.versions.rollback import rollback as roll_back

    with context.catalog() as catalog:
        version = roll_back(catalog.connection, name, to, reason)
    typer.echo(
        f"{name} is back on version {version['version']} and on hold: "
        f"`prescore release {name}` lets new versions through."
    )


@app.command()
def hold(name: Model, reason: Annotated[str, typer.Option(help="Why, for the history.")]) -> None:
    """Keep the model on its version: runs go on, nothing is published."""
    from prescore.versions import hold as holds

    with context.catalog() as catalog:
        holds.hold(catalog.connection, name, reason)
    typer.echo(f"{name} is on hold.")


@app.command()
def release(name: Model) -> None:
    """End a hold."""
    from prescore.versions import hold as holds

    with context.catalog() as catalog:
        holds.release(catalog.connection, name)
        waiting = catalog.one("versions_waiting", model=name)
    typer.echo(f"{name} is released: the next run publishes again.")
    if waiting:
        number = waiting["version"]
        typer.echo(f"Version {number} passed its checks and waits: `prescore publish {name} {number}` publishes it.")


@app.command()
def retire(
    name: Model,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show which versions would be kept, why, and which would be retired."),
    ] = False,
) -> None:
    """Retire the versions that retention no longer keeps."""
    from prescore.project.project import Project
    from prescore.store.store import Store

    retirement, project = context.retirement(), Project.find()
    retention = project.spec(name).retention
    with context.catalog() as catalog:
        catalog.model(name)
        if dry_run:
            _show_retirement(retirement.Inventory.from_catalog(catalog, name, retention))
            return
        store = Store(project.store, catalog.name)
        retired = list(retirement.retire(catalog.connection, store, name, retention))
        undropped = retirement.undropped(catalog.connection, name)
    typer.echo(f"Retired: {_numbers(retired) or 'nothing'}")
    if undropped:
        typer.echo(f"Still being read, left for the next time: {_numbers(undropped)}")


def _show_retirement(inventory: Inventory) -> None:
    """Print each version with the reason to keep it, and the versions that would be retired."""
    for version in inventory.existing():
        reason = inventory.reason_to_keep(version)
        decision = "would be retired" if reason is None else f"kept: {reason}"
        typer.echo(f"Version {version['version']} ({_state(version)}): {decision}")
    typer.echo(f"Would retire: {_numbers(inventory.retirable()) or 'nothing'}")


def _numbers(versions: Sequence[Version]) -> str:
    return ", ".join(str(version["version"]) for version in versions)


@app.command()
def pin(name: Model, version: Number, reason: Reason = None) -> None:
    """Keep a version whatever retention says."""
    retirement = context.retirement()
    with context.catalog() as catalog:
        retirement.pin(catalog.connection, name, version, reason)
    typer.echo(f"{name} version {version} is kept until `prescore unpin {name} {version}`.")


@app.command()
def unpin(name: Model, version: Number, reason: Reason = None) -> None:
    """Leave a version to retention again."""
    retirement = context.retirement()
    with context.catalog() as catalog:
        retirement.unpin(catalog.connection, name, version, reason)
    typer.echo(f"{name} version {version} is left to retention again.")


@app.command()
def history(name: Model, json: Json = False) -> None:
    """What happened to a model, who did it and why, newest first."""
    from prescore.cli import display

    with context.catalog() as catalog:
        catalog.model(name)
        rows = catalog.all("events_list", model=name)
    columns = {"at": "at", "event": "event", "version": "version", "actor": "by", "reason": "why"}
    if json:
        display.print_json(rows)
        return
    display.table([{**row, "reason": display.beginning(row["reason"])} for row in rows], columns)


@app.command()
def versions(name: Model, json: Json = False) -> None:
    """The versions of a model, newest first."""
    from prescore.cli import display

    with context.catalog() as catalog:
        catalog.model(name)
        rows = catalog.versions(name)
    columns = {
        "version": "version",
        "state": "state",
        "rows": "rows",
        "data_as_of": "data as of",
        "published_at": "published at",
    }
    if json:
        display.print_json(rows)
        return
    display.table([{**row, "state": _state(row)} for row in rows], columns)


def _state(row: Version) -> str:
    """A version's state, with what else decides whether it may be gone back to, or goes."""
    marks = {"withdrawn": row["withdrawn_at"], "pinned": row["pinned_at"]}
    return ", ".join([row["state"], *(mark for mark, since in marks.items() if since)])


@app.command()
def compare(
    name: Model,
    a: Annotated[int, typer.Argument(metavar="A", help="The version to start from.")],
    b: Annotated[int, typer.Argument(metavar="B", help="The version to compare with it.")],
    json: Json = False,
) -> None:
    """What changed from version A to version B."""
    from prescore.checks import comparison
    from prescore.cli import display

    with context.catalog() as catalog:
        compared = comparison.compare(catalog.connection, catalog.version(name, a), catalog.version(name, b)).as_dict()
    if json:
        display.print_json(compared)
        return
    display.table([compared["keys"]], {n: n for n in ("added", "vanished", "common", "changed")})
    display.table(
        compared["columns"], {"column": "column", "mean_difference": "mean difference", "largest_difference": "largest"}
    )
