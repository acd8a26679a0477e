"""Checks on staged versions: those that every version must pass, those of the spec, and their results."""
