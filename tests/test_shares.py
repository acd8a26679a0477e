"""Shares of a version's chunks for the score tasks of a scheduler."""

from __future__ import annotations

import pytest

from fix_project import Sandbox
from prescore.run import shares
from prescore.run.shares import split_chunks


@pytest.mark.parametrize("chunks", [0, 1, 2, 7, 8, 9, 100])
@pytest.mark.parametrize("groups", [1, 4, 8])
def test_shares_cover_every_chunk_once_in_order_and_are_even(chunks: int, groups: int) -> None:
    ranges = split_chunks(chunks, groups)
    assert [chunk for share in ranges for chunk in share] == list(range(chunks))
    assert len(ranges) == min(chunks, groups)
    sizes = {len(share) for share in ranges}
    assert 0 not in sizes
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_only_unfinished_chunks_of_a_share_are_pending(sandbox: Sandbox) -> None:
    sandbox.interrupted("finish_table")
    sandbox.rows("delete from prescore.chunks where chunk in (3, 5, 8) returning chunk")
    job = sandbox.job()
    assert shares.pending_chunks(job, 1, range(10)) == [3, 5, 8]
    assert shares.pending_chunks(job, 1, range(4, 8)) == [5]
    assert shares.pending_chunks(job, 1, range(6, 8)) == []
