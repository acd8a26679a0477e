"""Loads the fixtures, which are in modules by topic, orders the tests, and sets what tests with Hypothesis share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does, and some examples run a whole model.
settings.register_profile("prescore", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("prescore")

# Modules that others import come first: pytest must register a plugin before another module imports it.
pytest_plugins = [
    "fix_postgres",
    "fix_project",
    "fix_command",
    "fix_incremental",
    "fix_api",
    "fix_client",
    "fix_page",
    "fix_store",
    "fix_airflow",
    "acceptance.fix_standalone",
    "acceptance.fix_celery",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that need Airflow first, so that one of several workers runs them all: it takes long to start."""
    items.sort(key=lambda item: "airflow_home" not in getattr(item, "fixturenames", ()))
