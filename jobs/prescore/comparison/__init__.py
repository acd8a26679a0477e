"""What changed from one version of a model to another, measured inside Postgres."""
