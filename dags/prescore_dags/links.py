"""Links that Airflow shows beside a task."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class StatusPageLink(BaseOperatorLink):
    """The status page of the lookup API, at the model of the task."""

    name = "Status page"

    def __init__(self, status_page: str, model: str) -> None:
        self.url = f"{status_page.rstrip('/')}/#model-{model}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 # every run has the same page
        """Return the page's URL."""
        return self.url
