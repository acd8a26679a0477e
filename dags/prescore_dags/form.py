"""The trigger form of a model's DAG, and the run options that it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from prescore.catalog.datetimes import parse_datetime
from prescore.errors import NotAllowed

if TYPE_CHECKING:
    from datetime import datetime

    from prescore.versions.options import RunOptions

# A date, or a time with or without a zone. Days that do not exist, such as the 30th of February, match too: the
# snapshot task rejects them with a better message than a pattern can.
_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?$"
PUBLISH, ASK, KEEP = "publish", "ask for approval", "keep for later"


def form() -> dict[str, Param]:
    """Return the fields of the trigger form."""
    return {
        "when_checked": Param(
            PUBLISH,
            type="string",
            enum=[PUBLISH, ASK, KEEP],
            title="After the checks pass",
            description="Publish: readers see the version immediately. Ask for approval: the run waits under Required "
            "Actions, where you see the check results and approve or reject. Keep for later: the version stays "
            "unpublished until you run `prescore publish`.",
        ),
        "trial_rows": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Trial rows",
            description="Run a trial on at most this many rows of the domain. A trial version is checked and never "
            "published.",
        ),
        "as_of": Param(
            None,
            type=["null", "string"],
            # The format only makes the form show a calendar. Airflow validates the pattern.
            format="date-time",
            pattern=_TIME,
            title="As of",
            description="Run a backfill for this earlier time. The domain query receives it as $as_of. If the "
            "published version has newer data, the backfill is kept beside it and not published.",
        ),
        "full": Param(
            False,
            type="boolean",
            title="Start from scratch",
            description="Score every chunk again instead of resuming an interrupted run.",
        ),
    }


def run_options(context: Any, *, dated: bool) -> RunOptions:
    """Return the options that a run's form and schedule ask for; raise NotAllowed for an unknown form field.

    `dated` is whether the domain query uses `$as_of`.
    """
    from prescore.versions.options import RunOptions

    run, params = context["dag_run"], context["params"]
    fields = form()
    unknown = sorted(set(run.conf or {}) - set(fields))
    if unknown:
        raise NotAllowed(
            f"The trigger form has no field {', '.join(unknown)}. Its fields are {', '.join(fields)}. "
            "The run has changed nothing."
        )
    as_of = parse_datetime(params["as_of"]) if params["as_of"] else _interval_end(run, dated=dated)
    return RunOptions(
        # A version that waits for approval must not be published by the next run.
        publish=params["when_checked"] == PUBLISH,
        full=params["full"],
        trial_rows=params["trial_rows"],
        as_of=as_of,
    )


def requires_approval(context: Any) -> bool:
    """Return whether the run's version needs approval before it is published; trials never do."""
    params = context["params"]
    return params["when_checked"] == ASK and not params["trial_rows"]


def _interval_end(run: Any, *, dated: bool) -> datetime | None:
    """Return the end of the data interval for backfills, and for scheduled runs whose query uses `$as_of`."""
    is_as_of_run = run.run_type == "backfill" or (dated and run.run_type == "scheduled")
    if not is_as_of_run:
        return None
    end: datetime | None = run.data_interval_end
    return end
