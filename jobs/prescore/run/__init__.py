"""Runs: the whole flow from snapshot to publication, what precedes it and what it reports."""
