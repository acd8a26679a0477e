"""Fixtures live in files named by topic."""

# Those that others import come first: pytest must see them before anyone does.
pytest_plugins = [
    "fix_postgres",
    "fix_project",
    "fix_api",
    "fix_client",
    "fix_page",
    "fix_store",
    "fix_airflow",
    "acceptance.fix_standalone",
    "acceptance.fix_celery",
]
