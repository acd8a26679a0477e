"""Approval by a person before a version is published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import TaskAwaitingInput
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CreateHITLDetailPayload

from prescore.errors import NotAllowed
from prescore_dags import form, run_lease
from prescore_dags.environment import Environment, airflow_errors
from prescore_dags.tasks import result_of


class Approve(ApprovalOperator):
    """A task that waits for approval if the run's trigger form requires it, or if a check warns.

    While it waits it occupies no worker slot and holds no lease. A rejection skips the publication. The result is the
    approved version and the name of the person, which the publish task requires.
    """

    template_fields = (*ApprovalOperator.template_fields, "work")

    def __init__(
        self,
        *,
        environment: Environment,
        model: str,
        form_defaults: Mapping[str, Any],
        work: Any,
        **operator_options: Any,
    ) -> None:
        # The limit for a task's work, which default_args may set, is not one for a person's answer. Airflow's operator
        # takes it for that; `response_timeout` is.
        super().__init__(subject=f"Publish {model}?", **(operator_options | {"execution_timeout": None}))
        self.environment = environment
        self.model = model
        self.form_defaults = form_defaults
        self.work = work

    @airflow_errors()
    def execute(self, context: Any) -> Any:
        """Request approval and wait, or return immediately when the run needs none."""
        request = form.request(context, self.form_defaults)
        checked = result_of("check", self.work)
        if not request["approval"] and not (request["publish"] and checked["warnings"]):
            # A result that is None is not stored, and Airflow logs an error when the publish task reads it.
            return {}
        version = checked["version"]
        question = self.environment.call("tasks.question", model=self.model, version=version)
        self.subject, self.body = question["subject"], question["body"]
        self._require_own_question(context["ti"].id)
        run_lease.release(self.environment, self.model)
        try:
            return super().execute(context)
        except TaskAwaitingInput as waiting:
            # What was in the question, whatever this run's tasks return by the time of the answer.
            waiting.kwargs = {**(waiting.kwargs or {}), "version": version}
            raise

    @airflow_errors()
    def execute_complete(self, context: Any, event: dict[str, Any], version: int = 0) -> Any:
        """Record in the history who approved or rejected; a rejection skips the downstream tasks."""
        if "error" in event:
            return super().execute_complete(context, event)
        current = result_of("check", self.work)["version"]
        if current != version:
            raise NotAllowed(
                f"The answer is about version {version} of {self.model}, and by now the check task of this run has "
                f"version {current}. Nothing was published. Clear the snapshot task with its downstream tasks."
            )
        user = (event["responded_by_user"] or {}).get("name", "an unknown user")
        is_approved = event["chosen_options"] == [self.APPROVE]
        self._record(version, "approved" if is_approved else "rejected", user)
        super().execute_complete(context, event)
        return {"version": version, "user": user} if is_approved else {}

    def _require_own_question(self, task_instance_id: Any) -> None:
        """Raise NotAllowed if Airflow shows another question: it keeps a task's first one when the task is cleared."""
        kept: Any = task_runner.SUPERVISOR_COMMS.send(
            CreateHITLDetailPayload(
                ti_id=task_instance_id,
                options=self.options,
                subject=self.subject,
                body=self.body,
                defaults=self.defaults,
                multiple=self.multiple,
                params=self.serialized_params,
                assigned_users=self.assigned_users or [],
            )
        )
        if (kept.subject, kept.body) != (self.subject, self.body):
            raise NotAllowed(
                f"Airflow keeps the first question of a run, and shows {kept.subject!r} with its report in place of "
                f"{self.subject!r} (apache/airflow#73235). No answer to it is accepted. Trigger a new run to decide "
                f"about a version in Airflow, or use prescore publish."
            )

    def _record(self, version: int, decision: str, user: str) -> None:
        try:
            self.environment.call(
                "upkeep.record_decision",
                actor=user,
                model=self.model,
                version=version,
                decision=decision,
                reason=f"by {user} in Airflow",
            )
        except Exception as error:
            # Raising would lose the decision, which is delivered to this attempt only.
            self.log.warning("could not record in the history that %s %s: %s", user, decision, error)
