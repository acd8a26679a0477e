"""A short form of the fault matrix. `make faults` runs all of it, and docs/faults.md has its results."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from fault_matrix import INCREMENTAL, Tally, World, strike
from fix_incremental import WITHOUT_CHECKS
from fix_project import SPEC
from fix_soak import SOAK, soak


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A project on a server of its own, which is killed; outside of pytest's folder, for the reason in fix_postgres."""
    with tempfile.TemporaryDirectory(prefix="prescore-faults-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.delenv("PRESCORE_DATABASE_URL", raising=False)
        # Each run would import Great Expectations, for three seconds.
        spec = SPEC if SOAK else WITHOUT_CHECKS
        made = World(Path(folder), rows=4_000, chunk_rows=200, spec=spec)
        yield made
        made.prescore("db", "stop")


@pytest.mark.parametrize(
    ("place", "victim"),
    [
        ("first chunk", "both"),
        pytest.param("keyed, not vacuumed", "server", marks=soak),
        ("attached, not published", "job"),
        pytest.param("published", "both", marks=soak),
        ("delta recorded", "job"),
        pytest.param("copied, not published", "both", marks=soak),
    ],
)
def test_a_kill_costs_no_more_than_a_chunk(world: World, place: str, victim: str) -> None:
    tally = Tally()
    with world.incremental(changed=True) if place in INCREMENTAL else nullcontext():
        strike(world, place, victim, 0.0, tally)
    assert (tally.wrong, tally.scored_again, sum(tally.hits.values())) == ([], 0, 1)
