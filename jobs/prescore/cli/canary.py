"""The commands for the canary, a version that is tried beside the published one: canary and promote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from prescore.cli import context
from prescore.cli.arguments import AllowOlder, Model, Reason
from prescore.errors import Mistake

if TYPE_CHECKING:
    from prescore.public.results import Canary

app = typer.Typer()
CanaryVersion = Annotated[
    int | None, typer.Argument(metavar="VERSION", help="The checked version to try, or the one whose share to change.")
]
Share = Annotated[float | None, typer.Option(help="The share of the keys that the version is served to, from 0 to 1.")]
Shadow = Annotated[bool, typer.Option("--shadow", help="Serve it to no key: only compare it.")]
Drop = Annotated[bool, typer.Option("--drop", help="End the canary.")]


@app.command()
def canary(
    name: Model,
    version: CanaryVersion = None,
    share: Share = None,
    shadow: Shadow = False,
    drop: Drop = False,
    allow_older: AllowOlder = False,
    reason: Reason = None,
) -> None:
    """Try a checked version on a share of the keys, or in shadow. With NAME alone, show and compare it."""
    from prescore.cli import display

    project = context.project()
    starts = version is not None or share is not None or shadow
    if drop and starts:
        raise Mistake("--drop ends the canary, and takes no version and no share.")
    if drop:
        dropped = project.drop_canary(name, reason=reason)
        typer.echo(f"Version {dropped} is not the canary of {name} any more.")
    elif starts:
        number = _running_canary(name) if version is None else version
        chosen = _share(share, shadow=shadow)
        started = project.start_canary(name, number, share=chosen, allow_older=allow_older, reason=reason)
        publishes = "approves and publishes" if started.awaits else "publishes"
        typer.echo(f"{started.sentence()} `prescore promote {name}` {publishes} it.")
        _report_approval(started)
        display.warnings(name, started.warnings)
    else:
        _show_canary(name)


def _running_canary(name: str) -> int:
    """Return the version of the canary, for a new share; raise Mistake without one."""
    running = context.project().canary(name)
    if running is None:
        raise Mistake(f"{name} has no canary. Which version is to be one? `prescore versions {name}` lists them all.")
    return running.version


def _share(share: float | None, *, shadow: bool) -> float:
    """Return the share of the keys that a canary is for; raise Mistake unless exactly one is given."""
    if shadow and share is not None:
        raise Mistake("--shadow serves the canary to no key, and --share to some. Choose one of them.")
    if not shadow and share is None:
        raise Mistake("Which keys is the canary for? Add --share 0.1 for a tenth of them, or --shadow for none.")
    return share or 0.0


def _show_canary(name: str) -> None:
    from prescore.cli import display

    project = context.project()
    tried = project.canary(name)
    if tried is None:
        typer.echo(f"{name} has no canary. `prescore canary {name} VERSION --share 0.1` starts one.")
        return
    typer.echo(tried.sentence())
    _report_approval(tried)
    display.comparison(project.compare(name, tried.published_version, tried.version))


def _report_approval(tried: Canary) -> None:
    """Print why the canary waits for approval, if it does."""
    waits_for = tried.approval()
    if waits_for is not None:
        typer.echo(f"It waits for approval: {waits_for}")


@app.command()
def promote(name: Model, allow_older: AllowOlder = False, reason: Reason = None) -> None:
    """Publish the canary."""
    from prescore.cli import display

    project = context.project()
    tried = project.canary(name)
    version = project.promote(name, allow_older=allow_older, reason=reason)
    waited_for = tried.approval() if tried is not None else None
    if waited_for is None:
        typer.echo(f"{name} version {version.version} is published.")
    else:
        typer.echo(f"{name} version {version.version} is approved and published. It waited for approval: {waited_for}")
    display.warnings(name, version.warnings)
