"""The embedded Postgres of a project, from a wheel."""
