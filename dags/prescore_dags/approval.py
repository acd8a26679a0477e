"""Approval by a person before a version is published."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import environment_database
from prescore.errors import PrescoreError
from prescore_dags import form, run_lease


class Approve(ApprovalOperator):
    """A task that waits for approval if the run's trigger form requires it.

    While it waits it occupies no worker slot and holds no lease. A rejection skips the publication. `version` is a
    template of the version's number.
    """

    template_fields = (*ApprovalOperator.template_fields, "version")

    def __init__(self, *, model: str, version: str, **operator_options: Any) -> None:
        super().__init__(subject=f"Publish {model}?", **operator_options)
        self.model = model
        self.version = version

    def execute(self, context: Any) -> Any:
        """Request approval and defer, or return immediately when the run needs none."""
        if not form.requires_approval(context):
            return None
        from prescore.run import review

        with environment_database().connect() as connection:
            catalog = Catalog(connection)
            version = catalog.version(self.model, int(self.version))
            report = review.report(catalog, version)
        self.subject = f"Publish {report.model} version {report.version}?"
        self.body = "\n".join(report.markdown())
        run_lease.release()
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Record in the history who approved or rejected; a rejection skips the downstream tasks."""
        if "error" not in event:
            self._record(event)
        return super().execute_complete(context, event)

    def _record(self, event: dict[str, Any]) -> None:
        is_approved = event["chosen_options"] == [self.APPROVE]
        decision = "approved" if is_approved else "rejected"
        responder = event["responded_by_user"] or {}
        user = responder.get("name", "an unknown user")
        version = int(self.version)
        try:
            with environment_database().connect() as connection:
                catalog = Catalog(connection)
                catalog.record_event(self.model, version, decision, f"by {user} in Airflow")
        except PrescoreError as error:
            # Raising would lose the decision, which is delivered to this attempt only.
            self.log.warning("could not record in the history that %s %s: %s", user, decision, error)
