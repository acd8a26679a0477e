"""Loads the fixtures, which are in modules by topic."""

# Modules that others import come first: pytest must register a plugin before another module imports it.
pytest_plugins = [
    "fix_postgres",
    "fix_project",
    "fix_incremental",
    "fix_api",
    "fix_client",
    "fix_page",
    "fix_store",
    "fix_airflow",
    "acceptance.fix_standalone",
    "acceptance.fix_celery",
]
