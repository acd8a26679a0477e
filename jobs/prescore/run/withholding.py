"""Why a scheduled run withholds a version that passed its checks, and how to publish the version anyway."""

from __future__ import annotations

from prescore.errors import NotAllowed
from prescore.run.job import Job
from prescore.run.report import Report
from prescore.run.task_values import Approval, Request
from prescore.versions import withheld
from prescore.wording import utc


def reason(job: Job, report: Report, request: Request) -> str | None:
    """Return why this run must not publish the version and how to publish it anyway, None if it is to be published."""
    model = job.model
    version = f"{model} version {report.version}"
    command = f"prescore publish {model} {report.version}"
    if report.trial_rows:
        return f"{version} is a trial and is never published."
    if not request["publish"] and not request["approval"]:
        return (
            f"{version} passed its checks and is kept for later, as the trigger form requested. "
            f"Publish it with `{command}`."
        )
    with job.database.connect() as connection:
        if not withheld.waits(connection, model, report.version):
            return None
    if report.backfill and report.as_of is not None:
        as_of = utc(report.as_of)
        return (
            f"{version} is a backfill as of {as_of}. It is kept and not published, because "
            f"version {report.served}, which is served, has newer data. Publish it anyway with "
            f"`{command} --allow-older`."
        )
    if report.held is not None:
        return (
            f"{version} passed its checks and is not published, because the model is on hold ({report.held}). "
            f"Release it with `prescore release {model}`, then publish with `{command}`."
        )
    return None


def require_approval(model: str, version: int, approval: Approval | None) -> None:
    """Raise NotAllowed unless a person approved this version; a task that was marked as done by hand has no answer."""
    if approval is not None and approval["version"] == version:
        return
    answered = "has no answer" if approval is None else f"approved version {approval['version']}"
    raise NotAllowed(
        f"{model} version {version} needs approval, and its approve task {answered}. Nothing was published. Clear the "
        f"approve task to request approval again, or publish with `prescore publish {model} {version}`."
    )
