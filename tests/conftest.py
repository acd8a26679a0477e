"""Fixtures live in files named by topic."""

pytest_plugins = ["fix_postgres", "fix_project"]
