"""What whoever triggers a run may choose, and what that asks of prescore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from prescore.catalog.datetimes import parse_datetime
from prescore.errors import NotAllowed

if TYPE_CHECKING:
    from datetime import datetime

    from prescore.versions.options import RunOptions

# A date, or a time with or without a zone. Whether there is such a day is for the task to say, which says it better.
_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?$"
PUBLISH, ASK, KEEP = "publish", "ask for approval", "keep for later"


def form() -> dict[str, Param]:
    """The fields of the trigger form."""
    return {
        "when_checked": Param(
            PUBLISH,
            type="string",
            enum=[PUBLISH, ASK, KEEP],
            title="When it has passed its checks",
            description="Publish: readers see it at once. Ask for approval: somebody sees what the checks found, and "
            "decides under Required Actions. Keep for later: `prescore publish` publishes it.",
        ),
        "trial_rows": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Trial rows",
            description="For a trial: at most so many rows of the domain. Its version is checked and never published.",
        ),
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date-time",
            # The format is for the form's calendar, and nothing else looks at it.
            pattern=_TIME,
            title="As of",
            description="Make what a run at this time of the past would have made: the domain query has it as $as_of. "
            "While newer data is served, the version is kept beside it.",
        ),
        "full": Param(
            False,
            type="boolean",
            title="Begin anew",
            description="Score everything, even if an earlier run was interrupted and its chunks are there.",
        ),
    }


def ask(context: Any, *, dated: bool) -> RunOptions:
    """What a run's form and schedule ask for. `dated`: whether its domain query asks for $as_of."""
    from prescore.versions.options import RunOptions

    chosen = context["params"]
    if unknown := sorted(set(context["dag_run"].conf or {}) - set(form())):
        raise NotAllowed(f"The form has no {', '.join(unknown)}; it has {', '.join(form())}. Nothing was begun.")
    as_of = parse_datetime(chosen["as_of"]) if chosen["as_of"] else _interval_end(context["dag_run"], dated=dated)
    # A version that waits for approval is not for the next run to publish.
    return RunOptions(chosen["when_checked"] == PUBLISH, chosen["full"], trial_rows=chosen["trial_rows"], as_of=as_of)


def approval_wanted(context: Any) -> bool:
    """Whether somebody is to say yes before the version is published."""
    return context["params"]["when_checked"] == ASK and not context["params"]["trial_rows"]


def _interval_end(run: Any, *, dated: bool) -> datetime | None:
    """The end of the run's data interval; of a run that stands for the past even if its query does not ask for it."""
    end: datetime | None = run.data_interval_end
    return end if run.run_type == "backfill" or (dated and run.run_type == "scheduled") else None
