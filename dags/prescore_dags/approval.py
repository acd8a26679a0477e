"""A person's yes before readers see a version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import environment_database
from prescore.errors import PrescoreError
from prescore_dags import form, turn


class Approve(ApprovalOperator):
    """Ask, if whoever triggered the run wanted that: nobody's worker and no lease are kept while the answer is awaited.

    A no skips the publication. `version` is a template that gives the version's number.
    """

    template_fields = (*ApprovalOperator.template_fields, "version")

    def __init__(self, *, model: str, version: str, **more: Any) -> None:
        super().__init__(subject=f"Publish {model}?", **more)
        self.model, self.version = model, version

    def execute(self, context: Any) -> Any:
        """Ask and wait, or go on at once."""
        if not form.approval_wanted(context):
            return None
        with environment_database().connect() as connection:
            catalog = Catalog(connection)
            version = catalog.version(self.model, int(self.version))
            self.subject = f"Publish {self.model} version {version['version']}?"
            self.body = "\n".join(report(catalog, version))
        turn.free()
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Note who said what; a no skips what comes after."""
        if "error" not in event:
            said = "approved" if event["chosen_options"] == [self.APPROVE] else "rejected"
            who = (event["responded_by_user"] or {}).get("name", "nobody known to Airflow")
            # The answer counts, and would be lost with this attempt.
            try:
                with environment_database().connect() as connection:
                    Catalog(connection).record_event(self.model, int(self.version), said, f"by {who} in Airflow")
            except PrescoreError as error:
                self.log.warning("the history does not get to know that %s %s: %s", who, said, error)
        return super().execute_complete(context, event)


def report(catalog: Catalog, version: Version) -> Iterator[str]:
    """What a version's checks found, and how it differs from what is served now: lines of Markdown."""
    from prescore.wording import short

    as_of = version["data_as_of"]
    yield f"{version['rows']:,} rows, {version['rejected']:,} set aside, of data as of {as_of:%Y-%m-%d %H:%M} UTC."
    yield ""
    yield "| check | saw | allowed |"
    yield "|---|---|---|"
    for result in version["checks"] or []:
        yield f"| {_cell(result['name'])} | {_cell(short(result['observed']))} | {_cell(result['expected'])} |"
    yield ""
    yield from _in_the_way(catalog, version)
    yield from _compared(catalog, version)


def _in_the_way(catalog: Catalog, version: Version) -> Iterator[str]:
    from prescore.versions.pending import is_backfill

    model = catalog.model(version["model"])
    if model["held_at"] is not None:
        yield f"**The model is on hold ({model['hold_reason']}): until it is released, a yes publishes nothing.**\n"
    if is_backfill(catalog, version):
        yield "**Newer data is served: a yes publishes nothing, and the version is kept beside it.**\n"


def _compared(catalog: Catalog, version: Version) -> Iterator[str]:
    from prescore.checks import comparison
    from prescore.errors import NotAllowed
    from prescore.wording import short

    served = catalog.model(version["model"])["published_version"]
    if served is None:
        yield "No version is served yet."
        return
    try:
        found = comparison.compare(catalog.connection, catalog.version(version["model"], served), version)
    except NotAllowed as error:
        yield f"Version {served} is served. {error}"
        return
    keys = ", ".join(f"{count:,} {name}" for name, count in found["keys"].items())
    yield f"Keys, against version {served}, which is served: {keys}."
    for moved in found["columns"]:
        mean, largest = (short(moved[name]) for name in ("mean_difference", "largest_difference"))
        yield f"- {moved['column']} differs by {mean} on the mean, by {largest} at most."


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
