"""Shares of a version's chunks, for schedulers that score one version with several tasks."""

from __future__ import annotations

from prescore.run import chunk_scoring
from prescore.run.job import Job


def split_chunks(chunks: int, groups: int) -> list[range]:
    """Split chunks 0 … `chunks` - 1 into at most `groups` consecutive, non-empty shares of nearly equal size."""
    count = min(groups, chunks)
    shares = []
    for index in range(count):
        first = chunks * index // count
        end = chunks * (index + 1) // count
        shares.append(range(first, end))
    return shares


def pending_chunks(job: Job, version: int, share: range) -> list[int]:
    """Return the chunks of a share that the ledger lacks, in ascending order."""
    pending = chunk_scoring.pending_chunks(job, version)
    return [chunk for chunk in pending if chunk in share]
