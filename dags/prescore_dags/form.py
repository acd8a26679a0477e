"""The trigger form of a model's DAG, and what it requests of a run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param

from prescore.errors import NotAllowed

# A date, or a time with or without a zone. Days that do not exist, such as the 30th of February, match too: the
# snapshot task rejects them with a better message than a pattern can.
_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?$"
PUBLISH, ASK, KEEP = "publish", "ask for approval", "keep for later"
DEFAULTS: dict[str, Any] = {"when_checked": PUBLISH, "trial_rows": None, "as_of": None, "full": False}
# How far the clock of a browser may be from the server's.
_CLOCK_TOLERANCE = timedelta(minutes=10)


def form(params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields of the trigger form, with further parameters of a DAG.

    A plain value for one of the form's own fields is the field's default.
    """
    given = dict(params or {})
    further = {name: value for name, value in given.items() if name not in DEFAULTS or isinstance(value, Param)}
    defaults = {name: value for name, value in given.items() if name not in further}
    return _fields(DEFAULTS | defaults) | further


def _fields(defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "when_checked": Param(
            defaults["when_checked"],
            type="string",
            enum=[PUBLISH, ASK, KEEP],
            title="After the checks pass",
            description="Publish: readers see the version immediately. Ask for approval: the run waits under Required "
            "Actions, where you see the check results and approve or reject. Keep for later: the version stays "
            "unpublished until you run prescore publish.",
        ),
        "trial_rows": Param(
            defaults["trial_rows"],
            type=["null", "integer"],
            minimum=1,
            title="Trial rows",
            description="Score only a random sample of at most this many rows of the domain. The version is "
            "checked and never published.",
        ),
        "as_of": Param(
            defaults["as_of"],
            type=["null", "string"],
            # The format only makes the form show a calendar. Airflow validates the pattern.
            format="date-time",
            pattern=_TIME,
            title="As of",
            description="Run a backfill for this earlier time. The domain query receives it as $as_of. If the "
            "published version has newer data, the backfill is kept beside it and not published.",
        ),
        "full": Param(
            defaults["full"],
            type="boolean",
            title="Start from scratch",
            description="Score every chunk again instead of resuming an interrupted run.",
        ),
    }


def request(context: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's form and schedule request of it, for `prescore.run.tasks`.

    `defaults` are used where the DAG has no such parameter. Raises NotAllowed for values that Airflow would ignore.
    """
    run = context["dag_run"]
    _require_applied(context)
    chosen = {name: context["params"].get(name, default) for name, default in (DEFAULTS | dict(defaults)).items()}
    is_backfill = run.run_type == "backfill"
    is_trial = bool(chosen["trial_rows"])
    return {
        "publish": chosen["when_checked"] == PUBLISH,
        # Trials are never published.
        "approval": chosen["when_checked"] == ASK and not is_trial,
        "full": chosen["full"],
        "trial_rows": chosen["trial_rows"],
        "as_of": chosen["as_of"] or (_text(run.data_interval_end) if is_backfill else None),
        "due": _text(_due(run)),
    }


def _require_applied(context: Any) -> None:
    """Raise NotAllowed for fields that the form does not have, and for values that Airflow does not apply."""
    conf, params = context["dag_run"].conf or {}, context["params"]
    fields = list(context["dag"].params)
    is_form = set(DEFAULTS) <= set(fields)
    unknown = sorted(set(conf) - set(fields))
    if is_form and unknown:
        raise NotAllowed(
            f"The trigger form has no field {', '.join(unknown)}. Its fields are {', '.join(fields)}. "
            "The run has changed nothing."
        )
    ignored = [name for name in DEFAULTS if name in conf and conf[name] != params.get(name)]
    if ignored:
        values = ", ".join(f"{name} = {conf[name]!r}" for name in ignored)
        raise NotAllowed(
            f"This run was triggered with {values}, which Airflow does not apply: its setting [core] "
            "dag_run_conf_overrides_params is False, or the DAG has no such parameter. The run has changed nothing. "
            "Turn the setting on, or use prescore run with the same options."
        )


def _due(run: Any) -> datetime | None:
    """Return the time that a run was planned for: the end of its data interval, or a logical date of a user's choice.

    The page that triggers a run fills in the browser's time. A logical date close to the start of the run is therefore
    not a choice, and such a run can resume an earlier one.
    """
    if run.run_type == "scheduled":
        interval_end: datetime | None = run.data_interval_end
        return interval_end
    planned: datetime | None = run.logical_date
    # `airflow dags test` has exactly the same time for both.
    is_now = planned is not None and timedelta(0) < abs(run.run_after - planned) <= _CLOCK_TOLERANCE
    return None if is_now else planned


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
