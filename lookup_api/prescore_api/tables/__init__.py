"""Rows of a version: by key from Postgres, or all of them in memory."""
