"""Rows of one version, from Postgres or from memory."""
