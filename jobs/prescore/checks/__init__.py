"""Checks on staged versions: Great Expectations, their results, and comparisons of versions."""
